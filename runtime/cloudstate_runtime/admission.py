"""Refusing what is too much, before it costs anything."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import ClassVar

from cloudstate_core.clock import Clock
from cloudstate_core.errors import LimitExceeded
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.interceptor import Interceptor
from cloudstate_runtime.adaptive_limit import AdaptiveLimit

__all__ = ["Admission"]

#: What a refused caller is told: long enough to matter, short enough not to idle.
_RETRY_AFTER_S = 0.5

#: The loop is asked how late it is with every so many requests, unless it is being asked.
_REQUESTS_PER_SAMPLE = 4

_BUSY = "the server is overloaded: more requests come than it can serve in time; try again later"


class AdmittingHandler:
    """Lets as many requests through at a time as can be served in time; a `Door`."""

    def __init__(self, handler: CommandHandler, clock: Clock, limits: Limits) -> None:
        """Keep the next handler, and the bounds."""
        self._handler = handler
        self._now_s = clock.monotonic_s
        self._busy_s = clock.busy_s
        self._adapts = limits.adaptive_admission
        self._most = limits.max_commands_in_flight
        self._limit = AdaptiveLimit(
            limits.min_commands_in_flight,
            limits.max_commands_in_flight,
            limits.max_loop_lag_s if self._adapts else math.inf,
        )
        self._until_sample = 0
        self._is_asking = False
        self._expected = 0
        self._busy = LimitExceeded(_BUSY, retry_after_s=_RETRY_AFTER_S)
        self._full = LimitExceeded(
            f"too many requests at once: at most {self._most} are served",
            retry_after_s=_RETRY_AFTER_S,
        )

    async def handle(self, request: Request) -> Outcome:
        """Pass a request on, or refuse it at once."""
        generation = self._enter(request)
        try:
            return await self._handler.handle(request)
        finally:
            self._limit.leave(generation)

    async def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        """Pass a request on, or refuse it at once."""
        generation = self._enter(request)
        try:
            async with aclosing(self._handler.stream(request)) as outcomes:
                async for outcome in outcomes:
                    yield outcome
        finally:
            self._limit.leave(generation)

    # --- As a door ---

    def room(self) -> int:
        return self._limit.room() - self._expected

    def expect(self, requests: int) -> None:
        if not self._expected:
            # Those that were read in this turn come to `handle` in the next, before more is read.
            asyncio.get_running_loop().call_soon(self._expect_none)
        self._expected += requests

    def refusal(self) -> LimitExceeded:
        return self._full if self._limit.in_flight >= self._most else self._busy

    def turned_away(self, requests: int) -> None:
        self._limit.felt()
        self._ask(requests)

    def _expect_none(self) -> None:
        self._expected = 0

    # --- Counting ---

    def _enter(self, request: Request) -> int:
        limit = self._limit
        # Whoever waits in the middle of a command of his own would fail with what is refused here.
        if (limit.room_within() if request.waiting else limit.room()) <= 0:
            self.turned_away(1)
            error = self.refusal()
            raise LimitExceeded(str(error), retry_after_s=error.retry_after_s)
        self._ask(1)
        return limit.enter()

    def _ask(self, requests: int) -> None:
        """Ask the loop how late it is, now and then.

        In the time that this process works, not in that of the clock: what keeps it waiting while
        other processes run is no queue of its own, and refusing requests would shorten nothing. The
        threads of this process count, since they take turns with the loop.
        """
        self._until_sample -= requests
        if self._until_sample < 0 and self._adapts and not self._is_asking:
            self._until_sample = _REQUESTS_PER_SAMPLE - 1
            self._is_asking = True
            asyncio.get_running_loop().call_soon(self._answered, self._busy_s())

    def _answered(self, asked_s: float) -> None:
        self._is_asking = False
        self._limit.observe(self._now_s(), self._busy_s() - asked_s)


class Admission(Interceptor):
    """Bounds how many requests are served at once, over all front ends."""

    name: ClassVar[str] = "admission"
    order: ClassVar[int] = 0

    def wrap(self, handler: CommandHandler, clock: Clock, limits: Limits) -> CommandHandler:
        return AdmittingHandler(handler, clock, limits)
