from __future__ import annotations

import math

import pytest
from runtime_doubles.loop_model import LoopModel, arriving, percentile

from cloudstate_runtime.adaptive_limit import AdaptiveLimit

FLOOR, CEILING, MAX_LAG_S = 32, 10_000, 0.003

SERVICE_S = 0.001
CAPACITY = 1 / SERVICE_S
REFUSAL_S = SERVICE_S * 0.03

LONG_S = 60.0
PATIENCE_S = 1.0


@pytest.fixture
def limit() -> AdaptiveLimit:
    return AdaptiveLimit(FLOOR, CEILING, MAX_LAG_S)


@pytest.fixture
def unlimited() -> AdaptiveLimit:
    return AdaptiveLimit(FLOOR, CEILING, math.inf)


def loop(limit: AdaptiveLimit, *, service_s: float = SERVICE_S, retries: int = 0) -> LoopModel:
    return LoopModel(limit, service_s, service_s * 0.03, retries)


def served_in_time(model: LoopModel, from_s: float, to_s: float) -> int:
    return sum(each.took_s <= PATIENCE_S and from_s <= each.came_s < to_s for each in model.served)


def unloaded_p99_s() -> float:
    model = loop(AdaptiveLimit(FLOOR, CEILING, MAX_LAG_S))
    model.run(arriving(CAPACITY / 10, 0, 20), 21)
    assert not model.refused
    return percentile((each.took_s for each in model.served), 0.99)


# --- Three times as much as can be served -------------------------------------------------


def test_under_overload_nearly_as_much_is_served_as_ever_and_nearly_as_soon() -> None:
    model = loop(AdaptiveLimit(8, CEILING, 2 * SERVICE_S))

    model.run(arriving(3 * CAPACITY, 0, LONG_S), LONG_S)

    assert served_in_time(model, 0, LONG_S) >= 0.85 * CAPACITY * LONG_S
    took_s = percentile((each.took_s for each in model.served), 0.99)
    assert took_s <= 5 * unloaded_p99_s()
    assert percentile((took for _, took in model.refused), 0.99) <= 0.01


def test_without_it_nobody_is_served_in_time(unlimited: AdaptiveLimit) -> None:
    model = loop(unlimited)

    model.run(arriving(3 * CAPACITY, 0, LONG_S), LONG_S)

    assert served_in_time(model, 10, LONG_S) <= 0.05 * CAPACITY * (LONG_S - 10)


def test_the_limit_settles(limit: AdaptiveLimit) -> None:
    model = loop(limit)

    model.run(arriving(3 * CAPACITY, 0, LONG_S), LONG_S)

    settled = [value for now_s, value in model.limits if now_s > 5]
    assert min(settled) >= FLOOR
    assert percentile(settled, 0.99) <= 3 * percentile(settled, 0.01)
    assert max(settled) <= 100


def test_when_the_load_stops_all_is_as_before(limit: AdaptiveLimit) -> None:
    model = loop(limit)
    model.run(arriving(3 * CAPACITY, 0, LONG_S), LONG_S)
    refused = len(model.refused)

    model.run(arriving(CAPACITY / 10, LONG_S, LONG_S + 5, seed=2), LONG_S + 6)

    after = [each.took_s for each in model.served if each.came_s > LONG_S + 0.2]
    assert percentile(after, 0.99) <= 2 * unloaded_p99_s()
    assert [came_s for came_s, _ in model.refused[refused:] if came_s > LONG_S + 0.2] == []


def test_a_storm_of_retries_does_not_outlast_its_cause(limit: AdaptiveLimit) -> None:
    model = loop(limit, retries=3)
    model.run(arriving(3 * CAPACITY, 0, 20), 20)
    storm = len([came_s for came_s, _ in model.refused if 10 < came_s <= 20])

    model.run(arriving(CAPACITY / 2, 20, 30, seed=2), 30)

    assert storm > 6 * CAPACITY * 10, "no storm"
    assert served_in_time(model, 0, 20) >= 0.7 * CAPACITY * 20
    calm = [each for each in model.served if each.came_s > 24]
    assert percentile((each.took_s for each in calm), 0.99) <= 0.05
    assert [came_s for came_s, _ in model.refused if came_s > 24] == []


