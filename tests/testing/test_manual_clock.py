from __future__ import annotations

import asyncio

import pytest

from cloudstate_core.testing.clock import ManualClock


async def test_time_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(unix_time_s=1000.0)
    sleeper = asyncio.create_task(clock.sleep(5))

    await clock.advance(4.9)
    assert not sleeper.done()
    assert (clock.monotonic_s(), clock.unix_time_s()) == (4.9, 1004.9)

    await clock.advance(0.1)
    assert sleeper.done()


async def test_sleepers_wake_in_the_order_of_their_time_each_at_its_time() -> None:
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, delay_s: float) -> None:
        await clock.sleep(delay_s)
        woken.append((name, clock.monotonic_s()))

    async with asyncio.TaskGroup() as tasks:
        for name, delay_s in [("late", 3.0), ("early", 1.0), ("second", 2.0), ("early too", 1.0)]:
            tasks.create_task(sleep(name, delay_s))
        await clock.advance(10)

    assert woken == [("early", 1.0), ("early too", 1.0), ("second", 2.0), ("late", 3.0)]


async def test_who_sleeps_again_within_the_span_is_woken_again_within_the_span() -> None:
    clock = ManualClock()
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep(0.1)
            ticks.append(clock.monotonic_s())

    ticker = asyncio.create_task(tick())
    await clock.advance(1)
    ticker.cancel()

    assert ticks == pytest.approx([0.1 * n for n in range(1, 11)])


async def test_a_sleep_of_no_time_only_lets_others_run() -> None:
    clock = ManualClock()

    await clock.sleep(0)
    await clock.sleep(-1)

    assert clock.waiting == 0


async def test_a_cancelled_sleep_waits_no_more() -> None:
    clock = ManualClock()
    sleeper = asyncio.create_task(clock.sleep(5))
    await clock.advance(0)
    assert clock.waiting == 1

    sleeper.cancel()
    await clock.advance(10)

    assert clock.waiting == 0
    assert sleeper.cancelled()


async def test_a_timeout_ends_a_block_that_takes_too_long() -> None:
    clock = ManualClock()
    cancelled_inside = False

    async def take_too_long() -> None:
        nonlocal cancelled_inside
        async with clock.timeout(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled_inside = True
                raise

    task = asyncio.create_task(take_too_long())
    await clock.advance(1.9)
    assert not task.done()
    await clock.advance(0.1)

    with pytest.raises(TimeoutError):
        await task
    assert cancelled_inside


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    clock = ManualClock()

    async with clock.timeout(2):
        await asyncio.sleep(0)
    await clock.advance(10)

    assert clock.waiting == 0


async def test_a_timeout_of_none_never_ends() -> None:
    clock = ManualClock()

    async with clock.timeout(None):
        await clock.advance(10**9)


async def test_a_timeout_of_no_time_ends_at_the_first_wait() -> None:
    clock = ManualClock()

    with pytest.raises(TimeoutError):
        async with clock.timeout(0):
            await asyncio.Event().wait()


async def test_of_two_timeouts_the_nearer_one_ends_the_block() -> None:
    clock = ManualClock()
    ended: list[str] = []

    async def wait() -> None:
        async with clock.timeout(5):
            try:
                async with clock.timeout(1):
                    await asyncio.Event().wait()
            except TimeoutError:
                ended.append("inner")
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await clock.advance(1)
    assert ended == ["inner"]
    await clock.advance(4)

    with pytest.raises(TimeoutError):
        await task


async def test_a_task_cancelled_by_others_is_cancelled_and_not_timed_out() -> None:
    clock = ManualClock()

    async def wait() -> None:
        async with clock.timeout(1):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await clock.advance(0.5)
    task.cancel()
    await clock.advance(10)

    assert task.cancelled()


async def test_a_failure_inside_the_block_is_passed_on() -> None:
    clock = ManualClock()

    with pytest.raises(KeyError):
        async with clock.timeout(1):
            raise KeyError


async def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        await ManualClock().advance(-1)
