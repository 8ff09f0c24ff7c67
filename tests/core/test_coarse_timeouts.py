"""Timeouts of the system's clock: when they end, and what they leave behind."""

from __future__ import annotations

import asyncio

import pytest

from cloudstate_core import coarse_timeouts
from cloudstate_core.clock import SystemClock
from cloudstate_core.coarse_timeouts import TICK_S, CoarseTimeouts


class Time:
    """The time as `coarse_timeouts` reads it; the loop's own timers go on as ever."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
async def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(coarse_timeouts, "time", time)
    # A turn of the wheel for every turn of the loop, as good as.
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", _call_soon)
    return time


def _call_soon(delay_s: float, callback: object) -> asyncio.Handle:
    assert delay_s == TICK_S
    return asyncio.get_running_loop().call_soon(callback)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def wait(timeouts: CoarseTimeouts, delay_s: float) -> None:
    async with timeouts.timeout(delay_s):
        await asyncio.Event().wait()


@pytest.mark.parametrize("delay_s", [1.0, 1.05, 59.99, 300.0])
async def test_a_timeout_ends_no_earlier_and_at_most_two_ticks_later(
    time: Time, delay_s: float
) -> None:
    waiting = asyncio.create_task(wait(CoarseTimeouts(), delay_s))
    await turns()

    time.now_s += delay_s - 0.001
    await turns()
    assert not waiting.done()

    time.now_s += 2 * TICK_S
    with pytest.raises(TimeoutError):
        await waiting


async def test_a_block_that_ends_in_time_is_left_alone(time: Time) -> None:
    async with CoarseTimeouts().timeout(1.0):
        await turns()
    time.now_s += 10
    await turns()

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_cancellation_of_somebody_else_stays_one(time: Time) -> None:
    waiting = asyncio.create_task(wait(CoarseTimeouts(), 1.0))
    await turns()

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_error_that_comes_after_the_end_is_not_hidden(time: Time) -> None:
    async def fail() -> None:
        async with CoarseTimeouts().timeout(1.0):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("cleaning up failed") from None

    failing = asyncio.create_task(fail())
    await turns()
    time.now_s += 2

    with pytest.raises(ValueError, match="cleaning up failed"):
        await failing
    assert failing.cancelling() == 0


async def test_the_inner_of_two_timeouts_ends_alone(time: Time) -> None:
    timeouts = CoarseTimeouts()
    seen = []

    async def nested() -> None:
        async with timeouts.timeout(5.0):
            with pytest.raises(TimeoutError):
                await wait(timeouts, 1.0)
            seen.append("inner")
            await asyncio.Event().wait()

    task = asyncio.create_task(nested())
    await turns()
    time.now_s += 2
    await turns()
    assert seen == ["inner"]
    assert not task.done()

    time.now_s += 4
    with pytest.raises(TimeoutError):
        await task


async def test_nothing_ticks_when_nobody_waits(time: Time) -> None:
    timeouts = CoarseTimeouts()
    async with timeouts.timeout(300.0):
        pass
    await turns()

    (wheel,) = timeouts._wheels.values()

    assert not wheel._is_turning
    assert not wheel._slots


async def test_the_system_clock_is_exact_for_short_times() -> None:
    clock = SystemClock()

    with pytest.raises(TimeoutError):
        async with clock.timeout(0.01):
            await asyncio.Event().wait()

    assert not clock._coarse._wheels


async def test_the_system_clock_bounds_long_times_too() -> None:
    with pytest.raises(TimeoutError):
        async with SystemClock().timeout(1.0):
            await asyncio.Event().wait()


async def test_a_deadline_that_is_over_ends_at_the_first_wait() -> None:
    with pytest.raises(TimeoutError):
        async with SystemClock().timeout(-1.0):
            await asyncio.Event().wait()
