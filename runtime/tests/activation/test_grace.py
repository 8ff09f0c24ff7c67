"""How much time is left for what runs when a runtime stops."""

from __future__ import annotations

import pytest

from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.grace import Grace


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
