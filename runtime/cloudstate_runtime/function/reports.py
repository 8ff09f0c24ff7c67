"""Telling the author of a user function what is wrong with it, without making anyone wait."""

from __future__ import annotations

import asyncio

import structlog

from cloudstate_core.links import FunctionLink

__all__ = ["MAX_PENDING_REPORTS", "Reports"]

log = structlog.get_logger()

#: A user function that breaks the protocol with every command must not fill memory with complaints.
MAX_PENDING_REPORTS = 100


class Reports:
    """Sends messages to one user function in the background."""

    def __init__(self, name: str, link: FunctionLink) -> None:
        """Keep the way there."""
        self._name = name
        self._link = link
        self._pending: set[asyncio.Task[None]] = set()

    def send(self, message: str) -> None:
        """Log a message and send it; beyond the bound it is only logged."""
        log.warning("user_function_at_fault", function=self._name, message=message)
        if len(self._pending) >= MAX_PENDING_REPORTS:
            return
        task = asyncio.create_task(self._link.report_error(message))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def aclose(self) -> None:
        """Wait until everything is sent; the link bounds how long that takes."""
        if self._pending:
            await asyncio.wait(self._pending)
