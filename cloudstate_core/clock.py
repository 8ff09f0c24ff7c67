"""Time, as something that is handed in.

Nothing on the request path reads the computer's clock by itself: it is given a `Clock`, so that a
whole runtime can be run under a clock that a test moves by hand
(`cloudstate_core.testing.ManualClock`).
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

from cloudstate_core.coarse_timeouts import CoarseTimeouts

__all__ = ["Clock", "SystemClock"]


class Clock(ABC):
    """Tells the time and waits for it."""

    @abstractmethod
    def monotonic_s(self) -> float:
        """Return seconds since some fixed moment; never goes back."""

    def busy_s(self) -> float:
        """Return how many seconds this process has worked, all threads together, since some moment.

        Time in which other processes had the processor does not count, where that can be told. A
        clock that cannot tell returns the monotonic time.
        """
        return self.monotonic_s()

    @abstractmethod
    def unix_time_s(self) -> float:
        """Return seconds since 1970-01-01 UTC. For showing and storing, never for deciding."""

    @abstractmethod
    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds."""

    @abstractmethod
    def timeout(self, delay_s: float | None) -> AbstractAsyncContextManager[object]:
        """Bound the time of an `async with` block.

        Args:
            delay_s: Seconds the block may take; None for no bound.

        Raises:
            TimeoutError: From the `async with`, after the block was cancelled.
        """


#: From this length on, a timeout of `SystemClock` may end a tenth of a second late.
_COARSE_FROM_S = 1.0


class SystemClock(Clock):
    """The computer's own clock."""

    def __init__(self) -> None:
        self._coarse = CoarseTimeouts()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def busy_s(self) -> float:
        return time.process_time()

    def unix_time_s(self) -> float:
        return time.time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)

    def timeout(self, delay_s: float | None) -> AbstractAsyncContextManager[object]:
        if delay_s is None or delay_s < _COARSE_FROM_S:
            return asyncio.timeout(delay_s)
        return self._coarse.timeout(delay_s)
