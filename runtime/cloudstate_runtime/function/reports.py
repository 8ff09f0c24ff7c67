"""Telling the author of a user function what is wrong with it, without making anyone wait."""

from __future__ import annotations

import asyncio

import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.links import FunctionLink
from cloudstate_runtime.allowance import Allowance

__all__ = ["MAX_BURST", "MAX_REPORT_CHARACTERS", "Reports"]

log = structlog.get_logger()

#: A user function that breaks the protocol with every command must not fill log and memory with
#: complaints: so many at once, and so many per second in the long run.
MAX_BURST = 100
_REPORTS_PER_S = 10.0

#: A report may quote what the user function sent.
MAX_REPORT_CHARACTERS = 4_096

#: How long to wait in the end for reports that are under way.
_CLOSE_TIMEOUT_S = 1.0


class Reports:
    """Sends messages to one user function in the background."""

    def __init__(self, name: str, link: FunctionLink, clock: Clock) -> None:
        """Keep the way there."""
        self._name = name
        self._link = link
        self._clock = clock
        self._pending: set[asyncio.Task[None]] = set()
        self._allowance = Allowance(clock, at_once=MAX_BURST, per_s=_REPORTS_PER_S)
        self._left_out = 0

    def send(self, message: str) -> None:
        """Log a message and send it; those that are too many are only counted."""
        if len(self._pending) >= MAX_BURST or not self._allowance.take():
            self._left_out += 1
            return
        if self._left_out:
            log.warning("reports_left_out", function=self._name, count=self._left_out)
            self._left_out = 0
        if len(message) > MAX_REPORT_CHARACTERS:
            message = message[: MAX_REPORT_CHARACTERS - 1] + "…"
        log.warning("user_function_at_fault", function=self._name, message=message)
        task = asyncio.create_task(self._send(message))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def aclose(self) -> None:
        """Wait a moment until everything is sent; give up what is not."""
        pending = tuple(self._pending)
        if not pending:
            return
        try:
            async with self._clock.timeout(_CLOSE_TIMEOUT_S):
                await asyncio.wait(pending)
        except TimeoutError:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending)

    async def _send(self, message: str) -> None:
        try:
            # A text from elsewhere may hold halves of characters, which cannot be sent.
            await self._link.report_error(message.encode(errors="replace").decode())
        except Exception:
            log.exception("report_not_delivered", function=self._name)
