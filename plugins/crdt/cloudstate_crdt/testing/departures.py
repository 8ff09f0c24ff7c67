"""What every replicated type must do when nodes have departed; part of `LatticeLaws`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import islice, pairwise
from random import Random
from typing import ClassVar, Generic, TypeVar

from cloudstate_crdt.departed import RETIRED, Departed, Trace
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.registry import Registry
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.testing.histories import NODES, History

__all__ = ["DepartureLaws", "joined"]

LatticeT = TypeVar("LatticeT", bound=Lattice)

#: Who departs, in some of its lives or in all; and one that was never there.
_SOME, _ALL = Departed({NODES[0]: 1}), Departed({NODES[0]: 99, "nobody": 1})

#: How many pairs of replicas that may forget are looked at in one history.
_MAX_PAIRS = 5

#: Who takes over what was theirs.
_HEIR, _OTHER_HEIR = Replica("y", 1), Replica("z", 1)
_PART_OF_HEIR = Replica("y", 1, 7)


class DepartureLaws(ABC, Generic[LatticeT]):
    """What `Lattice` says of `trace_of`, `must_adopt`, `adopt` and `retire`."""

    types: ClassVar[Registry]

    @abstractmethod
    def bottom(self) -> LatticeT:
        """Return the value that nobody has changed yet."""

    def look(self, state: LatticeT) -> object:
        """Return what users see of a value, apart from who wrote it.

        Override it to have it examined that users see the same before and after nodes that have
        departed are forgotten; without, only that replicas still agree is examined.
        """
        return None

    @abstractmethod
    def _examine(self, law: Callable[[History[LatticeT], Random], None]) -> None: ...

    # --- One replica -----------------------------------------------------------------

    def test_what_is_forgotten_was_there_and_is_gone(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            departed = chance.choice((_SOME, _ALL))
            for state in history.everything():
                as_it_was, trace = state.serialize(), state.trace_of(departed)
                for into, later in ((RETIRED, None), (None, RETIRED)):
                    left = state.copy()
                    assert left.retire(departed, into=into) is bool(trace)
                    assert (left != state) is bool(trace)
                    assert left.trace_of(departed) == b""
                    assert not left.must_adopt(departed)
                    assert not left.retire(departed, into=later)
                    assert not left.copy().retire(departed, into=into)
                # Without folding nothing is added.
                assert state.covers(left)
                assert state.serialize() == as_it_was

        self._examine(law)

    def test_what_is_taken_over_stays_whoever_takes_it_over(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            departed = chance.choice((_SOME, _ALL))
            for state in history.everything():
                one, other = state.copy(), state.copy()
                delta, other_delta = one.adopt(_HEIR, departed), other.adopt(_OTHER_HEIR, departed)
                assert joined(state, delta) == one
                assert (one != state) is state.must_adopt(departed)
                both = joined(one, other_delta)
                assert both == joined(other, delta)
                for each in (one, both):
                    assert not each.must_adopt(departed)
                    assert self.look(each) == self.look(state)

        self._examine(law)

    def test_to_take_over_and_to_join_can_change_places(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            departed = chance.choice((_SOME, _ALL))
            first, second, third = chance.choices(history.everything(), k=3)
            adopted = first.copy().adopt(_HEIR, departed)
            assert joined(adopted, adopted) == adopted
            one = joined(joined(first, adopted), joined(second, third))
            assert joined(joined(joined(second, adopted), third), first) == one
            assert joined(joined(third, first), joined(adopted, second)) == one
            assert type(one).parse(one.serialize(), self.types) == one
            assert joined(one, adopted) == one

        self._examine(law)

    def test_to_forget_one_after_the_other_or_at_once_comes_to_the_same(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            first, second = Departed({NODES[0]: 99}), Departed({NODES[1]: 99})
            both = first.joined(second)
            for each in history.everything():
                state = joined(each, each.copy().adopt(_HEIR, both))
                at_once, dropped = _folded(state, both), _dropped(state, both)
                assert _folded(_folded(state, first), second) == at_once
                assert _folded(_folded(state, second), first) == at_once
                assert _dropped(_dropped(state, first), second) == dropped

        self._examine(law)

    # --- Several ---------------------------------------------------------------------

    def test_to_drop_and_to_join_can_change_places(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            departed = chance.choice((_SOME, _ALL))
            first, second = chance.choices(history.everything(), k=2)
            dropped = joined(_dropped(first, departed), _dropped(second, departed))
            assert dropped == _dropped(joined(first, second), departed)

        self._examine(law)

    def test_who_has_the_same_of_the_departed_has_the_same_trace(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            departed = chance.choice((_SOME, _ALL))
            one, other = self._parting(history, departed, chance)
            if one.must_adopt(departed) or other.must_adopt(departed):
                # The rest of what they see of the departed is the same when they meet.
                one = other = joined(one, other)
                delta = one.adopt(_HEIR, departed)
                other = joined(other, delta)
            assert Trace.of(one, departed) == Trace.of(other, departed)
            assert joined(one, other).trace_of(departed) == one.trace_of(departed)

        self._examine(law)

    def test_replicas_of_one_trace_forget_at_different_moments_and_go_on_alike(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            departed = chance.choice((_SOME, _ALL))
            for one, other in self._pairs(history, departed, chance):
                looks = self.look(one), self.look(other), self.look(joined(one, other))
                if one.must_adopt(departed):
                    other.join(one.adopt(_HEIR, departed))
                assert not other.must_adopt(departed)
                assert one.trace_of(departed) == other.trace_of(departed)
                into = chance.choice((RETIRED, _PART_OF_HEIR))
                folded = _folded(one, departed, into)
                both = _folded(joined(one, other), departed, into)
                assert joined(folded, _folded(other, departed, into)) == both
                assert joined(folded, _dropped(other, departed)) == both
                late = chance.choice(history.everything())
                with_late = _folded(joined(one, late), departed, into)
                if joined(one, late).trace_of(departed) == one.trace_of(departed):
                    assert joined(folded, _dropped(late, departed)) == with_late
                seen = self.look(folded), self.look(_folded(other, departed, into)), self.look(both)
                assert seen == looks

        self._examine(law)

    def _pairs(
        self, history: History[LatticeT], departed: Departed, chance: Random
    ) -> Iterator[tuple[LatticeT, LatticeT]]:
        """Replicas that have the same of the departed, as their traces say."""
        first, second = chance.choices(history.everything(), k=2)
        pairs = [
            self._parting(history, departed, chance),
            (joined(first, second), second),
            *pairwise(history.everything()),
        ]
        traced = (each for each in pairs if _have_one_trace(*each, departed))
        for one, other in islice(traced, _MAX_PAIRS):
            yield one.copy(), other.copy()

    def _parting(
        self, history: History[LatticeT], departed: Departed, chance: Random
    ) -> tuple[LatticeT, LatticeT]:
        """Two replicas that have all of the departed, and each some of what other nodes did."""
        written = list(zip(history.deltas, history.writers, strict=True))
        theirs = [delta for delta, writer in written if writer in departed]
        others = [delta for delta, writer in written if writer.node not in departed.epochs]

        def one() -> LatticeT:
            return self._join_of([*theirs, *(each for each in others if chance.random() < 0.7)])

        return one(), one()

    def _join_of(self, deltas: Iterable[LatticeT]) -> LatticeT:
        return reduce(joined, deltas, self.bottom())


def joined(state: LatticeT, other: LatticeT) -> LatticeT:
    """Return the join of two values, which are left as they are."""
    result = state.copy()
    result.join(other)
    return result


def _have_one_trace(one: Lattice, other: Lattice, departed: Departed) -> bool:
    return one.trace_of(departed) == other.trace_of(departed)


def _folded(state: LatticeT, departed: Departed, into: Replica = RETIRED) -> LatticeT:
    result = state.copy()
    result.retire(departed, into=into)
    return result


def _dropped(state: LatticeT, departed: Departed) -> LatticeT:
    result = state.copy()
    result.retire(departed, into=None)
    return result
