"""Several nodes and the network between them in one process, all of it decided by a seed.

Time is a number. What a node has stored outlives it; what it holds in memory does not.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import simulated_changes

from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_crdt import GCounter, Lattice, PNCounter, Replica, StateRefused, standard_types
from cloudstate_crdt.replicas import DELETED, Change, Consistency, Deleted, digest_of
from cloudstate_crdt.replication.limits import Limits
from cloudstate_crdt.replication.machine import ReplicationMachine
from cloudstate_crdt.replication.words import (
    Broadcast,
    Changed,
    Digested,
    Flush,
    Input,
    Instruction,
    Join,
    Joined,
    JoinFailed,
    JoinRefused,
    Loaded,
    MembersChanged,
    Read,
    ReadDigests,
    Received,
    Report,
    Send,
    Settle,
    StateRead,
    Ticked,
)
from cloudstate_crdt.replication_pb2 import Message

REGISTRY = standard_types()
TICK_S = 0.25


class Broken(AssertionError):
    """What is promised does not hold."""


@dataclass
class Network:
    """What happens to messages."""

    loss: float = 0.0
    duplication: float = 0.0
    max_delay_s: float = 0.05
    #: Messages from the first to the second do not arrive.
    cut: set[tuple[str, str]] = field(default_factory=set)
    #: Nodes do not compare: every change has to arrive by itself.
    without_comparison: bool = False


@dataclass
class Operation:
    """A change that somebody made."""

    entity_id: str
    node: str
    epoch: int
    delta: Change
    amount: int
    made_s: float
    consistency: str
    #: It was written to this node's disk, perhaps with something else of the entity.
    is_stored: bool = False
    #: The command was answered, or waited for other nodes only.
    is_done: bool = False
    is_confirmed: bool = False


def joined(copy: Change | None, change: Change) -> tuple[Change, bool]:
    """The copy with the change, and whether it is another one then."""
    if isinstance(copy, Deleted):
        return copy, False
    if isinstance(change, Deleted):
        return change, True
    if copy is None:
        return change.copy(), True
    return copy, copy.join(change)


def covers(copy: Change | None, change: Change) -> bool:
    if isinstance(copy, Deleted):
        return True
    return copy is not None and not isinstance(change, Deleted) and copy.covers(change)


def copy_of(copy: Change) -> Change:
    return copy if isinstance(copy, Deleted) else copy.copy()


class Node:
    """One node, whatever process of it runs."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.epoch = 1
        self.lost_disk_s: float | None = None
        self.stored: dict[str, Change] = {}
        self.copies: dict[str, Change] = {}
        self.machine: ReplicationMachine | None = None
        self.process = 0
        self.members: Members | None = None
        self._flush_is_due = False
        self._waiting: dict[int, Operation] = {}
        self._unstored: dict[str, list[Operation]] = {}

    @property
    def is_up(self) -> bool:
        return self.machine is not None

    def start(self) -> None:
        cluster = self.cluster
        self.process = cluster.new_process()
        self.machine = ReplicationMachine(
            NodeIdentity(self.name, self.epoch),
            self.process,
            REGISTRY,
            cluster.random.randrange,
            cluster.max_message_bytes,
            cluster.limits,
        )
        self.copies = {entity_id: copy_of(copy) for entity_id, copy in self.stored.items()}
        self._flush_is_due = False
        self._waiting = {}
        self._unstored = {}
        self._tick(self.process)
        self.learn_members()
        digests = [(entity_id, digest_of(copy)) for entity_id, copy in self.stored.items()]
        self.give(Digested(digests))
        self.give(Loaded())

    def stop(self) -> None:
        self.machine = None

    def lose_disk(self) -> None:
        self.stored = {}
        self.lost_disk_s = self.cluster.now_s

    def learn_members(self) -> None:
        if self.is_up:
            self.members = self.cluster.members
            self.give(MembersChanged(self.members))

    def change(self, entity_id: str, consistency: str, *, delete: bool = False) -> None:
        """Change an entity as a command does: store, then say so."""
        state = self.copies.get(entity_id)
        if isinstance(state, Deleted):
            return
        if state is None:
            state = self.cluster.type_of(entity_id).bottom(REGISTRY)
        delta: Change
        me, now_ms = Replica(self.name, self.epoch), int(self.cluster.now_s * 1000)
        if delete:
            delta, amount = DELETED, 0
            self.copies[entity_id] = DELETED
        else:
            delta, amount = simulated_changes.change(state, me, self.cluster.random, now_ms)
            if delta.is_bottom():
                return
            self.copies[entity_id] = state
        made = Operation(
            entity_id, self.name, self.epoch, delta, amount, self.cluster.now_s, consistency
        )
        self.cluster.made.append(made)
        self._unstored.setdefault(entity_id, []).append(made)
        number = len(self.cluster.made)
        self._store(entity_id, lambda: self._changed(made, number))

    def _changed(self, made: Operation, number: int) -> None:
        made.is_done = True
        waiter = None if made.consistency == Consistency.LOCAL else number
        if waiter is not None:
            self._waiting[number] = made
        self.give(Changed(made.entity_id, made.delta, made.consistency, waiter))

    def _store(self, entity_id: str, then: Callable[[], None]) -> None:
        """Write the copy as it is now; it is there after a while, if the process still is."""
        written, process = copy_of(self.copies[entity_id]), self.process
        included = list(self._unstored.get(entity_id, ()))

        def is_written() -> None:
            if not self.is_up or self.process != process:
                return
            kept = self.stored.get(entity_id)
            # Writes of one entity do not overtake each other in a store.
            self.stored[entity_id] = written if kept is None else joined(kept, written)[0]
            for each in included:
                each.is_stored = True
            then()

        self.cluster.later(self.cluster.random.random() * 0.06, is_written)

    # --- The machine -----------------------------------------------------------------

    def give(self, given: Input) -> list[Instruction]:
        if self.machine is None:
            return []
        instructions = self.machine.receive(given)
        for instruction in instructions:
            self._carry_out(instruction)
        if self.machine is not None and self.machine.has_unsent and not self._flush_is_due:
            self._flush_is_due = True
            self._soon(self._flush)
        return instructions

    def _flush(self) -> None:
        self._flush_is_due = False
        self.give(Flush())

    def _soon(self, then: Callable[[], object], delay_s: float = 0.001) -> None:
        process = self.process
        self.cluster.later(delay_s, lambda: self.process == process and self.is_up and then())

    def _tick(self, process: int) -> None:
        if self.is_up and self.process == process:
            self.give(Ticked(self.cluster.now_s))
            self.cluster.later(TICK_S, lambda: self._tick(process))

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Broadcast():
                for other in self.cluster.nodes.values():
                    if other is not self:
                        self.cluster.send(self, other, instruction.message)
            case Send():
                self.cluster.send(self, self.cluster.nodes[instruction.to], instruction.message)
            case Join():
                self._join(instruction)
            case Read():
                self.cluster.counts["states read"] += 1
                copy = self.stored.get(instruction.entity_id)
                state = None if copy is None else copy_of(copy)
                self._soon(lambda: self.give(StateRead(instruction, state)))
            case ReadDigests():
                digests = [
                    (each, digest_of(self.stored[each]) if each in self.stored else None)
                    for each in instruction.entity_ids
                ]
                self._soon(lambda: self.give(Digested(digests)))
            case Settle():
                self._settled(instruction)
            case Report():
                self.cluster.counts[f"report {instruction.what}"] += 1

    def _join(self, join: Join) -> None:
        cluster = self.cluster
        if cluster.random.random() < cluster.store_failures:
            cluster.counts["joins not stored"] += 1
            self._soon(lambda: self.give(JoinFailed(join, "the disk is full")))
            return
        try:
            copy, has_changed = joined(self.copies.get(join.entity_id), join.change)
        except StateRefused as error:
            why = str(error)
            self._soon(lambda: self.give(JoinRefused(join, why)))
            return
        self.copies[join.entity_id] = copy
        self._store(join.entity_id, lambda: self.give(Joined(join, has_changed)))

    def _settled(self, settle: Settle) -> None:
        made = self._waiting.pop(settle.waiter)
        if settle.failure:
            self.cluster.counts["waits given up"] += 1
            return
        made.is_confirmed = True
        self.cluster.counts["waits kept"] += 1
        holders = [
            node
            for node in self.cluster.nodes.values()
            if covers(node.stored.get(made.entity_id), made.delta)
            or (node.lost_disk_s is not None and node.lost_disk_s >= made.made_s)
        ]
        if len(holders) < settle.needed:
            raise Broken(
                f"{made.entity_id} of {self.name} was confirmed to be stored by {settle.needed}"
                f" nodes, and {len(holders)} have it"
            )


