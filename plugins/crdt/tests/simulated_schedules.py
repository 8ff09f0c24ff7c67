"""What happens to a simulated cluster: a schedule for each seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from simulated_cluster import Cluster, Network
from simulated_copies import Broken
from simulated_node import Node

from cloudstate_crdt.replicas import Consistency
from cloudstate_crdt.replication.limits import Limits

ENTITIES = [f"e{number}" for number in range(9)]
CONSISTENCIES = [Consistency.LOCAL] * 4 + [Consistency.MAJORITY] * 2 + [Consistency.ALL]

#: How long nodes have to converge after everything is well again.
CONVERGED_WITHIN_S = 15.0


class Schedule:
    """One run: changes and faults for a while, then none, then everything must be equal."""

    def __init__(self, seed: int, *, is_forgetting: bool | None = None) -> None:
        """Draw a schedule.

        Args:
            seed: Decides all of it.
            is_forgetting: Whether what expelled nodes have written is given up; None for chance.
        """
        self.seed = seed
        random = self._random = Random(seed)
        #: Every third cluster has to do without comparisons, and has no fault that needs one.
        self._by_deltas_only = seed % 3 == 0 and not is_forgetting
        network = Network(
            loss=random.choice([0.0, 0.05, 0.2]),
            duplication=random.choice([0.0, 0.1]),
            max_delay_s=random.choice([0.005, 0.05, 0.1]),
            without_comparison=self._by_deltas_only,
        )
        is_forgetful = not self._by_deltas_only and seed % 2 == 0
        self.cluster = Cluster(
            seed,
            random.choice([3, 3, 3, 4, 5]),
            network,
            limits=Limits(
                consistency_timeout_s=1.0,
                recent_changes=3 if is_forgetful else 10_000,
                round_entities=random.choice([3, 1_000]),
                round_bytes=random.choice([200, 4_000]),
                max_state_bytes=100_000,
            ),
            max_message_bytes=random.choice([500, 4_000]),
            store_failures=random.choice([0.0, 0.05]),
        )
        #: In half of the others the operator gives up what expelled nodes have written.
        by_chance = not self._by_deltas_only and random.random() < 0.5
        self._is_forgetting = by_chance if is_forgetting is None else is_forgetting
        self.converged_after_s = 0.0

    def run(self) -> None:
        """Let it happen.

        Raises:
            Broken: A promise does not hold.
        """
        cluster, random = self.cluster, self._random
        for node in cluster.nodes.values():
            node.start()
        for _ in range(random.randint(8, 24)):
            for _ in range(random.randint(1, 4)):
                self._change()
            if random.random() < 0.35:
                self._fault()
            cluster.run(cluster.now_s + random.random() * 0.25)
        self._heal()
        self._converge()

    def _change(self) -> None:
        up = [node for node in self.cluster.nodes.values() if node.is_up]
        if up:
            delete = self._random.random() < (0.06 if self._by_deltas_only else 0.02)
            consistency = self._random.choice(CONSISTENCIES)
            self._random.choice(up).change(
                self._random.choice(ENTITIES), consistency, delete=delete
            )

    # --- Faults ----------------------------------------------------------------------

    def _fault(self) -> None:
        faults = [self._cut, self._cut, self._isolate]
        if self._by_deltas_only:
            faults += [self._restart_when_quiet]
        else:
            faults += [self._restart, self._restart, self._lose_disk, self._expel, self._leave]
            if self._is_forgetting:
                faults += [self._expel, self._leave, self._forget, self._forget, self._confide]
        self._random.choice(faults)()

    def _node(self) -> Node:
        return self._random.choice(self.cluster.staying)

    def _cut(self) -> None:
        """One way only."""
        one, other = self._random.sample(sorted(self.cluster.nodes), 2)
        self._cut_for_a_while({(one, other)})

    def _isolate(self) -> None:
        alone = self._node().name
        others = [name for name in self.cluster.nodes if name != alone]
        self._cut_for_a_while({(alone, each) for each in others} | {(e, alone) for e in others})

    def _cut_for_a_while(self, pairs: set[tuple[str, str]]) -> None:
        cluster = self.cluster
        cluster.counts["partitions"] += 1
        cluster.network.cut |= pairs
        cluster.later(self._random.random(), lambda: cluster.network.cut.difference_update(pairs))

    def _restart(self) -> None:
        node = self._node()
        if node.is_up:
            self.cluster.counts["restarts"] += 1
            node.stop()
            self._start_later(node, 0.5)

    def _start_later(self, node: Node, within_s: float) -> None:
        def starts() -> None:
            if not node.is_up and not node.is_gone:
                node.start()

        self.cluster.later(self._random.random() * within_s, starts)

    def _restart_when_quiet(self) -> None:
        """Nothing is lost by it, so that no comparison is needed."""
        cluster, network = self.cluster, self.cluster.network
        loss, network.loss = network.loss, 0.0
        network.cut.clear()
        quiet_at_s = cluster.now_s + 4.0
        while cluster.now_s < quiet_at_s and not cluster.has_converged:
            cluster.run(cluster.now_s + 0.1)
        network.loss = loss
        if cluster.has_converged:
            cluster.counts["restarts"] += 1
            node = self._node()
            node.stop()
            node.start()

    def _lose_disk(self) -> None:
        node = self._node()
        if node.is_up and node.lost_disk_s is None and self._may_lose_another():
            self.cluster.counts["disks lost"] += 1
            node.lose_disk()
            self._come_back_as_another(node)

    def _expel(self) -> None:
        node = self._node()
        if node.is_up and len(self.cluster.members.epochs) == len(self.cluster.staying):
            self.cluster.counts["expelled"] += 1
            self._soon_after_changes(node, lambda: self._come_back_as_another(node))

    def _leave(self) -> None:
        """For good."""
        cluster, node = self.cluster, self._node()
        others = {n: e for n, e in cluster.members.epochs.items() if n != node.name}
        if node.is_up and self._may_lose_another() and len(others) == len(cluster.staying) - 1 > 1:
            cluster.counts["left"] += 1
            self._soon_after_changes(node, lambda: self._goes(node))

    def _goes(self, node: Node) -> None:
        cluster = self.cluster
        node.leave()
        others = {n: e for n, e in cluster.members.epochs.items() if n != node.name}
        cluster.change_members(others, {node.name: node.epoch})
        self._forget_later()

    def _soon_after_changes(self, node: Node, then: Callable[[], None]) -> None:
        """What a node does last has not arrived everywhere when it goes."""
        for _ in range(self._random.randint(0, 4)):
            node.change(self._random.choice(ENTITIES), Consistency.LOCAL)
        self.cluster.run(self.cluster.now_s + self._random.random() * 0.15)
        if node.is_up and not node.is_gone:
            then()

    def _confide(self) -> None:
        """One node changes something, and only another hears of it; both are expelled.

        When it comes back it is too late: all others have agreed.
        """
        cluster = self.cluster
        if len(cluster.members.epochs) < len(cluster.staying) or len(cluster.staying) < 3:
            return
        one, other = self._random.sample(cluster.staying, 2)
        if not (one.is_up and other.is_up and self._may_lose_another()):
            return
        cluster.counts["confided"] += 1
        pairs = {(each, n) for each in (one.name, other.name) for n in cluster.nodes}
        cluster.network.cut |= pairs - {(one.name, other.name)}
        for _ in range(4):
            one.change(self._random.choice(ENTITIES), Consistency.LOCAL)
        cluster.run(cluster.now_s + 0.2)
        if one.is_up and other.is_up:
            one.lose_disk()
            self._come_back_as_another(one, 0.0, 0.5)
            self._come_back_as_another(other, 1.0, 3.0)
            cluster.forget({one.name: one.epoch - 1})
        cluster.network.cut -= pairs

    def _forget_later(self) -> None:
        if self._is_forgetting and self._random.random() < 0.7:
            self.cluster.later(self._random.random() * 0.8, self._forget)

    def _forget(self) -> None:
        """Give up what some expelled nodes have written."""
        expelled = self.cluster.members.expelled
        names = [name for name in sorted(expelled) if self._random.random() < 0.7]
        if names:
            self.cluster.counts["given up"] += 1
            self.cluster.forget({name: expelled[name] for name in names})

    def _may_lose_another(self) -> bool:
        """No more than a minority over all loses what it had on disk."""
        nodes = self.cluster.nodes.values()
        lost = sum(each.lost_disk_s is not None for each in nodes)
        return lost < (len(nodes) - 1) // 2

    def _come_back_as_another(
        self, node: Node, after_s: float = 0.0, within_s: float = 0.8
    ) -> None:
        cluster = self.cluster
        node.stop()
        others = {n: e for n, e in cluster.members.epochs.items() if n != node.name}
        cluster.change_members(others, {node.name: node.epoch})
        node.epoch += 1
        self._forget_later()

        def comes_back() -> None:
            cluster.change_members(cluster.members.epochs | {node.name: node.epoch}, {})
            node.start()

        cluster.later(self._random.uniform(after_s, within_s), comes_back)

    # --- The end ---------------------------------------------------------------------

    def _heal(self) -> None:
        cluster = self.cluster
        # Who was to come back does.
        cluster.run(cluster.now_s + 1.0)
        while not all(node.is_up for node in cluster.staying):
            cluster.run(cluster.now_s + 1.0)
        cluster.network.cut.clear()
        cluster.network.loss = cluster.network.duplication = cluster.store_failures = 0.0

    def _converge(self) -> None:
        cluster = self.cluster
        healed_s = cluster.now_s
        while not cluster.has_converged:
            if cluster.now_s > healed_s + CONVERGED_WITHIN_S:
                raise Broken("the nodes have not converged")
            cluster.run(cluster.now_s + 0.1)
        self.converged_after_s = cluster.now_s - healed_s
        cluster.ledger.expect_nothing_lost()
        if self.seed % 10 == 1:
            self._expect_quiet()

    def _expect_quiet(self) -> None:
        """Nodes that are equal leave each other alone, but for saying so."""
        cluster = self.cluster
        cluster.run(cluster.now_s + 3.0)
        noise = {"sent buckets", "sent changes", "sent states", "sent missing"}
        before = sum(cluster.counts[each] for each in noise)
        cluster.run(cluster.now_s + 3.0)
        if sum(cluster.counts[each] for each in noise) != before:
            raise Broken("the nodes are equal, and go on comparing or sending")
