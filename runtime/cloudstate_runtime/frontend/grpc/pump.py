"""Carries bytes between an accepted connection and the gRPC server's own socket.

gRPC cannot be handed a connection that somebody else accepted, so it listens on a Unix socket and
this stands between.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

__all__ = ["Pump"]


class _End(asyncio.Protocol):
    """One end: what it receives is written to the other end, no faster than that takes it."""

    def __init__(self, closed: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self._closed = closed
        self._other: asyncio.Transport | None = None
        # Until there is another end, what arrives is kept. That is one round trip on this machine.
        self._kept: list[bytes] = []
        self._kept_eof = False
        self._write: Callable[[bytes], object] = self._kept.append

    def link(self, other: asyncio.Transport) -> None:
        """Write to `other` from now on, and what has arrived already first."""
        self._other = other
        self._write = other.write
        if self._kept:
            other.writelines(self._kept)
            self._kept.clear()
        if self._kept_eof:
            other.write_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not to be checked: the transports of other event loops derive from nothing.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._write(data)

    def eof_received(self) -> bool:
        if self._other is None:
            self._kept_eof = True
        elif not self._other.is_closing():
            self._other.write_eof()
        return True  # the other direction may still have something to say

    def pause_writing(self) -> None:
        if self._other is not None and not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and not self._other.is_closing():
            self._other.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._write = _discard
        if self._other is not None:
            self._other.close()  # after what it still has to write
        self._closed()


def _discard(data: bytes) -> None:
    """Drop what nobody will read any more."""


class Pump:
    """Carries one connection.

    Args:
        path: The Unix socket of the server.
        closed: Called once, when both ends are closed.
    """

    def __init__(self, path: str, closed: Callable[[Pump], None]) -> None:
        self._path = path
        self._closed = closed
        self._open_ends = 0
        self._client = _End(self._end_closed)
        self._server = _End(self._end_closed)

    async def start(self, connection: socket.socket) -> None:
        """Take over an accepted connection.

        Raises:
            OSError: The server does not listen any more. The connection is closed.
        """
        loop = asyncio.get_running_loop()
        self._open_ends = 2
        try:
            await loop.connect_accepted_socket(lambda: self._client, connection)
        except BaseException:
            connection.close()
            self._open_ends = 0
            self._closed(self)
            raise
        client = self._client.transport
        assert client is not None
        try:
            await loop.create_unix_connection(lambda: self._server, self._path)
        except BaseException:
            client.abort()
            self._end_closed()
            raise
        server = self._server.transport
        assert server is not None
        self._client.link(server)
        self._server.link(client)
        if client.is_closing():
            server.close()

    def abort(self) -> None:
        """Close both ends at once, whatever is still to be written."""
        for end in (self._client, self._server):
            if end.transport is not None:
                end.transport.abort()

    def _end_closed(self) -> None:
        self._open_ends -= 1
        if self._open_ends == 0:
            self._closed(self)
