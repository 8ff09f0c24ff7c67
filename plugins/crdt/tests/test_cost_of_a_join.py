"""A join of a small delta costs what the delta costs, however large the state is."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest
from kinds_of_values import item

from cloudstate_crdt import GCounter, GSet, Lattice, ORMap, ORSet, PNCounter, Replica, Vote
from cloudstate_crdt import standard_types as types

SMALL, LARGE = 100, 20_000
A = Replica("a", 1)


def filled(fill: Callable[[Lattice, int], Lattice]):
    """A state of that many elements, and fifty deltas of one change each."""

    def build(kind: type[Lattice], size: int) -> tuple[Lattice, list[Lattice]]:
        source = kind.bottom(types())
        for number in range(size):
            fill(source, number)
        state = source.copy()
        return state, [fill(source, number) for number in range(size, size + 50)]

    return build


CASES = [
    (GCounter, filled(lambda state, n: state.increment(Replica(str(n)), 1))),
    (PNCounter, filled(lambda state, n: state.change(Replica(str(n)), -1))),
    (GSet, filled(lambda state, n: state.add(item(str(n))))),
    (Vote, filled(lambda state, n: state.vote(Replica(str(n)), is_for=True))),
    (ORSet, filled(lambda state, n: state.add(A, item(str(n))))),
    (
        ORMap,
        filled(lambda state, n: state.update(A, item(str(n)), GCounter, GCounter.increment)),
    ),
    (ORSet, filled(lambda s, n: (s.add(A, item(str(n))), s.remove(item(str(n - 90))))[n % 2])),
]


def cpu_per_join_s(state: Lattice, deltas: list[Lattice]) -> float:
    gc.disable()
    try:
        best = float("inf")
        for delta in deltas:
            before = time.process_time_ns()
            state.join(delta)
            best = min(best, (time.process_time_ns() - before) / 1e9)
    finally:
        gc.enable()
    return best


@pytest.mark.parametrize(("kind", "build"), CASES)
def test_a_small_delta_costs_as_much_in_a_large_state(kind, build) -> None:
    small = cpu_per_join_s(*build(kind, SMALL))
    large = cpu_per_join_s(*build(kind, LARGE))

    # The large state has 200 times as much in it. A tenth of that would already show.
    assert large < 20 * max(small, 2e-6)
