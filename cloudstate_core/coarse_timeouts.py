"""Timeouts that cost next to nothing, because they may end a little late.

A timer of the event loop is set and taken back for every call that has a deadline, and hardly one
in a million ever rings. That costs more than the rest of a call's way through the process. Here one
timer per loop looks ten times a second at what is due; to begin and to end a timeout is to put it
into a set and to take it out again.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

__all__ = ["TICK_S", "CoarseTimeouts"]

#: How late a timeout may be, in seconds.
TICK_S = 0.1


class CoarseTimeouts:
    """The timeouts of any number of event loops."""

    def __init__(self) -> None:
        self._wheels: WeakKeyDictionary[asyncio.AbstractEventLoop, _Wheel] = WeakKeyDictionary()

    def timeout(self, delay_s: float) -> _Timeout:
        """Return what `asyncio.timeout` returns, for the loop that runs."""
        loop = asyncio.get_running_loop()
        wheel = self._wheels.get(loop)
        if wheel is None:
            wheel = self._wheels[loop] = _Wheel()
        return _Timeout(wheel, delay_s)


class _Timeout:
    """One bound on the time of an `async with` block."""

    __slots__ = ("_cancelling", "_delay_s", "_due", "_is_over", "_task", "_wheel")

    def __init__(self, wheel: _Wheel, delay_s: float) -> None:
        self._wheel = wheel
        self._delay_s = delay_s
        self._is_over = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a timeout bounds a task, and no task is running")
        self._task = task
        self._cancelling = task.cancelling()
        self._due = self._wheel.add(self, self._delay_s)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_over:
            self._wheel.remove(self, self._due)
        # Whoever else cancelled the task meant the task, not this block.
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def ring(self) -> None:
        self._is_over = True
        self._task.cancel()


class _Wheel:
    """Timeouts in slots, one slot for each tick at which some are due."""

    def __init__(self) -> None:
        self._slots: dict[int, set[_Timeout]] = {}
        self._is_turning = False

    def add(self, timeout: _Timeout, delay_s: float) -> int:
        # Rounded up, and one more because the current tick is partly over: late, never early.
        due = int((time.monotonic() + delay_s) / TICK_S) + 1
        slot = self._slots.get(due)
        if slot is None:
            slot = self._slots[due] = set()
            if not self._is_turning:
                self._is_turning = True
                self._turn_later()
        slot.add(timeout)
        return due

    def remove(self, timeout: _Timeout, due: int) -> None:
        slot = self._slots.get(due)
        if slot is not None:
            slot.discard(timeout)

    def _turn_later(self) -> None:
        # The loop holds the wheel, not the other way round.
        asyncio.get_running_loop().call_later(TICK_S, self._turn)

    def _turn(self) -> None:
        now = int(time.monotonic() / TICK_S)
        for due in [due for due in self._slots if due <= now]:
            for timeout in self._slots.pop(due):
                timeout.ring()
        # What was removed leaves its slot behind; a process with nothing to wait for sleeps.
        if any(self._slots.values()):
            self._turn_later()
        else:
            self._slots.clear()
            self._is_turning = False
