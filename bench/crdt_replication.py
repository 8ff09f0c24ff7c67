"""Replication of replicated types: what a change costs its node and the others, and a comparison.

python bench/crdt_replication.py

The machines of three nodes, called one after the other: no network, no store. What is measured is
the CPU time of the protocol itself, reading, joining and writing of states included.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from random import Random

# So that it can be started as a file.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.figures import Figure, print_table
from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_crdt import GCounter, Lattice, Replica, standard_types
from cloudstate_crdt.replicas import Change, Consistency, digest_of
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
    Loaded,
    MembersChanged,
    Read,
    ReadDigests,
    Received,
    Send,
    StateRead,
    Ticked,
)

__all__ = ["measure"]

TYPES = standard_types()
NAMES = ("a", "b", "c")
MEMBERS = Members(dict.fromkeys(NAMES, 1), frozenset(NAMES), {})
CHANGES = 20_000
ENTITIES = 20_000


class Node:
    """A machine, its copies, and how long it has worked."""

    def __init__(self, name: str, nodes: dict[str, Node]) -> None:
        self.name = name
        self.spent_ns = 0
        self.sent_bytes = 0
        self.copies: dict[str, Change] = {}
        self.nodes = nodes
        self._given: deque[Input] = deque()
        self.machine = ReplicationMachine(
            NodeIdentity(name, 1), 1, TYPES, Random(1).randrange, 1_000_000
        )

    def start(self) -> None:
        self.tell(Ticked(0.0))
        self.tell(MembersChanged(MEMBERS))
        self.tell(Digested([(each, digest_of(copy)) for each, copy in self.copies.items()]))
        self.tell(Loaded())

    def tell(self, given: Input) -> None:
        self._given.append(given)

    def work(self) -> bool:
        """Take in what there is; return whether there was anything."""
        before = time.process_time_ns()
        has_worked = bool(self._given)
        while self._given:
            for instruction in self.machine.receive(self._given.popleft()):
                self._carry_out(instruction)
        if self.machine.has_unsent:
            self.tell(Flush())
        self.spent_ns += time.process_time_ns() - before
        return has_worked

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Broadcast(message):
                self.sent_bytes += len(message)
                for name, node in self.nodes.items():
                    if name != self.name:
                        node.tell(Received(self.name, message))
            case Send(to, message):
                self.sent_bytes += len(message)
                self.nodes[to].tell(Received(self.name, message))
            case Join(entity_id, change):
                self.tell(Joined(instruction, self._joined(entity_id, change)))
            case Read(entity_id):
                self.tell(StateRead(instruction, self.copies.get(entity_id)))
            case ReadDigests(entity_ids):
                self.tell(Digested([(each, digest_of(self.copies[each])) for each in entity_ids]))
            case _:
                pass

    def _joined(self, entity_id: str, change: Change) -> bool:
        copy = self.copies.get(entity_id)
        assert isinstance(change, Lattice)
        if copy is None:
            self.copies[entity_id] = change
            return True
        assert isinstance(copy, Lattice)
        return copy.join(change)

    def increment(self, entity_id: str, consistency: str = Consistency.LOCAL) -> None:
        counter = self.copies.setdefault(entity_id, GCounter())
        assert isinstance(counter, GCounter)
        self.tell(Changed(entity_id, counter.increment(Replica(self.name, 1)), consistency, 1))


def three() -> list[Node]:
    nodes: dict[str, Node] = {}
    for name in NAMES:
        nodes[name] = Node(name, nodes)
        nodes[name].start()
    settle(list(nodes.values()))
    return list(nodes.values())


def settle(nodes: Sequence[Node]) -> None:
    """Let all work until there is nothing to do."""
    while sum(node.work() for node in nodes):
        pass


def measure() -> list[Figure]:
    """Measure everything."""
    return [*changes(), *comparison()]


def changes() -> list[Figure]:
    figures = []
    for per_turn in (1, 100):
        sender, receiver, other = nodes = three()
        before = [node.spent_ns for node in nodes]
        sent_before = sender.sent_bytes
        for number in range(CHANGES):
            sender.increment(f"counter-{number % 1_000}")
            if number % per_turn == per_turn - 1:
                settle(nodes)
        assert receiver.copies == sender.copies == other.copies
        what = f"GCounter.increment, {per_turn} in a turn"
        spent_us = [(n.spent_ns - b) / CHANGES / 1e3 for n, b in zip(nodes, before, strict=True)]
        sent = (sender.sent_bytes - sent_before) / CHANGES
        figures += [
            Figure(f"{what}: at the node that changes", 1e6 / spent_us[0], "changes/s CPU"),
            Figure(f"{what}: at each of the others", 1e6 / spent_us[1], "changes/s CPU"),
            Figure(f"{what}: on the wire", sent, "bytes/change"),
        ]
    return figures


def comparison() -> list[Figure]:
    """A node that has lost everything, and one that misses one change in many entities."""
    nodes = three()
    for number in range(ENTITIES):
        nodes[0].increment(f"counter-{number}")
        if number % 100 == 99:
            settle(nodes)
    empty, spent_s = _restarted(nodes, {})
    figures = [
        Figure("a node without a store gets everything", ENTITIES / spent_s, "entities/s CPU")
    ]
    behind = dict(empty.copies)
    del behind["counter-7"]
    last, _ = _restarted(nodes, behind)
    sent = sum(node.sent_bytes for node in nodes[:2]) + last.sent_bytes
    return [
        *figures,
        Figure(f"one of {ENTITIES:,} entities found and sent", sent, "bytes, all nodes"),
    ]


def _restarted(nodes: list[Node], copies: dict[str, Change]) -> tuple[Node, float]:
    """Node c with these copies; returns it when it has all, and the CPU time of all nodes."""
    cluster = nodes[0].nodes
    cluster["c"] = nodes[2] = Node("c", cluster)
    nodes[2].copies = copies
    nodes[2].start()
    for node in nodes:
        node.spent_ns = node.sent_bytes = 0
    for tick in range(1, 1_000):
        for node in nodes:
            node.tell(Ticked(tick * 0.1))
        settle(nodes)
        if len(nodes[2].copies) == ENTITIES:
            return nodes[2], sum(node.spent_ns for node in nodes) / 1e9
    raise RuntimeError(f"{len(nodes[2].copies)} of {ENTITIES} entities arrived")


if __name__ == "__main__":
    print_table(measure())
