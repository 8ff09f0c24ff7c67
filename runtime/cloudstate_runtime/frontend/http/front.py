"""The HTTP front end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import ClassVar, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from cloudstate_core.door import Door
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.frontend import Acceptor, FrontEnd, FrontEndHost
from cloudstate_runtime.frontend.calls import Calls
from cloudstate_runtime.frontend.http.application import HttpApplication
from cloudstate_runtime.frontend.http.codec import JsonCodec
from cloudstate_runtime.frontend.http.gate import Gate
from cloudstate_runtime.frontend.http.json_format_codec import JsonFormatCodec
from cloudstate_runtime.frontend.http.protocol import BoundedHttpProtocol
from cloudstate_runtime.frontend.http.rules import rule_faults

__all__ = ["HttpFrontEnd"]

#: How long a connection may idle between requests, in seconds. Longer than the usual minute of a
#: load balancer, so that it is the one to close and never meets a connection that just went away.
_KEEP_ALIVE_S = 75

#: How much of the grace is left for streams to let go that are cut off, in seconds.
_FAREWELL_S = 0.5

_PRINTABLE = range(0x21, 0x7F)


class HttpFrontEnd(FrontEnd):
    """Serves HTTP/1.1 with JSON on every connection that no other front end wants.

    Args:
        codec: Reads and writes JSON; protobuf's own by default.
    """

    name: ClassVar[str] = "http"
    order: ClassVar[int] = 1000

    def __init__(self, codec: JsonCodec | None = None) -> None:
        self._codec = codec

    def recognises(self, first_bytes: bytes) -> bool | None:
        # A request starts with a method. Whatever looks remotely like one gets an answer in HTTP.
        return first_bytes[0] in _PRINTABLE

    def faults(self, entities: Sequence[DeployedEntity]) -> Iterable[str]:
        return rule_faults(entities)

    def open(self, host: FrontEndHost) -> AbstractAsyncContextManager[Acceptor]:
        return self._open(host)

    @asynccontextmanager
    async def _open(self, host: FrontEndHost) -> AsyncIterator[Acceptor]:
        codec = self._codec or JsonFormatCodec(host.limits.max_json_depth)
        calls = Calls(host)
        acceptor = _HttpAcceptor(HttpApplication(host, calls, codec), calls, host)
        try:
            yield acceptor
        finally:
            await acceptor.close()


class _HttpAcceptor:
    """Runs uvicorn's protocol on accepted connections."""

    def __init__(self, application: HttpApplication, calls: Calls, host: FrontEndHost) -> None:
        # Only the protocol is uvicorn's. Its server would listen, log and take signals.
        config = Config(
            application,
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        self._application = application
        self._state = ServerState()
        self._calls = calls
        self._clock = host.clock
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._protocol = partial(
            BoundedHttpProtocol,
            config,
            self._state,
            host.limits,
            self._connection_closed,
            Gate(host.handler, application.is_whole_command)
            if isinstance(host.handler, Door)
            else None,
        )

    async def accept(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._all_closed.clear()
        await loop.connect_accepted_socket(self._protocol, connection)

    async def drain(self, grace_s: float) -> None:
        for protocol in self._connections():
            protocol.shutdown()  # closes it if it idles, else after its response
        farewell_s = min(_FAREWELL_S, grace_s / 2)
        if not await self._have_all_ended(grace_s - farewell_s):
            self._application.streams.stop()
            await self._have_all_ended(farewell_s)
        await self._calls.drain(0 if self._state.tasks else grace_s)

    async def _have_all_ended(self, within_s: float) -> bool:
        """Return whether every response has left within some time."""
        try:
            async with self._clock.timeout(within_s):
                while self._state.tasks:
                    await asyncio.wait(self._state.tasks)
                if self._state.connections:  # those whose clients have not taken everything yet
                    await self._all_closed.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stop at once."""
        for protocol in self._connections():
            protocol.transport.abort()
        if self._state.connections:
            await self._all_closed.wait()
        tasks = tuple(self._state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._calls.close()

    def _connection_closed(self) -> None:
        if not self._state.connections:
            self._all_closed.set()

    def _connections(self) -> tuple[BoundedHttpProtocol, ...]:
        return cast("tuple[BoundedHttpProtocol, ...]", tuple(self._state.connections))
