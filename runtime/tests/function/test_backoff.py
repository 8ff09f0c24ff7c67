from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from cloudstate_runtime.function.backoff import JITTER, Pace, backoff_s


class NoSpread(Random):
    def random(self) -> float:
        return 0.0


def test_waits_double_up_to_the_longest() -> None:
    waits = backoff_s(NoSpread(), min_s=1.0, max_s=10.0)

    assert list(islice(waits, 7)) == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


def test_waits_are_spread_upwards_by_a_fifth_at_most() -> None:
    first = [next(backoff_s(Random(seed), min_s=1.0, max_s=10.0)) for seed in range(200)]

    assert all(1.0 <= wait <= 1.0 + JITTER for wait in first)
    assert max(first) - min(first) > JITTER / 2


def test_the_spread_is_that_of_the_random_numbers_that_are_handed_in() -> None:
    one, other = (list(islice(backoff_s(Random(7), min_s=1, max_s=9), 5)) for _ in range(2))

    assert one == other


@pytest.fixture
def pace() -> Pace:
    return Pace(NoSpread(), min_s=1.0, max_s=10.0)


def test_who_is_lost_for_the_first_time_is_looked_for_at_once(pace: Pace) -> None:
    assert pace.wait_s(0.0) == 0.0


def test_who_is_lost_all_the_time_is_looked_for_ever_less_often(pace: Pace) -> None:
    assert [pace.wait_s(0.5) for _ in range(7)] == [0.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_who_stayed_for_long_is_looked_for_at_once_again(pace: Pace) -> None:
    for _ in range(5):
        pace.wait_s(0.5)

    assert pace.wait_s(10.0) == 0.0
    assert pace.wait_s(0.5) == 1.0
