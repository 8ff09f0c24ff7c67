from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.grace import Grace
from cloudstate_runtime.activation.passivation import IdleEntities


def idle(*since: tuple[str, float], timeout_s: float = 10.0) -> IdleEntities:
    entities = IdleEntities(timeout_s)
    for entity_id, since_s in since:
        entities.add(entity_id, since_s)
    return entities


def test_an_entity_is_due_after_the_timeout_and_not_before() -> None:
    entities = idle(("a", 1.0), ("b", 2.0))

    assert entities.take_due(10.9, at_most=9) == []
    assert entities.take_due(11.0, at_most=9) == ["a"]
    assert entities.take_due(11.0, at_most=9) == []
    assert len(entities) == 1


def test_the_longest_idle_goes_first_and_no_more_than_asked_for() -> None:
    entities = idle(*[(name, float(i)) for i, name in enumerate("abcde")])

    assert entities.take_due(100.0, at_most=2) == ["a", "b"]
    assert entities.take_longest_idle() == "c"
    assert entities.take_due(100.0, at_most=9) == ["d", "e"]
    assert entities.take_longest_idle() is None


def test_an_entity_that_has_something_to_do_is_not_due() -> None:
    entities = idle(("a", 0.0), ("b", 0.0))

    entities.remove("a")
    entities.remove("never seen")

    assert entities.take_due(100.0, at_most=9) == ["b"]


def test_the_time_to_look_again_is_that_of_the_longest_idle() -> None:
    entities = idle(("a", 1.0), ("b", 5.0))

    assert entities.next_due_in_s(3.0) == 8.0
    assert entities.next_due_in_s(30.0) == 0.0
    assert idle().next_due_in_s(3.0) == 10.0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.floats(0, 5))))
def test_it_agrees_with_a_plain_account(steps: list[tuple[str, bool, float]]) -> None:
    entities, plain, now_s = IdleEntities(10.0), dict[str, float](), 0.0
    for name, becomes_idle, later_s in steps:
        now_s += later_s
        entities.remove(name)
        plain.pop(name, None)
        if becomes_idle:
            entities.add(name, now_s)
            plain[name] = now_s
        due = entities.take_due(now_s, at_most=99)
        assert due == [name for name, since_s in plain.items() if since_s + 10.0 <= now_s]
        for gone in due:
            del plain[gone]
    assert len(entities) == len(plain)


async def test_a_grace_is_whole_until_it_begins_and_then_runs_out() -> None:
    clock = ManualClock()
    grace = Grace(clock, 10.0)
    await clock.advance(100)
    assert grace.left_s() == 10.0

    grace.begin()
    await clock.advance(4)
    grace.begin()
    assert grace.left_s() == pytest.approx(6.0)
    await clock.advance(7)
    assert grace.left_s() == 0.0


async def test_a_grace_can_be_made_shorter_and_not_longer() -> None:
    clock = ManualClock()
    grace = Grace(clock, 10.0)

    grace.begin(60.0)
    assert grace.left_s() == 60.0
    grace.begin()
    assert grace.left_s() == 10.0
    grace.begin(60.0)
    assert grace.left_s() == 10.0
    grace.begin(0.0)
    assert grace.left_s() == 0.0
