"""What was done to the entities of a simulated cluster, and what must have become of it.

What departed writers have counted goes into a count that nodes share. Each node that takes part in
forgetting them adds it up by itself: the ledger keeps what it should come to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from simulated_copies import REGISTRY, Broken, Operation, covers, stripped

from cloudstate_core.cluster import NodeIdentity
from cloudstate_crdt import GCounter, Lattice, ORMap, ORSet, PNCounter, Replica, Vote
from cloudstate_crdt.departed import RETIRED, Departed, Retired, Trace
from cloudstate_crdt.replicas import Change, Deleted
from cloudstate_crdt.types.dotted import DottedLattice

if TYPE_CHECKING:
    from simulated_cluster import Cluster
    from simulated_node import Node

Totals = tuple[int, int]
Agreed = tuple[int, Departed, frozenset[NodeIdentity]]


class Ledger:
    """What was counted of departed writers when they were forgotten."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        #: By generation and entity: what all have counted that took part; and by entity the most
        #: that anybody has who may.
        self._least: dict[int, dict[str, Totals]] = {}
        self._most: dict[str, Totals] = {}
        #: What those had that took part and knew of no other members than these, by generation.
        self._traces: dict[Agreed, dict[tuple[str, object], object]] = {}

        #: Whom processes had forgotten that were started again: they do not know any more who took
        #: part, and whoever they tell may fold, too.
        self._known_no_more: set[tuple[str, int]] = set()

    # --- While nodes forget ----------------------------------------------------------

    def starts(self, node: Node) -> None:
        """Look at a node that starts, before it reads what it had kept."""
        # It may have kept that it has forgotten, and not have come to do anything with it.
        news = node.kept.departed.without(node.retired.departed)
        self._may_count(
            node, Departed({n: e for n, e in news.epochs.items() if folds(node.kept, n)})
        )
        self._known_no_more.update(node.kept.departed.epochs.items())

    def forgets(self, node: Node, retired: Retired) -> None:
        """Look at what a node forgets, before it does.

        Raises:
            Broken: It has not what the others have that take part.
        """
        me, counts = NodeIdentity(node.name, node.epoch), self._cluster.counts
        news = retired.departed.without(node.retired.departed).epochs
        agreed = {name: node.participants(name) for name in news}
        own = Departed({name: epoch for name, epoch in news.items() if me in agreed[name]})
        others = {
            n: e for n, e in news.items() if (n, e) in self._known_no_more and folds(retired, n)
        }
        counts["folded" if own else "stripped"] += 1
        self._may_count(node, Departed({**others, **own.epochs}))
        if own:
            self._must_count(node, own, retired.generation)
        # Somebody who has joined since it was agreed may have brought more to some of them.
        present = {
            each for each in node.known if Replica(each.name, each.epoch) not in retired.departed
        }
        members = {NodeIdentity(*each) for each in node.members.epochs.items()}
        if all(each == members == present for each in agreed.values()):
            self._expect_what_others_have(node, own, (retired.generation, own, frozenset(members)))

    def _may_count(self, node: Node, departed: Departed) -> None:
        # What is in memory has all that is stored, and what is being stored.
        for entity_id, copy in {**node.stored, **node.copies}.items():
            if departed:
                most = self._most.get(entity_id, (0, 0))
                self._most[entity_id] = greater(most, totals_of(copy, departed))

    def _must_count(self, node: Node, departed: Departed, generation: int) -> None:
        least = self._least.setdefault(generation, {})
        for entity_id in node.stored:
            totals = totals_of(node.read(entity_id), departed)
            least[entity_id] = lesser(least.get(entity_id, totals), totals)

    def _expect_what_others_have(self, node: Node, news: Departed, agreed: Agreed) -> None:
        self._cluster.counts["forgotten alike"] += 1
        traces = self._traces.setdefault(agreed, {})
        for entity_id in self._cluster.entity_ids:
            copy = node.read(entity_id)
            if isinstance(copy, Vote) or self._is_deleted(entity_id):
                # What a departed writer has voted is gone, too, when its next life votes. And who
                # has deleted an entity has nothing of it any more, as before it had heard of it.
                continue
            if copy is not None and copy.must_adopt(news):
                raise Broken(f"{node.name} forgets something of {entity_id} that is alive")
            for what, found in written_by(news, copy, self._cluster.type_of(entity_id)):
                if traces.setdefault((entity_id, what), found) != found:
                    raise Broken(f"{node.name} has another {entity_id} of those whom it forgets")

    def _is_deleted(self, entity_id: str) -> bool:
        copies = (node.copies.get(entity_id) for node in self._cluster.nodes.values())
        return any(isinstance(copy, Deleted) for copy in copies)

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
            if isinstance(copy, ORSet | ORMap):
                self._expect_removed(entity_id, copy)
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
        whole = self._whole(made, copy, retired)
        if isinstance(whole, GCounter | PNCounter):
            whole = without_retired(whole)
        if whole != copy:
            raise Broken(f"{entity_id} is not what was done to it")

    def _whole(self, made: Sequence[Operation], copy: Lattice, retired: Retired) -> Lattice:
        """What all that was made comes to, as far as it has not gone with a disk.

        Nor with a node that was away: what such a change removes of those who are forgotten has
        gone if it is there.
        """
        bottom, departed = type(copy).bottom(REGISTRY), retired.departed
        unsure = [each for each in made if not self._stayed(each)]
        kept = [each for each in made if self._stayed(each)]
        kept += [replace(each, delta=stripped(each.delta, retired)) for each in unsure]
        for each in sorted(unsure, key=lambda each: not each.is_adoption):  # these remove nothing
            if copy.covers(_done_until(departed, [*kept, each], bottom)):
                kept.append(each)
        return _done_until(departed, kept, bottom)

    def _expect_removed(self, entity_id: str, copy: ORSet | ORMap) -> None:
        """Nothing is there that was removed, although what was taken over was written anew.

        What may have gone with a disk, or with a node that was away, does not count.
        """
        made = [
            each
            for each in self._cluster.made
            if each.entity_id == entity_id and each.is_stored and isinstance(each.delta, Lattice)
        ]
        there = type(copy).bottom(REGISTRY)
        for each in made:
            adds = bool(each.delta._store.paths)
            if not each.is_adoption and (adds or self._stayed(each)):
                there.join(each.delta)
        for element in copy:
            if element not in there:
                raise Broken(f"{element.value!r} was removed from {entity_id}, and is back")

    def _stayed(self, made: Operation) -> bool:
        """Whether whoever has made a change is there in the same life, and has had its say since.

        Who takes no part in forgetting writers drops what it has removed of theirs.
        """
        node, epochs = self._cluster.nodes[made.node], self._cluster.members.epochs
        is_there = epochs.get(made.node) == node.epoch == made.epoch
        since = node.retired.departed.without(made.retired.departed).epochs
        has_taken_part = all(took for name in since for _, took in node.retired.steps[name])
        return made.is_done and node.lost_disk_s is None and is_there and has_taken_part

    def _expect_counted(self, entity_id: str, copy: GCounter | PNCounter, retired: Retired) -> None:
        """What is counted of departed writers is what those had who took part in forgetting."""
        least = (0, 0)
        for counted in self._least.values():
            least = greater(least, counted.get(entity_id, (0, 0)))
        done = self._done(entity_id, retired.departed)
        most = lesser(self._most.get(entity_id, (0, 0)), done)
        found = totals_of(copy, Departed())
        if greater(least, found) != found or greater(most, found) != most:
            raise Broken(
                f"{entity_id}: of departed writers, expected {least} to {most}, found {found}"
            )

    def _done(self, entity_id: str, departed: Departed) -> Totals:
        """What departed writers have ever counted."""
        amounts = [
            each.amount
            for each in self._cluster.made
            if each.entity_id == entity_id and Replica(each.node, each.epoch) in departed
        ]
        return sum(max(each, 0) for each in amounts), sum(max(-each, 0) for each in amounts)


