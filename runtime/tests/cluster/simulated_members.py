"""Membership machines under a seeded network that loses, repeats and delays, and nodes that die."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from cloudstate_runtime.cluster.membership import (
    Broadcast,
    Expel,
    Forget,
    Heard,
    Input,
    Joined,
    Keep,
    Kept,
    LeftOut,
    MembershipMachine,
    NameTaken,
    Report,
    Send,
    Ticked,
    Timing,
)
from cloudstate_runtime.cluster.membership_pb2 import NodeRecord
from cloudstate_runtime.cluster.records import Life, Records, read_records

TIMING = Timing()
STEP_S = 0.25


def new_machine(process: int, records: Records | None = None) -> MembershipMachine:
    records = records or Records()
    machine = MembershipMachine("a", records, records.of("a").life, process, process, TIMING)
    machine.receive(Ticked(0.0))
    return machine


def joined_machine(process: int, records: Records | None = None) -> MembershipMachine:
    machine = new_machine(process, records)
    machine.receive(Ticked(10.0))
    assert machine.has_joined
    return machine


class SimulatedNode:
    """One node over all its lives: its store, and the machine that runs now, if one does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kept: list[NodeRecord] = []
        self.kept_life = Life()
        self.machine: MembershipMachine | None = None
        self.epochs: list[int] = []
        self.left_out = ""
        self.name_taken = False

    @property
    def is_serving(self) -> bool:
        return self.machine is not None and self.machine.has_joined and not self.left_out


class SimulatedCluster:
    """All nodes and what is on its way between them."""

    def __init__(
        self, seed: int, names: str, machine: type[MembershipMachine] = MembershipMachine
    ) -> None:
        self.random = Random(seed)
        self.nodes = {name: SimulatedNode(name) for name in names}
        self.loss = self.repeats = 0.0
        self.max_delay_s = 0.1
        self.cut: set[frozenset[str]] = set()
        self.stores_work = True
        self.now_s = 1_000.0
        self.reports: list[Report] = []
        self._machine = machine
        self._under_way: list[tuple[float, int, str, str, bytes]] = []
        self._sent = 0

    def start(self, name: str, *, has_store: bool = True, clock_is_off_s: float = 0.0) -> None:
        node = self.nodes[name]
        if not has_store:
            node.kept, node.kept_life = [], Life()
        node.left_out, node.name_taken = "", False
        node.machine = self._machine(
            name,
            read_records(node.kept),
            node.kept_life,
            process=self.random.getrandbits(60) + 1,
            unix_time_ms=int((self.now_s + clock_is_off_s) * 1000),
            timing=TIMING,
        )

    def kill(self, name: str) -> None:
        self.nodes[name].machine = None

    def expel(self, by: str, name: str) -> None:
        self.give(by, Expel(name))

    def run(self, for_s: float) -> None:
        end_s = self.now_s + for_s
        while self.now_s < end_s:
            self.now_s += STEP_S
            while self._under_way and self._under_way[0][0] <= self.now_s:
                _, _, sender, to, message = heapq.heappop(self._under_way)
                if frozenset((sender, to)) not in self.cut:
                    self.give(to, Heard(sender, message))
            for name in self.nodes:
                self.give(name, Ticked(self.now_s))

    def heal(self) -> None:
        self.loss = self.repeats = 0.0
        self.max_delay_s = 0.1
        self.cut.clear()

    def give(self, name: str, given: Input) -> None:
        node = self.nodes[name]
        if node.machine is None or (node.left_out and not isinstance(given, Ticked)):
            return
        for instruction in node.machine.receive(given):
            match instruction:
                case Broadcast(message=message):
                    for other in sorted(self.nodes.keys() - {name}):
                        self._send(name, other, message)
                case Send(to=to, message=message):
                    if to != name:
                        self._send(name, to, message)
                case Keep():
                    self._keep(node)
                case Joined(node=identity):
                    node.epochs.append(identity.epoch)
                case LeftOut(reason=reason):
                    node.left_out = reason
                case NameTaken():
                    node.name_taken = True
                case Report():
                    self.reports.append(instruction)

    def _keep(self, node: SimulatedNode) -> None:
        assert node.machine is not None
        if self.stores_work:
            node.kept, node.kept_life = node.machine.records.messages(), node.machine.life
            self.give(node.name, Kept(node.kept_life))

    def _send(self, sender: str, to: str, message: bytes) -> None:
        for _ in range(2 if self.random.random() < self.repeats else 1):
            if self.random.random() >= self.loss:
                self._sent += 1
                due_s = self.now_s + self.random.uniform(0, self.max_delay_s)
                heapq.heappush(self._under_way, (due_s, self._sent, sender, to, message))

    def serving(self) -> Iterator[SimulatedNode]:
        return (node for node in self.nodes.values() if node.is_serving)

    def known(self) -> Records:
        """Return what all that run know together."""
        together = Records()
        for node in self.nodes.values():
            if node.machine is not None:
                for name, known in node.machine.records.items():
                    together.join(name, known)
                together.raise_horizon(node.machine.records.horizon)
        return together

    def faults(self, known: Records) -> list[str]:
        """Return what must not be, some seconds after everything was healed.

        Args:
            known: What must not have been forgotten.
        """
        found = []
        views = {node.name: node.machine for node in self.serving() if node.machine is not None}
        # But for marks, which grow all the time.
        if len({repr(unmarked(each.records)) for each in views.values()}) > 1:
            found.append("they do not know the same")
        for name, machine in views.items():
            found += [
                f"{name} has forgotten what was known of {other}"
                for other, of_it in known.items()
                if replace(machine.records.of(other).joined_with(of_it), mark=0)
                != replace(machine.records.of(other), mark=0)
                and of_it.last_epoch > machine.records.horizon
            ]
            if machine.records.members().get(name) != machine.node.epoch:
                found.append(f"{name} serves and is no member")
            if machine.members.reachable != views.keys():
                found.append(f"{name} reaches {sorted(machine.members.reachable)}")
        found += [
            f"what {name} writes now was given up"
            for machine in views.values()
            for name, epoch in machine.members.epochs.items()
            if machine.members.forgotten.get(name, 0) >= epoch
        ]
        found += [
            f"{node.name} went back from epoch {before} to {after}"
            for node in self.nodes.values()
            for before, after in zip(node.epochs, node.epochs[1:], strict=False)
            if after < before
        ]
        return found


