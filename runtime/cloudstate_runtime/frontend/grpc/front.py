"""The gRPC front end."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

import grpc

from cloudstate_core.errors import ConfigurationError
from cloudstate_core.frontend import Acceptor, FrontEnd, FrontEndHost
from cloudstate_runtime.frontend.calls import Calls
from cloudstate_runtime.frontend.grpc.health import Health
from cloudstate_runtime.frontend.grpc.methods import MethodTable
from cloudstate_runtime.frontend.grpc.options import server_options
from cloudstate_runtime.frontend.grpc.pump import Pump
from cloudstate_runtime.frontend.grpc.reflection import Reflection, ReflectionAnswers

__all__ = ["GrpcFrontEnd"]

#: What every HTTP/2 connection starts with (RFC 9113, section 3.4), as far as it takes to know one.
_PREFACE = b"PRI * HTTP/2.0"

#: A Unix socket's path has to fit into 108 bytes on Linux and 104 on macOS, with its final zero.
_MAX_SOCKET_PATH_BYTES = 103


class GrpcFrontEnd(FrontEnd):
    """Serves gRPC on connections that speak HTTP/2 from their first byte.

    Args:
        reflection: Whether to answer reflection, which tells anybody what is served.
    """

    name: ClassVar[str] = "grpc"
    order: ClassVar[int] = 100

    def __init__(self, *, reflection: bool = True) -> None:
        self._reflection = reflection

    def recognises(self, first_bytes: bytes) -> bool | None:
        if first_bytes.startswith(_PREFACE):
            return True
        return None if _PREFACE.startswith(first_bytes) else False

    def open(self, host: FrontEndHost) -> AbstractAsyncContextManager[Acceptor]:
        return self._open(host)

    @asynccontextmanager
    async def _open(self, host: FrontEndHost) -> AsyncIterator[Acceptor]:
        # The folder is readable by this user alone, and so is the socket in it.
        with tempfile.TemporaryDirectory(prefix="cloudstate-") as folder:
            path = f"{folder}/grpc"
            if len(path.encode()) > _MAX_SOCKET_PATH_BYTES:
                raise ConfigurationError(
                    f"the temporary folder's path is too long for a socket: {folder!r}; "
                    "set TMPDIR to a shorter one"
                )
            calls, stopping = Calls(host), asyncio.Event()
            own = Health(host, stopping).methods()
            if self._reflection:
                own |= Reflection(ReflectionAnswers(host.served), stopping).methods()
            server = grpc.aio.server(options=server_options(host.limits))
            server.add_generic_rpc_handlers((MethodTable(host, calls, own),))
            server.add_insecure_port(f"unix:{path}")
            await server.start()
            acceptor = _GrpcAcceptor(server, calls, stopping, path)
            try:
                yield acceptor
            finally:
                await acceptor.close()


class _GrpcAcceptor:
    """Carries accepted connections to the server."""

    def __init__(
        self, server: grpc.aio.Server, calls: Calls, stopping: asyncio.Event, path: str
    ) -> None:
        self._server = server
        self._calls = calls
        self._stopping = stopping
        self._path = path
        self._pumps: set[Pump] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    async def accept(self, connection: socket.socket) -> None:
        pump = Pump(self._path, self._pump_closed)
        self._pumps.add(pump)
        self._all_closed.clear()
        await pump.start(connection)

    async def drain(self, grace_s: float) -> None:
        # Conversations that would last for ever end now; gRPC waits for all others.
        self._stopping.set()
        await asyncio.gather(self._server.stop(grace_s), self._calls.drain(grace_s))

    async def close(self) -> None:
        """Stop at once."""
        self._stopping.set()
        await self._server.stop(0)
        for pump in tuple(self._pumps):
            pump.abort()
        await self._all_closed.wait()
        await self._calls.close()

    def _pump_closed(self, pump: Pump) -> None:
        self._pumps.discard(pump)
        if not self._pumps:
            self._all_closed.set()
