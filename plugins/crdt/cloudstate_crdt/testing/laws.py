"""What every replicated type must do. Subclass it in your tests."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from random import Random
from typing import ClassVar, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from cloudstate_crdt.errors import StateRefused
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.registry import Registry, standard_types
from cloudstate_crdt.testing.departures import DepartureLaws, joined
from cloudstate_crdt.testing.histories import History, Mutation, steps

__all__ = ["LatticeLaws"]

LatticeT = TypeVar("LatticeT", bound=Lattice)


class LatticeLaws(DepartureLaws[LatticeT]):
    """The laws of a lattice, examined with histories that Hypothesis thinks of.

        class TestMaxLevel(LatticeLaws[MaxLevel]):
            types = standard_types().with_types(MaxLevel)

            def bottom(self) -> MaxLevel:
                return MaxLevel()

            def mutations(self) -> SearchStrategy[Mutation[MaxLevel]]:
                return st.integers(0, 9).map(lambda level: lambda state, replica: state.rise(level))

    With `look` overridden, also whether users see the same before and after writers are forgotten.

    Attributes:
        types: The types that are known, this one among them.
        examples: How many histories each law is examined with.
        phases: What Hypothesis does; without `Phase.shrink` it does not look for a shorter history.
        seed: What the histories are derived from; None for what Hypothesis takes by itself.
    """

    types: ClassVar[Registry] = standard_types()
    examples: ClassVar[int] = 100
    phases: ClassVar[tuple[Phase, ...]] = tuple(Phase)
    seed: ClassVar[int | None] = None

    @abstractmethod
    def mutations(self) -> st.SearchStrategy[Mutation[LatticeT]]:
        """Return a strategy for all that can be done to a value, conflicts not too rare."""

    # --- A join is a join ------------------------------------------------------------

    def test_the_bottom_adds_nothing(self) -> None:
        def law(history: History[LatticeT], _: Random) -> None:
            for each in history.everything():
                assert joined(self.bottom(), each) == each
                assert joined(each, self.bottom()) == each
            assert self.bottom().is_bottom()

        self._examine(law)

    def test_joining_twice_is_joining_once(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            first, second = chance.choices(history.everything(), k=2)
            once = joined(first, second)
            assert joined(once, second) == once
            assert joined(first, first) == first

        self._examine(law)

    def test_the_order_of_two_does_not_matter(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            first, second = chance.choices(history.everything(), k=2)
            assert joined(first, second) == joined(second, first)

        self._examine(law)

    def test_the_grouping_of_three_does_not_matter(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            first, second, third = chance.choices(history.everything(), k=3)
            left = joined(joined(first, second), third)
            assert left == joined(first, joined(second, third))

        self._examine(law)

    def test_a_join_says_whether_it_changed_anything(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            state, other = chance.choices(history.everything(), k=2)
            result = state.copy()
            assert result.join(other) is (result != state)
            assert state.covers(other) is (result == state)

        self._examine(law)

    def test_what_is_joined_or_handed_out_is_left_alone_then_and_later(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            state, other, later = chance.choices(history.everything(), k=3)
            as_it_was = other.serialize()
            result = joined(state, other)
            result.join(later)
            assert other.serialize() == as_it_was
            for delta, as_handed_out in history.handed_out:
                assert delta.serialize() == as_handed_out

        self._examine(law)

    def test_what_happens_to_one_replica_happens_to_no_other(self) -> None:
        def law(history: History[LatticeT], _: Random) -> None:
            for node, state in history.last_moments.items():
                assert history.replicas[node] == state
            for before, delta, _after in history.changes:
                one, other = before.copy(), self.bottom()
                other.join(one)
                one.join(delta)
                assert other == before

        self._examine(law)

    def test_a_copy_lives_by_itself(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            state, other = chance.choices(history.everything(), k=2)
            as_it_was = state.serialize()
            assert state.copy() == state
            state.copy().join(other)
            assert state.serialize() == as_it_was

        self._examine(law)

    # --- Deltas ----------------------------------------------------------------------

    def test_a_change_is_the_join_of_its_delta(self) -> None:
        def law(history: History[LatticeT], _: Random) -> None:
            for before, delta, after in history.changes:
                assert joined(before, delta) == after

        self._examine(law)

    def test_a_state_is_the_join_of_its_deltas(self) -> None:
        def law(history: History[LatticeT], _: Random) -> None:
            whole = reduce(joined, history.deltas, self.bottom())
            # A restart loses a replica, and no delta that was sent before.
            assert reduce(joined, history.replicas, whole) == whole
            if history.moments:
                assert reduce(joined, history.moments) == whole

        self._examine(law)

    def test_nothing_is_ever_taken_back(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            for before, _, after in history.changes:
                assert after.covers(before)
            state, other = chance.choices(history.everything(), k=2)
            result = joined(state, other)
            assert result.covers(state)
            assert result.covers(other)

        self._examine(law)

    def test_deltas_in_any_order_any_number_of_times_give_one_state(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            delivered = history.deltas * 2
            chance.shuffle(delivered)
            in_order = reduce(joined, history.deltas, self.bottom())
            assert reduce(joined, delivered, self.bottom()) == in_order

        self._examine(law)

    def test_a_whole_state_mends_what_was_lost(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            whole = reduce(joined, history.deltas, self.bottom())
            arrived = [delta for delta in history.deltas if chance.random() < 0.5]
            chance.shuffle(arrived)
            late = [delta for delta in history.deltas if chance.random() < 0.5]
            replica = joined(reduce(joined, arrived, self.bottom()), whole)
            assert reduce(joined, late, replica) == whole

        self._examine(law)

    # --- Bytes -----------------------------------------------------------------------

    def test_what_is_written_is_read_again(self) -> None:
        def law(history: History[LatticeT], _: Random) -> None:
            for each in history.everything():
                read = type(each).parse(each.serialize(), self.types)
                assert read == each
                assert self.types.read(self.types.write(each)) == each

        self._examine(law)

    def test_equal_values_have_equal_bytes_and_others_have_not(self) -> None:
        def law(history: History[LatticeT], _: Random) -> None:
            every = [*history.everything(), reduce(joined, history.deltas, self.bottom())]
            every.append(reduce(joined, reversed(history.deltas), self.bottom()))
            assert every[-1].serialize() == every[-2].serialize()
            for one, other in pairwise(every):
                assert (one == other) is (one.serialize() == other.serialize())
                assert (one == other) is (one.digest() == other.digest())

        self._examine(law)

    def test_what_was_read_goes_on_like_what_was_written(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            state, other = chance.choices(history.everything(), k=2)
            read = type(state).parse(state.serialize(), self.types)
            assert joined(read, other).serialize() == joined(state, other).serialize()

        self._examine(law)

    def test_damaged_bytes_are_refused_or_are_those_of_another_value(self) -> None:
        def law(history: History[LatticeT], chance: Random) -> None:
            data = damaged(chance.choice(history.everything()).serialize(), chance)
            try:
                read = type(self.bottom()).parse(data, self.types)
            except StateRefused:
                return
            assert read.serialize() == data

        self._examine(law)

    # --- Examination -----------------------------------------------------------------

    def _examine(self, law: Callable[[History[LatticeT], Random], None]) -> None:
        @settings(
            max_examples=self.examples,
            phases=self.phases,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(steps(self.mutations()), st.randoms(use_true_random=False))
        def examine(taken: list[object], chance: Random) -> None:
            law(History(self.bottom(), taken), chance)  # type: ignore[arg-type]

        if self.seed is not None:
            examine = seed(self.seed)(examine)
        examine()


def damaged(data: bytes, chance: Random) -> bytes:
    """Return bytes in which something is different."""
    at = chance.randrange(len(data) + 1)
    match chance.randrange(4):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes([chance.randrange(256)]) + data[at:]
        case 2:
            return data + data
        case _:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