def cluster_of(names: str, seed: int = 1) -> SimulatedCluster:
    cluster = SimulatedCluster(seed, names)
    for name in names:
        cluster.start(name)
    cluster.run(5)
    assert cluster.faults(cluster.known()) == []
    return cluster


def unmarked(records: Records) -> list[NodeRecord]:
    messages = records.messages()
    for message in messages:
        message.mark = 0
    return messages


def play(seed: int, machine: type[MembershipMachine] = MembershipMachine) -> list[str]:
    """Run one history of a cluster of five nodes; return what is wrong in the end."""
    cluster = SimulatedCluster(seed, "abcde", machine)
    random = cluster.random
    for name in "abc":
        cluster.start(name)
    cluster.run(4)
    for _ in range(12):
        cluster.loss, cluster.repeats = random.choice(((0, 0), (0.3, 0.3), (0.8, 0.1)))
        cluster.max_delay_s = random.choice((0.1, 1.0, 6.0))
        _happens(cluster, random)
        cluster.run(random.uniform(0, 6))
    cluster.heal()
    known = cluster.known()
    # Whoever learns that it is out is started again. Whoever is dead stays so.
    cluster.run(15)
    for node in cluster.nodes.values():
        if node.left_out:
            cluster.start(node.name)
    cluster.run(15)
    return cluster.faults(known)


def _happens(cluster: SimulatedCluster, random: Random) -> None:
    name = random.choice("abcde")
    node = cluster.nodes[name]
    match random.randrange(6):
        case 0:
            cluster.cut = {frozenset((name, other)) for other in cluster.nodes if other != name}
        case 1:
            cluster.cut = set()
        case 2 if node.machine is None or node.left_out:
            cluster.start(name, has_store=random.random() < 0.7)
        case 3 if sum(1 for _ in cluster.serving()) > 1:
            cluster.kill(name)
        case 4:
            for by in cluster.serving():
                if by.machine and by.name != name and name in by.machine.records.members():
                    cluster.expel(by.name, name)
                    break
        case 5:
            for by in cluster.serving():
                if by.machine and name in by.machine.records:
                    cluster.give(by.name, Forget(name))
                    break


def play_with_changing_names(
    seed: int, machine: type[MembershipMachine] = MembershipMachine
) -> list[str]:
    """Run a cluster whose nodes get a new name with every start; return what is wrong in the end.

    The old ones are expelled and given up, and some of them come back with their store, or were
    never stopped.
    """
    names = "abcdefghijklmnopqrstuvwxyz"
    cluster = SimulatedCluster(seed, names, machine)
    random, over, known = cluster.random, dict[str, int](), Records()
    running, zombies = list(names[:3]), 2
    for name in running:
        cluster.start(name)
    cluster.run(4)
    for new in names[3:]:
        cluster.loss, cluster.repeats = random.choice(((0, 0), (0.3, 0.3)))
        old = running.pop(0)
        by = random.choice(running)
        over[old] = cluster.nodes[old].epochs[-1]
        if zombies and random.random() < 0.2:
            zombies -= 1
            cluster.cut |= {frozenset((old, other)) for other in names if other != old}
        else:
            cluster.kill(old)
        cluster.expel(by, old)
        cluster.give(by, Forget(old))
        cluster.start(new)
        running.append(new)
        cluster.run(random.uniform(4, 8))
    cluster.heal()
    for name in random.sample([each for each in over if not cluster.nodes[each].machine], 2):
        cluster.start(name)
    cluster.run(15)
    for node in cluster.nodes.values():
        if node.left_out:
            cluster.start(node.name)
    cluster.run(15)
    found = cluster.faults(known)
    found += [
        f"{node.name} serves in a life that was expelled"
        for node in cluster.serving()
        if node.epochs[-1] <= over.get(node.name, 0)
    ]
    found += [f"{name} does not serve" for name in running if not cluster.nodes[name].is_serving]
    return found
