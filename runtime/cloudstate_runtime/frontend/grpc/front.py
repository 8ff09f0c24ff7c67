"""The gRPC front end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

from cloudstate_core.door import Door
from cloudstate_core.frontend import Acceptor, FrontEnd, FrontEndHost
from cloudstate_runtime.frontend.calls import Calls, Refusal
from cloudstate_runtime.frontend.grpc.call import Call
from cloudstate_runtime.frontend.grpc.connection import GrpcConnection
from cloudstate_runtime.frontend.grpc.gate import Gates
from cloudstate_runtime.frontend.grpc.health import Health
from cloudstate_runtime.frontend.grpc.methods import MethodTable
from cloudstate_runtime.frontend.grpc.reflection import Reflection, ReflectionAnswers
from cloudstate_runtime.frontend.grpc.settings import GrpcSettings

__all__ = ["GrpcFrontEnd"]

#: What every HTTP/2 connection starts with (RFC 9113, section 3.4), as far as it takes to know one.
_PREFACE = b"PRI * HTTP/2.0"

#: How often deadlines and the age of connections are looked at, in seconds. A client knows its own
#: deadline; this is for those that are gone without a word.
_SWEEP_INTERVAL_S = 0.1

#: Connections are replaced now and then, so that leaks on either side end and clients spread over
#: what has been started since.
_MAX_CONNECTION_AGE_S = 30 * 60.0

#: A connection without calls costs memory; a client opens another without noticing.
_MAX_CONNECTION_IDLE_S = 10 * 60.0


#: How much of the grace is left for calls to let go that are cut off, in seconds.
_FAREWELL_S = 0.5


class GrpcFrontEnd(FrontEnd):
    """Serves gRPC on connections that speak HTTP/2 from their first byte."""

    name: ClassVar[str] = "grpc"
    order: ClassVar[int] = 100

    def recognises(self, first_bytes: bytes) -> bool | None:
        if first_bytes.startswith(_PREFACE):
            return True
        return None if _PREFACE.startswith(first_bytes) else False

    def open(self, host: FrontEndHost) -> AbstractAsyncContextManager[Acceptor]:
        return self._open(host)

    @asynccontextmanager
    async def _open(self, host: FrontEndHost) -> AsyncIterator[Acceptor]:
        settings = _settings(host)
        own = Health(host).methods()
        if settings.reflection:
            own |= Reflection(ReflectionAnswers(host.served)).methods()
        calls = Calls(host)
        acceptor = _GrpcAcceptor(
            host, calls, MethodTable(host, calls, own), settings.gzip_above_bytes
        )
        sweeping = asyncio.create_task(acceptor.sweep())
        try:
            yield acceptor
        finally:
            sweeping.cancel()
            await asyncio.wait((sweeping,))
            await acceptor.close()


def _settings(host: FrontEndHost) -> GrpcSettings:
    section = host.sections.get(GrpcFrontEnd.name)
    return section if isinstance(section, GrpcSettings) else GrpcSettings()


class _GrpcAcceptor:
    """All connections of the front end."""

    def __init__(
        self, host: FrontEndHost, calls: Calls, methods: MethodTable, gzip_above_bytes: int
    ) -> None:
        self.limits = host.limits
        self.gzip_above_bytes = gzip_above_bytes
        self.method = methods.find
        handler = host.handler
        self.gate = Gates(handler if isinstance(handler, Door) else None, methods).gate
        self.now_s = host.clock.monotonic_s
        self.tasks: set[asyncio.Task[None]] = set()
        self._clock = host.clock
        self._calls = calls
        self._connections: set[GrpcConnection] = set()
        self._none_left = asyncio.Event()
        self._none_left.set()

    def refusal(self, error: Exception, call: Call) -> Refusal:
        """Return what to tell a client about an error."""
        path = next((value for name, value in call.headers if name == b":path"), b"")
        service, _, command = path[1:].decode("latin-1").partition("/")
        return self._calls.refusal(error, service, command)

    async def accept(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: GrpcConnection(self), connection)

    async def drain(self, grace_s: float) -> None:
        for connection in tuple(self._connections):
            connection.drain()
        farewell_s = min(_FAREWELL_S, grace_s / 2)
        if await self._have_all_ended(grace_s - farewell_s):
            return
        for connection in tuple(self._connections):
            connection.end_calls()
        await self._have_all_ended(farewell_s)

    async def _have_all_ended(self, within_s: float) -> bool:
        try:
            async with self._clock.timeout(within_s):
                await self._none_left.wait()
                if self.tasks:  # those whose clients are gone
                    await asyncio.wait(self.tasks)
        except TimeoutError:
            return False
        return True

    async def sweep(self) -> None:
        """End what takes too long; runs until cancelled."""
        while True:
            await self._clock.sleep(_SWEEP_INTERVAL_S)
            now_s = self.now_s()
            for connection in tuple(self._connections):
                connection.look_after(now_s)
                if not connection.is_greeted:
                    if now_s - connection.opened_s > self.limits.handshake_timeout_s:
                        connection.close()
                elif now_s - connection.opened_s > _MAX_CONNECTION_AGE_S or (
                    not connection.calls and now_s - connection.last_call_s > _MAX_CONNECTION_IDLE_S
                ):
                    connection.drain()

    async def close(self) -> None:
        """Stop at once."""
        for connection in tuple(self._connections):
            connection.cut_off()
        await self._none_left.wait()
        tasks = tuple(self.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def opened(self, connection: GrpcConnection) -> None:
        """Take note of a connection."""
        self._connections.add(connection)
        self._none_left.clear()

    def closed(self, connection: GrpcConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if not self._connections:
            self._none_left.set()
