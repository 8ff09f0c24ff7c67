"""A client that reads only when it is told to, so that what it sends meets a closing server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["UnreadSocket", "unread_socket"]


class UnreadSocket:
    """A connected socket without anything that reads from it by itself."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await self._loop.sock_sendall(self._socket, data)

    async def some(self) -> bytes:
        """Return what has come; nothing at the end. Raises if the connection was reset."""
        return await self._loop.sock_recv(self._socket, 65536)

    async def everything(self) -> bytes:
        """Return all that comes until the server says no more. Raises if it was reset."""
        parts = []
        while data := await self.some():
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@asynccontextmanager
async def unread_socket(address: tuple[str, int]) -> AsyncIterator[UnreadSocket]:
    """Connect to a server, and hang up in the end."""
    with socket.socket() as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
        yield UnreadSocket(connection)
