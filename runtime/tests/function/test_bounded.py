from __future__ import annotations

import asyncio
import gc

import pytest
from runtime_doubles.engines import settled

from cloudstate_core.bounded import bounded
from cloudstate_core.testing.clock import ManualClock


class Noted:
    """A coroutine that waits for what the test says, and notes how it ended."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.end = ""
        self.waits = 1
        self.error: BaseException | None = None

    async def run(self) -> str:
        try:
            for _ in range(self.waits):
                await self.gate.wait()
                await asyncio.sleep(0)
            if self.error is not None:
                raise self.error
        except asyncio.CancelledError:
            self.end = "cancelled"
            raise
        self.end = "returned"
        return "value"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def timers_set(clock: ManualClock) -> int:
    return clock._set_so_far


async def test_what_does_not_wait_costs_no_timer(clock: ManualClock) -> None:
    noted = Noted()
    noted.waits = 0

    assert await bounded(noted.run(), clock, 1.0) == "value"
    assert timers_set(clock) == 0


async def test_what_waits_is_given_one_timer_which_is_taken_back(clock: ManualClock) -> None:
    noted = Noted()
    noted.waits = 5
    task = asyncio.create_task(bounded(noted.run(), clock, 1.0))
    await settled()
    assert (timers_set(clock), clock.waiting) == (1, 1)

    noted.gate.set()

    assert await task == "value"
    assert (timers_set(clock), clock.waiting) == (1, 0)


async def test_what_takes_too_long_is_cancelled(clock: ManualClock) -> None:
    noted = Noted()
    task = asyncio.create_task(bounded(noted.run(), clock, 1.0))
    await clock.advance(0.9)
    assert not task.done()

    await clock.advance(0.1)

    with pytest.raises(TimeoutError):
        await task
    assert noted.end == "cancelled"


async def test_an_exception_passes_whether_it_comes_before_or_after_a_wait(
    clock: ManualClock,
) -> None:
    for waits in (0, 1):
        noted = Noted()
        noted.waits, noted.error = waits, KeyError("mine")
        noted.gate.set()

        with pytest.raises(KeyError, match="mine"):
            await bounded(noted.run(), clock, 1.0)
    assert clock.waiting == 0


async def test_a_timeout_error_of_its_own_is_not_mistaken(clock: ManualClock) -> None:
    noted = Noted()
    noted.waits, noted.error = 0, TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await bounded(noted.run(), clock, 1.0)


async def test_cancelling_reaches_it(clock: ManualClock) -> None:
    noted = Noted()
    task = asyncio.create_task(bounded(noted.run(), clock, 1.0))
    await settled()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert noted.end == "cancelled"
    assert clock.waiting == 0


async def test_it_may_clean_up_after_it_was_cancelled(clock: ManualClock) -> None:
    cleaned: list[str] = []

    async def careful() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await settled()
            cleaned.append("up")

    task = asyncio.create_task(bounded(careful(), clock, 1.0))
    await clock.advance(1.0)

    with pytest.raises(TimeoutError):
        await task
    assert cleaned == ["up"]


async def test_it_may_answer_although_it_was_cancelled(clock: ManualClock) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "anyway"
        raise AssertionError

    task = asyncio.create_task(bounded(stubborn(), clock, 1.0))
    await settled()
    task.cancel()

    assert await task == "anyway"


async def test_it_may_use_tasks_timeouts_and_groups_of_its_own(clock: ManualClock) -> None:
    async def busy() -> list[int]:
        async def number(n: int) -> int:
            await asyncio.sleep(0)
            return n

        async with asyncio.timeout(10):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(number(n)) for n in range(3)]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
        return [task.result() for task in tasks]

    assert await bounded(busy(), clock, 1.0) == [0, 1, 2]
    assert clock.waiting == 0


async def test_one_may_stand_in_another(clock: ManualClock) -> None:
    noted = Noted()

    async def outer() -> str:
        return await bounded(noted.run(), clock, 1.0)

    task = asyncio.create_task(bounded(outer(), clock, 5.0))
    await clock.advance(1.0)

    with pytest.raises(TimeoutError):
        await task
    assert (noted.end, clock.waiting) == ("cancelled", 0)


def test_what_is_thrown_away_in_the_middle_is_closed_quietly() -> None:
    noted: list[Noted] = []

    async def leave() -> None:
        noted.append(Noted())
        coroutine = bounded(noted[0].run(), ManualClock(), 1.0)
        coroutine.send(None)
        coroutine.close()
        gc.collect()

    asyncio.run(leave())

    assert noted[0].end == ""
