"""Several nodes and the network between them in one process, all of it decided by a seed.

Time is a number.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

import simulated_changes
from simulated_copies import Broken, Operation, same
from simulated_ledger import Ledger
from simulated_node import Node

from cloudstate_core.cluster import Members
from cloudstate_crdt import Lattice
from cloudstate_crdt.replication.limits import Limits
from cloudstate_crdt.replication.words import Join, Received
from cloudstate_crdt.replication_pb2 import Message


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
        self.ledger = Ledger(self)
        names = "abcde"[:size]
        self.members = Members(
            epochs=dict.fromkeys(names, 1), reachable=frozenset(names), expelled={}
        )
        self.nodes = {name: Node(self, name) for name in names}
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self._processes = 0

    def process_number(self, process: int) -> int:
        """Return the number by which a process tells its changes from those of earlier ones."""
        return process

    def new_process(self) -> int:
        self._processes += 1
        return self._processes

    def some_time(self) -> float:
        """How long a disk takes; now and then it has other things to do."""
        return self.random.random() * (1.0 if self.random.random() < 0.03 else 0.06)

    def store_fails(self) -> bool:
        return self.random.random() < self.store_failures

    @property
    def entity_ids(self) -> set[str]:
        return {made.entity_id for made in self.made}

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
        if to.members.epochs.get(sender) == epoch:
            return
        if any(isinstance(each, Join) for each in instructions):
            raise Broken(f"{to.name} took in what {sender} sent in epoch {epoch}")

    # --- Members ---------------------------------------------------------------------

    def change_members(self, epochs: dict[str, int], expelled: dict[str, int]) -> None:
        before = self.members
        self._members_are(epochs, {**before.expelled, **expelled}, before.forgotten)

    def forget(self, names: dict[str, int]) -> None:
        before = self.members
        self._members_are(before.epochs, before.expelled, {**before.forgotten, **names})

    def _members_are(
        self, epochs: Mapping[str, int], expelled: Mapping[str, int], forgotten: Mapping[str, int]
    ) -> None:
        self.members = Members(
            epochs=epochs, reachable=frozenset(epochs), expelled=expelled, forgotten=forgotten
        )
        for node in self.nodes.values():
            self.later(self.random.random() * 0.3, node.learn_members)

    # --- In the end ------------------------------------------------------------------

    @property
    def staying(self) -> list[Node]:
        """The nodes that have not gone for good."""
        return [node for node in self.nodes.values() if not node.is_gone]

    @property
    def has_converged(self) -> bool:
        staying = self.staying
        if not all(node.is_up and node.has_forgotten_all for node in staying):
            return False
        first, *others = ({each: node.read(each) for each in node.stored} for node in staying)
        return all(
            first.keys() == other.keys()
            and all(same(copy, other[each]) for each, copy in first.items())
            for other in others
        )
