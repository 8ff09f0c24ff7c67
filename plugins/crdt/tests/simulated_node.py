"""One node of a simulated cluster, whatever process of it runs.

What it has stored outlives a process; what it holds in memory does not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import simulated_changes
import simulated_copies
from simulated_copies import REGISTRY, Broken, Operation, copy_of, covers, present, stripped

from cloudstate_core.cluster import NodeIdentity
from cloudstate_crdt import Lattice, Replica, StateRefused
from cloudstate_crdt.departed import Departed, Retired, Trace
from cloudstate_crdt.replicas import DELETED, Change, Consistency, Deleted, digest_of
from cloudstate_crdt.replication.machine import ReplicationMachine
from cloudstate_crdt.replication.words import (
    Adopt,
    Adopted,
    AdoptionFailed,
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
    Keep,
    KeepFailed,
    Kept,
    LoadDigests,
    Loaded,
    MembersChanged,
    Read,
    ReadDigests,
    ReadTraces,
    Report,
    ScanTraces,
    Send,
    Settle,
    StateRead,
    Ticked,
    Traced,
)

if TYPE_CHECKING:
    from simulated_cluster import Cluster

TICK_S = 0.25


class Node:
    """One node, whatever process of it runs."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.epoch = 1
        self.lost_disk_s: float | None = None
        self.is_gone = False
        #: As it is on disk, whatever the node has forgotten since a copy was written.
        self.stored: dict[str, Change] = {}
        self.kept = Retired()
        self.copies: dict[str, Change] = {}
        self.retired = Retired()
        self.machine: ReplicationMachine | None = None
        self.process = 0
        self.members = cluster.members
        #: Everybody who was ever a member, as far as it knows.
        self.known: set[NodeIdentity] = set()
        self._loads = 0
        self._flush_is_due = False
        self._waiting: dict[int, Operation] = {}
        self._unstored: dict[str, list[Operation]] = {}

    @property
    def is_up(self) -> bool:
        return self.machine is not None

    @property
    def has_forgotten_all(self) -> bool:
        """Whether it has forgotten whoever was given up, and knows nothing of them."""
        given_up = Departed(self.cluster.members.forgotten)
        return self.retired.departed == given_up

    def start(self) -> None:
        cluster = self.cluster
        self.process = cluster.new_process()
        cluster.ledger.starts(self)
        self.retired = self.kept
        self.machine = ReplicationMachine(
            NodeIdentity(self.name, self.epoch),
            cluster.process_number(self.process),
            REGISTRY,
            cluster.random.randrange,
            cluster.max_message_bytes,
            cluster.limits,
            self.retired,
        )
        self.copies = {each: copy_of(self.present(copy)) for each, copy in self.stored.items()}
        self._flush_is_due = False
        self._waiting = {}
        self._unstored = {}
        self._tick(self.process)
        self.learn_members()
        self._load()

    def stop(self) -> None:
        self.machine = None

    def leave(self) -> None:
        """Stop for good; whoever needs what was here has to have it."""
        self.stop()
        self.lose_disk()
        self.is_gone = True

    def lose_disk(self) -> None:
        self.stored, self.kept, self.retired = {}, Retired(), Retired()
        self.lost_disk_s = self.cluster.now_s

    def present(self, copy: Change) -> Change:
        """A stored copy, as this node reads it."""
        return present(copy, self.retired)

    def read(self, entity_id: str) -> Change | None:
        copy = self.stored.get(entity_id)
        return None if copy is None else self.present(copy)

    def has(self, made: Operation) -> bool:
        """Whether a change is on disk, as far as it is not forgotten."""
        return covers(self.read(made.entity_id), stripped(made.delta, self.retired))

    def learn_members(self) -> None:
        if self.is_up:
            self.members = self.cluster.members
            self.known |= {NodeIdentity(*each) for each in self.members.epochs.items()}
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
        made = self._made(entity_id, delta, amount, consistency)
        number = len(self.cluster.made)
        self._store(entity_id, lambda: self._changed(made, number))

    def _made(self, entity_id: str, delta: Change, amount: int, consistency: str) -> Operation:
        made = Operation(
            entity_id, self.name, self.epoch, delta, amount, self.cluster.now_s, consistency
        )
        made.retired = self.retired
        self.cluster.made.append(made)
        self._unstored.setdefault(entity_id, []).append(made)
        return made

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
            kept = self.read(entity_id)
            # Writes of one entity do not overtake each other in a store. One that was under way
            # when the node forgot somebody is read like any that was stored before.
            now = self.present(written)
            self.stored[entity_id] = now if kept is None else simulated_copies.joined(kept, now)[0]
            for each in included:
                each.is_stored = True
            then()

        self.cluster.later(self.cluster.some_time(), is_written)

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
                copy = self.read(instruction.entity_id)
                state = None if copy is None else copy_of(copy)
                delay_s = self.cluster.some_time()
                self._soon(lambda: self.give(StateRead(instruction, state)), delay_s)
            case ReadDigests():
                copies = [(each, self.read(each)) for each in instruction.entity_ids]
                digests = [(e, None if copy is None else digest_of(copy)) for e, copy in copies]
                self._soon(lambda: self.give(Digested(digests)))
            case LoadDigests():
                self._load()
            case ScanTraces():
                self._scan(instruction)
            case ReadTraces():
                self._soon(lambda: self._read_traces(instruction), self.cluster.some_time())
            case Adopt():
                self._adopt(instruction)
            case Keep():
                self._keep(instruction.retired)
            case Settle():
                self._settled(instruction)
            case Report():
                self.cluster.counts[f"report {instruction.what}"] += 1

    def _join(self, join: Join) -> None:
        cluster = self.cluster
        if cluster.store_fails():
            cluster.counts["joins not stored"] += 1
            self._soon(lambda: self.give(JoinFailed(join, "the disk is full")))
            return
        self._soon(lambda: self._take_in(join), cluster.some_time())

    def _take_in(self, join: Join) -> None:
        try:
            change = self.taken_in(join.change)
            copy, has_changed = simulated_copies.joined(self.copies.get(join.entity_id), change)
        except StateRefused as error:
            why = str(error)
            self._soon(lambda: self.give(JoinRefused(join, why)))
            return
        self.copies[join.entity_id] = copy
        self._store(join.entity_id, lambda: self.give(Joined(join, has_changed)))

    def taken_in(self, change: Change) -> Change:
        """What is joined of a change."""
        return stripped(change, self.retired)

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
            if node.has(made) or (node.lost_disk_s is not None and node.lost_disk_s >= made.made_s)
        ]
        if len(holders) < settle.needed:
            raise Broken(
                f"{made.entity_id} of {self.name} was confirmed to be stored by {settle.needed}"
                f" nodes, and {len(holders)} have it"
            )

    # --- Departed writers ------------------------------------------------------------

    def _load(self) -> None:
        self._loads += 1
        number = self._loads
        digests = [(each, digest_of(self.present(copy))) for each, copy in self.stored.items()]

        def loaded() -> None:
            if number == self._loads:
                self.give(Digested(digests))
                self.give(Loaded())

        self._soon(loaded)

    def _traces(self, entity_ids: list[str], departed: Departed) -> list[tuple[str, Trace]]:
        return [(each, self._trace(self.read(each), departed)) for each in entity_ids]

    @staticmethod
    def _trace(copy: Change | None, departed: Departed) -> Trace:
        return Trace.of(copy, departed) if isinstance(copy, Lattice) else Trace()

    def _scan(self, scan: ScanTraces) -> None:
        """Some copies are read at once, the others later."""
        entity_ids = sorted(self.stored)
        early = self._traces(entity_ids[::2], scan.departed)

        def later() -> None:
            self.give(Traced(scan.number, early, is_scan=True))
            self._soon(last, self._long())

        def last() -> None:
            rest = self._traces(sorted(self.stored.keys() - set(entity_ids[::2])), scan.departed)
            self.give(Traced(scan.number, rest, is_scan=True, is_last=True))

        self._soon(later, self._long())

    def _read_traces(self, read: ReadTraces) -> None:
        traces = self._traces(list(read.entity_ids), read.departed)
        self._soon(lambda: self.give(Traced(read.number, traces)), self.cluster.some_time())

    def _adopt(self, adopt: Adopt) -> None:
        cluster, entity_id = self.cluster, adopt.entity_id
        if cluster.store_fails():
            self._soon(lambda: self.give(AdoptionFailed(entity_id, "the disk is full")))
            return
        copy = self.copies.get(entity_id)
        if copy is None or isinstance(copy, Deleted) or not copy.must_adopt(adopt.departed):
            self._soon(lambda: self.give(Adopted(entity_id, None)))
            return
        cluster.counts["adopted"] += 1
        delta = copy.adopt(Replica(self.name, self.epoch), adopt.departed)
        made = self._made(entity_id, delta, 0, Consistency.LOCAL)
        made.is_adoption = True

        def is_stored() -> None:
            made.is_done = True
            self.give(Adopted(entity_id, delta))

        self._store(entity_id, is_stored)
        for node in cluster.nodes.values():
            if node is not self and node.is_up:
                node.soon_change(entity_id)

    def soon_change(self, entity_id: str) -> None:
        """Change an entity before what was just done to it elsewhere has arrived, or after."""
        for _ in range(self.cluster.random.randrange(3)):
            change = partial(self.change, entity_id, Consistency.LOCAL)
            self._soon(change, self.cluster.some_time())

    def _keep(self, retired: Retired) -> None:
        """Keep it, and forget then; the process may end in between."""
        cluster, process = self.cluster, self.process
        if cluster.store_fails():
            if cluster.random.random() < 0.5:
                # It was kept all the same.
                self.kept = retired
            self._soon(lambda: self.give(KeepFailed("the disk is full")))
            return

        def is_kept() -> None:
            if self.is_up and self.process == process:
                self.kept = retired
                self._soon(lambda: self._use(retired), cluster.some_time())

        cluster.later(self._long(), is_kept)
        self._may_fail_meanwhile()

    def _long(self) -> float:
        """How long it takes to keep something: here and there long enough for others to go on."""
        return self.cluster.random.choice([self.cluster.some_time(), self.cluster.random.random()])

    def _may_fail_meanwhile(self) -> None:
        cluster, process = self.cluster, self.process

        def fails() -> None:
            if self.is_up and self.process == process:
                self.stop()
                self.start()

        if cluster.random.random() < 0.2:
            cluster.counts["restarts while forgetting"] += 1
            cluster.later(cluster.random.random(), fails)

    def participants(self, name: str) -> frozenset[NodeIdentity]:
        """Who agreed to forget a node, as far as this one knows."""
        assert self.machine is not None
        return self.machine._agreement._retirements._agreed[name].participants

    def _use(self, retired: Retired) -> None:
        self.cluster.counts["forgotten"] += 1
        self.cluster.ledger.forgets(self, retired)
        self.retired = retired
        self.copies = {each: self.present(copy) for each, copy in self.copies.items()}
        self.give(Kept(retired))