class Cluster:
    """All nodes and the network."""

    def __init__(
        self,
        seed: int,
        size: int,
        network: Network,
        *,
        limits: Limits | None = None,
        max_message_bytes: int = 4_000,
        store_failures: float = 0.0,
    ) -> None:
        self.random = Random(seed)
        self.now_s = 0.0
        self.network = network
        self.limits = limits or Limits()
        self.max_message_bytes = max_message_bytes
        self.store_failures = store_failures
        self.made: list[Operation] = []
        self.counts: Counter[str] = Counter()
        self.nodes = {name: Node(self, name) for name in "abcde"[:size]}
        self.members = Members(
            epochs=dict.fromkeys(self.nodes, 1), reachable=frozenset(self.nodes), expelled={}
        )
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self._processes = 0

    def new_process(self) -> int:
        self._processes += 1
        return self._processes

    def type_of(self, entity_id: str) -> type[Lattice]:
        return simulated_changes.TYPES[int(entity_id[1:]) % len(simulated_changes.TYPES)]

    # --- Time ------------------------------------------------------------------------

    def later(self, delay_s: float, then: Callable[[], object]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now_s + delay_s, self._number, then))

    def run(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, then = heapq.heappop(self._events)
            then()
        self.now_s = until_s

    # --- The network -----------------------------------------------------------------

    def send(self, sender: Node, to: Node, message: bytes) -> None:
        network, random = self.network, self.random
        if len(message) > self.max_message_bytes:
            raise Broken(f"a message of {len(message)} bytes")
        kind = Message.FromString(message).WhichOneof("body")
        self.counts[f"sent {kind}"] += 1
        if kind == "buckets" and network.without_comparison:
            return
        if (sender.name, to.name) in network.cut or random.random() < network.loss:
            self.counts["lost"] += 1
            return
        copies = 1 + (random.random() < network.duplication)
        self.counts["duplicated"] += copies - 1
        epoch = sender.epoch
        for _ in range(copies):
            delay_s = random.random() * network.max_delay_s
            if random.random() < 0.05:
                delay_s *= 20
            self.later(delay_s, lambda: self._arrives(sender.name, epoch, to, message))

    def _arrives(self, sender: str, epoch: int, to: Node, message: bytes) -> None:
        instructions = to.give(Received(sender, message))
        if to.members is None or to.members.epochs.get(sender) == epoch:
            return
        if any(isinstance(each, Join) for each in instructions):
            raise Broken(f"{to.name} took in what {sender} sent in epoch {epoch}")

    # --- Members ---------------------------------------------------------------------

    def change_members(self, epochs: dict[str, int], expelled: dict[str, int]) -> None:
        self.members = Members(
            epochs=epochs, reachable=frozenset(epochs), expelled=self.members.expelled | expelled
        )
        for node in self.nodes.values():
            self.later(self.random.random() * 0.3, node.learn_members)

    # --- In the end ------------------------------------------------------------------

    @property
    def has_converged(self) -> bool:
        first, *others = self.nodes.values()
        if not all(node.is_up for node in self.nodes.values()):
            return False
        return all(
            first.stored.keys() == other.stored.keys()
            and all(same(copy, other.stored[each]) for each, copy in first.stored.items())
            for other in others
        )

    def expect_nothing_lost(self) -> None:
        """Check the copies, which are equal, against what was done.

        Raises:
            Broken: Something is missing that must not, or there that was never done.
        """
        copies = next(iter(self.nodes.values())).stored
        intact = {node.name for node in self.nodes.values() if node.lost_disk_s is None}
        for made in self.made:
            must_be_there = made.is_confirmed or (made.is_done and made.node in intact)
            if must_be_there and not covers(copies.get(made.entity_id), made.delta):
                raise Broken(f"{made} is lost")
        for entity_id, copy in copies.items():
            if not isinstance(copy, Deleted):
                self._expect_exactly(entity_id, copy)

    def _expect_exactly(self, entity_id: str, copy: Lattice) -> None:
        # A change that went down with a disk may be there, as a whole, or not.
        made = [
            each
            for each in self.made
            if each.entity_id == entity_id and each.is_stored and covers(copy, each.delta)
        ]
        amount = sum(each.amount for each in made)
        if isinstance(copy, GCounter | PNCounter) and copy.value != amount:
            raise Broken(f"{entity_id}: expected {amount}, found {copy.value}")
        whole = self.type_of(entity_id).bottom(REGISTRY)
        for each in made:
            assert isinstance(each.delta, Lattice)
            whole.join(each.delta)
        if whole != copy:
            raise Broken(f"{entity_id} is not what was done to it")


def same(one: Change, other: Change) -> bool:
    if isinstance(one, Deleted) or isinstance(other, Deleted):
        return one is other
    return one == other