def test_slow_requests_are_bounded_by_their_number_too(limit: AdaptiveLimit) -> None:
    service_s = 0.02
    model = loop(limit, service_s=service_s)

    model.run(arriving(3 / service_s, 0, LONG_S), LONG_S)

    assert served_in_time(model, 0, LONG_S) >= 0.85 / service_s * LONG_S
    assert max(each.took_s for each in model.served if each.came_s > 10) <= 3 * FLOOR * service_s


# --- What is not overload ----------------------------------------------------------------


def test_handlers_that_wait_are_no_overload(limit: AdaptiveLimit) -> None:
    model = loop(limit)

    model.run(arriving(200, 0, LONG_S, waits_s=20.0), LONG_S)

    assert model.refused == []
    assert limit.limit == CEILING


def test_the_handlers_that_wait_take_no_room_from_others_under_overload(
    limit: AdaptiveLimit,
) -> None:
    model = loop(limit)
    waiting = [(0.001 * number, 1000.0) for number in range(500)]

    model.run(waiting + arriving(3 * CAPACITY, 5, LONG_S), LONG_S)

    assert limit.in_flight >= 500
    assert served_in_time(model, 10, LONG_S) >= 0.85 * CAPACITY * (LONG_S - 10)


def test_a_pause_is_no_overload(limit: AdaptiveLimit) -> None:
    model = loop(limit)

    for second in range(20):
        model.run(arriving(CAPACITY / 2, second, second + 1, seed=second), second + 1)
        model.block(0.05)

    assert len(model.refused) <= 0.001 * len(model.served)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_busy_server_refuses_nobody(share: float, limit: AdaptiveLimit) -> None:
    model = loop(limit)

    model.run(arriving(share * CAPACITY, 0, LONG_S), LONG_S)

    assert len(model.refused) <= 0.001 * len(model.served)


def test_an_overload_is_forgotten_after_a_minute(limit: AdaptiveLimit) -> None:
    model = loop(limit)
    model.run(arriving(3 * CAPACITY, 0, 5), 5)
    assert limit.limit < 100

    model.run(arriving(CAPACITY / 4, 5, 80, seed=3), 80)

    assert limit.limit == CEILING


def test_after_an_overload_many_may_wait_again_within_two_seconds(limit: AdaptiveLimit) -> None:
    model = loop(limit)
    model.run(arriving(3 * CAPACITY, 0, 10), 10)
    assert limit.limit < 100

    model.run(arriving(800, 10, 20, waits_s=1000.0, seed=3), 20)

    assert [came_s for came_s, _ in model.refused if came_s > 12] == []


# --- Counting ----------------------------------------------------------------------------


def test_the_ceiling_counts_old_requests_as_well() -> None:
    limit = AdaptiveLimit(1, 3, MAX_LAG_S)
    for _ in range(2):
        limit.enter()
    _windows(limit, 3)
    assert limit.room() == 1

    limit.enter()

    assert limit.room() == 0


def test_a_request_makes_room_whenever_it_ends(limit: AdaptiveLimit) -> None:
    entered = []
    for _ in range(4):
        entered.append(limit.enter())
        _windows(limit, 1)

    for window in entered:
        limit.leave(window)

    assert limit.in_flight == 0
    assert limit.room() == limit.limit == CEILING


def test_the_floor_is_never_above_the_ceiling() -> None:
    limit = AdaptiveLimit(64, 8, MAX_LAG_S)

    for number in range(200):
        limit.observe(number * 0.05, 1.0)

    assert limit.limit == 8


def _windows(limit: AdaptiveLimit, windows: int) -> None:
    """Let so many windows go by in which nothing is late."""
    for number in range(windows * 16 + 1):
        limit.observe(1000.0 * limit._generation + number * 0.1, 0.0)
