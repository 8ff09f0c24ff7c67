"""Refusing what is too much, before it costs anything."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import ClassVar

from cloudstate_core.clock import Clock
from cloudstate_core.errors import LimitExceeded
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.interceptor import Interceptor

__all__ = ["Admission"]

#: What a refused caller is told: long enough to matter, short enough not to idle.
_RETRY_AFTER_S = 0.5


class AdmittingHandler:
    """Lets a bounded number of requests through at a time."""

    def __init__(self, handler: CommandHandler, max_commands_in_flight: int) -> None:
        """Keep the next handler and the bound."""
        self._handler = handler
        self._max_commands_in_flight = max_commands_in_flight
        self._in_flight = 0

    async def handle(self, request: Request) -> Outcome:
        """Pass a request on, or refuse it at once."""
        self._admit()
        try:
            return await self._handler.handle(request)
        finally:
            self._in_flight -= 1

    async def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        """Pass a request on, or refuse it at once; it counts until its stream ends."""
        self._admit()
        try:
            async with aclosing(self._handler.stream(request)) as outcomes:
                async for outcome in outcomes:
                    yield outcome
        finally:
            self._in_flight -= 1

    def _admit(self) -> None:
        if self._in_flight >= self._max_commands_in_flight:
            raise LimitExceeded(
                f"too many requests at once: at most {self._max_commands_in_flight} are served",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._in_flight += 1


class Admission(Interceptor):
    """Bounds how many requests are served at once, over all front ends."""

    name: ClassVar[str] = "admission"
    order: ClassVar[int] = 0

    def wrap(self, handler: CommandHandler, clock: Clock, limits: Limits) -> CommandHandler:
        del clock
        return AdmittingHandler(handler, limits.max_commands_in_flight)
