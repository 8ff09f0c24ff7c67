"""The connection as uvicorn's protocol sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["ClosedByUs"]


class ClosedByUs:
    """A transport that somebody else closes.

    What is called for every request is the transport's own method, so that it costs nothing.

    Args:
        transport: The transport.
        close: Closes it, at once or later.
    """

    __slots__ = (
        "abort",
        "close",
        "get_extra_info",
        "is_closing",
        "pause_reading",
        "resume_reading",
        "write",
    )

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.abort = transport.abort
        self.close = close
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.write = transport.write

    def has_ended(self) -> None:
        """Take note that nothing may be written any more."""
        self.is_closing = lambda: True
        self.close = lambda: None  # which referred to the protocol
