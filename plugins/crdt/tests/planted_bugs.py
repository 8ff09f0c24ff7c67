"""Bugs that a merge can have, one at a time, to see that the suites find them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import kinds_of_values as kinds
import pytest
from small_scope import DEEP_MAP, MAP, ORSET, Scope

from cloudstate_crdt import (
    CausalContext,
    Flag,
    GCounter,
    Lattice,
    LWWRegister,
    ORMap,
    ORSet,
    PNCounter,
    Replica,
    Vote,
    dotted_wire,
)
from cloudstate_crdt.departed import RETIRED, Departed
from cloudstate_crdt.dot_store import DotStore
from cloudstate_crdt.lattices_pb2 import Count, GCounterState
from cloudstate_crdt.succession import Succession
from cloudstate_crdt.testing.departures import DepartureLaws
from cloudstate_crdt.types import lwwregister
from cloudstate_crdt.types import orset as orset_module
from cloudstate_crdt.wire import writer_of

#: The laws for nodes that have departed.
DEPARTURES = tuple(name for name in vars(DepartureLaws) if name.startswith("test_"))

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Bug:
    """A bug, how to plant it, and where it should show: histories, laws if not in any."""

    name: str
    plant: Plant
    type_: type[Lattice]
    mutations: Callable
    scopes: tuple[Scope, ...] = ()
    laws: tuple[str, ...] = ()


def replaced(owner: object, name: str, make: Callable[[Callable], Callable]) -> Plant:
    """Replace a function by what `make` makes of it."""
    return lambda patch: patch.setattr(owner, name, make(getattr(owner, name)))


def _counts_join(choose: Callable[[int, int], int]):
    def join(self: GCounter, other: GCounter) -> bool:
        before = self.counts.copy()
        for replica, count in other.counts.items():
            self.counts[replica] = choose(self.counts.get(replica, 0), count)
        return self.counts != before

    return lambda _: join


def _forgets_decrements(_):
    return lambda self, other: self.increments.join(other.increments)


def _last_arrival_wins_ties(right):
    def beats(self, other):
        return right(self, other) or self.timestamp == other.timestamp

    return beats


def _compares_changes_only(_):
    def join(self: Vote, other: Vote) -> bool:
        before = self.voices.copy()
        for node, voice in other.voices.items():
            if voice[1] > self.voices.get(node, (-1, -1))[1]:
                self.voices[node] = voice
        return self.voices != before

    return join


def _takes_the_other(_):
    def join(self: Flag, other: Flag) -> bool:
        changed = self.enabled != other.enabled
        self.enabled = other.enabled
        return changed

    return join


def _in_order_of_arrival(_):
    return lambda self: GCounterState(
        counts=[
            Count(writer=writer_of(replica), count=count) for replica, count in self.counts.items()
        ]
    ).SerializeToString()


def _forgets_what_is_beyond_a_gap(right):
    def join(self: CausalContext, other: CausalContext) -> bool:
        known = other.copy()
        known.beyond.clear()
        return right(self, known)

    return join


def _ignores_gaps(_):
    def add(self: CausalContext, dot) -> bool:
        new = dot not in self
        self.up_to[dot.replica] = max(self.up_to.get(dot.replica, 0), dot.sequence)
        return new

    return add


def _brings_back(right):
    def join(self: DotStore, other: DotStore) -> bool:
        changed = right(self, other)
        for dot, path in other.paths.items():
            if dot not in self.paths:
                part = other.part_of(dot)
                self.insert(dot, path, part and part.copy())
                changed = True
        return changed

    return join


def _removes_the_unseen(_):
    return lambda self, other: [
        dot
        for dot in self.paths
        if dot not in other.paths and dot.replica in other.context.replicas()
    ]


def _removes_all_it_knows(right):
    def drop(self: DotStore, dots: Collection) -> DotStore:
        return right(self, list(self.paths) if dots else dots)

    return drop


def _shares_parts(right):
    def join(self: DotStore, other: DotStore) -> bool:
        known = set(self.paths)
        changed = right(self, other)
        for dot in self.paths.keys() - known:
            self.branch(self.paths[dot]).leaves[dot] = other.part_of(dot)
        return changed

    return join


def _removes_only_the_key(_):
    def remove(self: ORMap, key) -> ORMap:
        segments = self._segments(key)
        leaves = [self._below()[each].leaves for each in segments]
        return self._delta(self._store.drop([dot for each in leaves for dot in list(each)[:1]]))

    return remove


def _writes_no_strand(right):
    def update(self: ORMap, replica: Replica, key, type_, change) -> ORMap:
        return right(
            self, replica, key, type_, lambda value, me: change(value, me._replace(strand=0))
        )

    return update


def _writes_no_gap(right):
    def write(store: DotStore):
        message = right(store)
        for seen in message.seen:
            del seen.beyond[:]
        return message

    return write


def _adds_beside(_):
    def add(self: ORSet, replica: Replica, element) -> ORSet:
        segment = orset_module.Segment.of(element)
        return self._delta(self._store.write(replica, (segment,), None, list(self._store.paths)))

    return add


def _folds_into_nothing(right):
    return lambda self, departed, *, into: right(self, departed, into=None)


def _folds_what_is_late(right):
    return lambda self, departed, *, into: right(self, departed, into=into or RETIRED)


def _folds_to_as_many_as_there_are(_):
    def retire(self: GCounter, departed: Departed, *, into: Replica | None) -> bool:
        gone = [replica for replica in self.counts if replica in departed]
        for replica in gone:
            del self.counts[replica]
        if gone and into is not None:
            self.counts[into] = len(gone)
        return bool(gone)

    return retire


def _has_a_trace_of_names(_):
    return lambda self, departed: GCounter(
        dict.fromkeys((each for each in self.counts if each in departed), 1)
    )


def _has_no_trace_of_leaves(right):
    def part_of_writers(self: DotStore, departed: Departed) -> DotStore:
        theirs = right(self, departed)
        bare = DotStore(self.types)
        bare.context = theirs.context
        return bare

    return part_of_writers


def _keeps_leaves_of_the_departed(_):
    def retire(self: DotStore, departed: Departed, *, fold: bool) -> bool:
        live = {dot.replica for dot in self.paths}
        seen = [each for each in self.context.replicas() if each in departed and each not in live]
        self.context.forget(seen)
        return bool(seen)

    return retire


def _stands_in_no_more(_):
    return lambda self, heir, departed: self.drop(heir)


def _takes_over_the_first(right):
    return lambda self, dots: right(self, list(dots)[:1])


def _with_one_part(plant: Plant) -> Plant:
    """Let later changes go into the part that is there, which a short history else never does."""

    def planted(patch: pytest.MonkeyPatch) -> None:
        patch.setattr("cloudstate_crdt.types.ormap.MAX_PARTS", 1)
        plant(patch)

    return planted


def _maps():
    return kinds.ormap({GCounter: kinds.gcounter(), ORSet: kinds.orset()})


BUGS = (
    Bug(
        "a counter adds what arrives",
        replaced(GCounter, "join", _counts_join(lambda own, other: own + other)),
        GCounter,
        kinds.gcounter,
    ),
    Bug(
        "a counter takes what arrives, if less too",
        replaced(GCounter, "join", _counts_join(lambda _, other: other)),
        GCounter,
        kinds.gcounter,
    ),
    Bug(
        "a counter forgets decrements",
        replaced(PNCounter, "join", _forgets_decrements),
        PNCounter,
        kinds.pncounter,
    ),
    Bug(
        "counts are written as they arrived",
        replaced(GCounter, "serialize", _in_order_of_arrival),
        GCounter,
        kinds.gcounter,
    ),
    Bug(
        "of writes at one time the one that arrives last stays",
        replaced(lwwregister.Write, "beats", _last_arrival_wins_ties),
        LWWRegister,
        kinds.register,
    ),
    Bug("a vote ignores epochs", replaced(Vote, "join", _compares_changes_only), Vote, kinds.vote),
    Bug("a flag is overwritten", replaced(Flag, "join", _takes_the_other), Flag, kinds.flag),
    Bug(
        "a context forgets what is beyond a gap",
        replaced(CausalContext, "join", _forgets_what_is_beyond_a_gap),
        ORSet,
        kinds.orset,
        (ORSET,),
    ),
    Bug(
        "a context ignores gaps",
        replaced(CausalContext, "add", _ignores_gaps),
        ORSet,
        kinds.orset,
        (ORSET,),
    ),
    Bug(
        "removals do not spread",
        replaced(DotStore, "_removed_by", lambda _: lambda self, other: []),
        ORSet,
        kinds.orset,
        (ORSET,),
    ),
    Bug(
        "what was removed comes back",
        replaced(DotStore, "join", _brings_back),
        ORSet,
        kinds.orset,
        (ORSET,),
    ),
    Bug(
        "what the other has not seen counts as removed by it",
        replaced(DotStore, "_removed_by", _removes_the_unseen),
        ORSet,
        kinds.orset,
        (ORSET,),
    ),
    Bug(
        "a removal takes everything with it",
        replaced(DotStore, "drop", _removes_all_it_knows),
        ORSet,
        kinds.orset,
        (ORSET,),
    ),
    Bug(
        "an addition takes other elements away",
        replaced(ORSet, "add", _adds_beside),
        ORSet,
        kinds.orset,
        (ORSET,),
    ),
    Bug(
        "what arrives is shared",
        _with_one_part(replaced(DotStore, "join", _shares_parts)),
        ORMap,
        lambda: kinds.ormap({GCounter: kinds.gcounter()}),
    ),
    Bug(
        "a removal leaves a part of the value",
        replaced(ORMap, "remove", _removes_only_the_key),
        ORMap,
        _maps,
        (MAP, DEEP_MAP),
    ),
    Bug(
        "parts count into each other",
        replaced(ORMap, "update", _writes_no_strand),
        ORMap,
        _maps,
        (MAP, DEEP_MAP),
    ),
    Bug(
        "a counter forgets what the departed have counted",
        replaced(GCounter, "retire", _folds_into_nothing),
        GCounter,
        kinds.gcounter,
        laws=DEPARTURES,
    ),
    Bug(
        "a counter counts late what it has forgotten",
        replaced(GCounter, "retire", _folds_what_is_late),
        GCounter,
        kinds.gcounter,
        laws=DEPARTURES,
    ),
    Bug(
        "a counter keeps of the departed how many there were",
        replaced(GCounter, "retire", _folds_to_as_many_as_there_are),
        PNCounter,
        kinds.pncounter,
        laws=DEPARTURES,
    ),
    Bug(
        "a trace says who counted and not how far",
        replaced(GCounter, "part_of", _has_a_trace_of_names),
        GCounter,
        kinds.gcounter,
        laws=DEPARTURES,
    ),
    Bug(
        "a trace says what was seen and not what is left of it",
        _with_one_part(replaced(DotStore, "part_of_writers", _has_no_trace_of_leaves)),
        ORMap,
        lambda: kinds.ormap({GCounter: kinds.gcounter()}),
        laws=DEPARTURES,
    ),
    Bug(
        "leaves of the departed are not forgotten",
        replaced(DotStore, "retire", _keeps_leaves_of_the_departed),
        ORSet,
        kinds.orset,
        laws=DEPARTURES,
    ),
    Bug(
        "what is taken over of several in one place is that of one",
        replaced(DotStore, "_joined_parts", _takes_over_the_first),
        ORMap,
        lambda: kinds.ormap({GCounter: kinds.gcounter()}),
        laws=DEPARTURES,
    ),
    Bug(
        "what stands in for two is done with when one is forgotten",
        replaced(Succession, "retire", _stands_in_no_more),
        ORMap,
        lambda: kinds.ormap({GCounter: kinds.gcounter()}),
        laws=DEPARTURES,
    ),
    Bug(
        "gaps are not written",
        lambda patch: patch.setattr(
            "cloudstate_crdt.types.dotted.write_store", _writes_no_gap(dotted_wire.write_store)
        ),
        ORSet,
        kinds.orset,
    ),
)