def _done_until(departed: Departed, made: Sequence[Operation], bottom: Lattice) -> Lattice:
    """What was made by nodes that had forgotten these, and by those that had forgotten fewer.

    What the latter have made is forgotten as a node does it that has all of it: once for each.
    """
    done = bottom.copy()
    for fewer in {each.retired.departed for each in made}:
        if fewer != departed and not fewer.without(departed):
            before = _done_until(fewer, made, bottom)
            before.retire(departed, into=RETIRED)
            done.join(before)
    for each in made:
        if each.retired.departed == departed:
            assert isinstance(each.delta, Lattice)
            done.join(each.delta)
    return done


def folds(retired: Retired, name: str) -> bool:
    return retired.steps[name][-1][1]


def totals_of(copy: Change | None, departed: Departed) -> Totals:
    """What is counted of departed writers, those who are forgotten already among them."""
    if isinstance(copy, GCounter):
        return total_of(copy, departed), 0
    if not isinstance(copy, PNCounter):
        return 0, 0
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


def written_by(
    departed: Departed, copy: Change | None, type_: type[Lattice]
) -> Iterator[tuple[object, object]]:
    """What all have to have of departed writers; what is alive of theirs somebody may remove."""
    copy = type_.bottom(REGISTRY) if copy is None else copy
    if not isinstance(copy, DottedLattice):
        assert isinstance(copy, Lattice)
        yield "trace", Trace.of(copy, departed).digest
        return
    theirs = copy.store.part_of_writers(departed)
    yield "seen", sorted(dot for dot in theirs.context if dot.replica in departed)
    for dot in theirs.paths:
        part = theirs.part_of(dot)
        yield dot, None if part is None else part.serialize()


def lesser(one: Totals, other: Totals) -> Totals:
    return min(one[0], other[0]), min(one[1], other[1])


def greater(one: Totals, other: Totals) -> Totals:
    return max(one[0], other[0]), max(one[1], other[1])
