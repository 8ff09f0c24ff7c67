"""What was done to the entities of a simulated cluster, and what must have become of it.

What departed writers have counted goes into a count that nodes share. Each node that takes part in
forgetting them adds it up by itself: the ledger keeps what it should come to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulated_copies import REGISTRY, Broken, covers, stripped

from cloudstate_crdt import GCounter, Lattice, PNCounter, Replica
from cloudstate_crdt.departed import Departed, Retired
from cloudstate_crdt.types.gcounter import RETIRED

if TYPE_CHECKING:
    from simulated_cluster import Cluster
    from simulated_node import Node

Totals = tuple[int, int]


class Ledger:
    """What was counted of departed writers when they were forgotten."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        #: By generation and entity: what those that took part have counted, at least and at most.
        self._folded: dict[int, dict[str, tuple[Totals, Totals]]] = {}

    # --- While nodes forget ----------------------------------------------------------

    def forgets(self, node: Node, retired: Retired) -> None:
        """Look at what a node forgets, before it does.

        Raises:
            Broken: It has not what the others have that take part.
        """
        news = retired.departed.without(node.retired.departed)
        if not all(retired.steps[name][-1][1] for name in news.epochs):
            self._cluster.counts["stripped"] += 1
            return
        self._cluster.counts["folded"] += 1
        folded = self._folded.setdefault(retired.generation, {})
        for entity_id in node.stored:
            copy = node.read(entity_id)
            if isinstance(copy, GCounter | PNCounter):
                totals = totals_of(copy, news)
                least, most = folded.get(entity_id, (totals, totals))
                folded[entity_id] = (lesser(least, totals), greater(most, totals))

    # --- In the end ------------------------------------------------------------------

    def expect_nothing_lost(self) -> None:
        """Check the copies, which are equal, against what was done.

        Raises:
            Broken: Something is missing that must not, or there that was never done, or counted
                twice, or of somebody who is forgotten.
        """
        cluster = self._cluster
        node = cluster.staying[0]
        copies = {each: node.read(each) for each in node.stored}
        intact = {node.name for node in cluster.nodes.values() if node.lost_disk_s is None}
        for made in cluster.made:
            must_be_there = made.is_confirmed or (made.is_done and made.node in intact)
            left = stripped(made.delta, node.retired)
            is_forgotten = isinstance(left, Lattice) and left.is_bottom()
            if must_be_there and not is_forgotten and not covers(copies.get(made.entity_id), left):
                raise Broken(f"{made} is lost")
        for entity_id, copy in copies.items():
            if isinstance(copy, Lattice):
                self._expect_exactly(entity_id, copy, node.retired)
                if copy.trace_of(node.retired.departed):
                    raise Broken(f"{entity_id} still has something of those who are forgotten")

    def _expect_exactly(self, entity_id: str, copy: Lattice, retired: Retired) -> None:
        # A change that went down with a disk may be there, as a whole, or not.
        made = [
            each
            for each in self._cluster.made
            if each.entity_id == entity_id
            and each.is_stored
            and covers(copy, stripped(each.delta, retired))
        ]
        if isinstance(copy, GCounter | PNCounter):
            self._expect_counted(entity_id, copy, retired)
            amount = sum(
                each.amount
                for each in made
                if Replica(each.node, each.epoch) not in retired.departed
            )
            increments, decrements = totals_of(copy, Departed())
            if copy.value - increments + decrements != amount:
                raise Broken(f"{entity_id}: expected {amount}, found {copy.value}")
            copy = without_retired(copy)
        whole = self._cluster.type_of(entity_id).bottom(REGISTRY)
        for each in made:
            assert isinstance(each.delta, Lattice)
            whole.join(each.delta)
        if stripped(whole, retired) != copy:
            raise Broken(f"{entity_id} is not what was done to it")

    def _expect_counted(self, entity_id: str, copy: GCounter | PNCounter, retired: Retired) -> None:
        """What is counted of departed writers is what those had who took part in forgetting."""
        least, most = (0, 0), (0, 0)
        for folded in self._folded.values():
            if entity_id in folded:
                least = greater(least, folded[entity_id][0])
                most = greater(most, folded[entity_id][1])
        found = totals_of(copy, Departed())
        if greater(least, found) != found or greater(most, found) != most:
            raise Broken(
                f"{entity_id}: of departed writers, expected {least} to {most}, found {found}"
            )


def totals_of(copy: GCounter | PNCounter, departed: Departed) -> Totals:
    """What is counted of departed writers, those who are forgotten already among them."""
    if isinstance(copy, GCounter):
        return total_of(copy, departed), 0
    return total_of(copy.increments, departed), total_of(copy.decrements, departed)


def total_of(counter: GCounter, departed: Departed) -> int:
    counts = counter.counts.items()
    return sum(n for each, n in counts if each in departed or each.node == RETIRED.node)


def without_retired(copy: GCounter | PNCounter) -> Lattice:
    if isinstance(copy, PNCounter):
        return PNCounter(_counted(copy.increments), _counted(copy.decrements))
    return _counted(copy)


def _counted(counter: GCounter) -> GCounter:
    return GCounter({each: n for each, n in counter.counts.items() if each.node != RETIRED.node})


def lesser(one: Totals, other: Totals) -> Totals:
    return min(one[0], other[0]), min(one[1], other[1])


def greater(one: Totals, other: Totals) -> Totals:
    return max(one[0], other[0]), max(one[1], other[1])
