"""Time that a test moves by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from cloudstate_core.clock import Clock

__all__ = ["ManualClock"]

# Sums of decimal fractions miss their decimal value by a little; an alarm that is due is not to be
# missed for it.
_TOLERANCE_S = 1e-9

# How often the loop is given the chance to run what an alarm woke, and what that woke in turn.
_TURNS_AFTER_AN_ALARM = 20


class ManualClock(Clock):
    """A clock that stands still until `advance` moves it.

    Time that nobody waits for costs nothing: a test of a timeout of ten minutes takes none.

    Args:
        unix_time_s: What `unix_time_s` says at first; `monotonic_s` begins at 0.
    """

    def __init__(self, *, unix_time_s: float = 1_700_000_000.0) -> None:
        self._started_at_s = unix_time_s
        self._now_s = 0.0
        self._alarms: list[_Alarm] = []
        self._set_so_far = 0

    @property
    def waiting(self) -> int:
        """How many sleeps and timeouts have not come to their end."""
        return sum(not alarm.is_off for alarm in self._alarms)

    def monotonic_s(self) -> float:
        return self._now_s

    def unix_time_s(self) -> float:
        return self._started_at_s + self._now_s

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        alarm = self._set_alarm(delay_s, woken.set)
        try:
            await woken.wait()
        finally:
            alarm.is_off = True

    def timeout(self, delay_s: float | None) -> AbstractAsyncContextManager[object]:
        return _Timeout(self._set_alarm, delay_s)

    async def advance(self, delay_s: float) -> None:
        """Let `delay_s` seconds go by.

        Sleeps and timeouts end in the order in which they are due, each at its own time. The tasks
        they wake run before the next one ends, so that a task that sleeps again within the span is
        woken again within the span.

        Raises:
            ValueError: `delay_s` is negative.
        """
        if delay_s < 0:
            raise ValueError(f"time does not go back: expected 0 or more seconds, found {delay_s}")
        end_s = self._now_s + delay_s
        await _let_tasks_run()
        while self._alarms and self._alarms[0].due_s <= end_s + _TOLERANCE_S:
            alarm = heapq.heappop(self._alarms)
            if alarm.is_off:
                continue
            self._now_s = max(self._now_s, alarm.due_s)
            alarm.is_off = True
            alarm.ring()
            await _let_tasks_run()
        self._now_s = max(self._now_s, end_s)

    def _set_alarm(self, delay_s: float, ring: Callable[[], object]) -> _Alarm:
        self._set_so_far += 1
        alarm = _Alarm(self._now_s + delay_s, self._set_so_far, ring)
        heapq.heappush(self._alarms, alarm)
        return alarm


class _Alarm:
    """Something that is to happen at a time; of two at one time, the first that was set."""

    def __init__(self, due_s: float, number: int, ring: Callable[[], object]) -> None:
        self.due_s = due_s
        self.ring = ring
        self.is_off = False
        self._number = number

    def __lt__(self, other: _Alarm) -> bool:
        return (self.due_s, self._number) < (other.due_s, other._number)


class _Timeout:
    """What `asyncio.timeout` does, by the alarms of a `ManualClock`."""

    def __init__(
        self, set_alarm: Callable[[float, Callable[[], object]], _Alarm], delay_s: float | None
    ) -> None:
        self._set_alarm = set_alarm
        self._delay_s = delay_s
        self._alarm: _Alarm | asyncio.Handle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelled_before = 0
        self._is_over = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a timeout bounds a task, and no task is running")
        self._task, self._cancelled_before = task, task.cancelling()
        if self._delay_s is not None:
            if self._delay_s > 0:
                self._alarm = self._set_alarm(self._delay_s, self._end)
            else:
                self._alarm = asyncio.get_running_loop().call_soon(self._end)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(self._alarm, _Alarm):
            self._alarm.is_off = True
        elif self._alarm is not None:
            self._alarm.cancel()
        # The alarm stays with the clock until it would have been due; the task and what came of it
        # must not.
        task, self._task = self._task, None
        # Whoever else cancelled the task meant the task, not this block.
        if (
            self._is_over
            and task is not None
            and task.uncancel() <= self._cancelled_before
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def _end(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()


async def _let_tasks_run() -> None:
    for _ in range(_TURNS_AFTER_AN_ALARM):
        await asyncio.sleep(0)
