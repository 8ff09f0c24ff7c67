"""User functions behind a real gRPC server, that do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo, UserFunctionError
from cloudstate_core.links import Rpc
from runtime_doubles.specs import TOY, orders_spec

#: The method of the toy kind: texts in both directions.
TALK: Rpc[StringValue, StringValue] = Rpc(f"/{TOY}/handle", StringValue, StringValue)

Context = aio.ServicerContext
Converse = Callable[[Context], Awaitable[None]]


async def until(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    """Return as soon as something is true; what it waits for happens outside this process."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


async def echo(context: Context) -> None:
    """Answer every text with itself, until nothing follows."""
    while (data := await context.read()) is not aio.EOF:
        await context.write(data)


async def never_answers(context: Context) -> None:
    """Read until nothing follows, and say nothing."""
    while await context.read() is not aio.EOF:
        pass


class Function:
    """A user function that can be stopped and started again.

    Attributes:
        address: Where it is.
        spec: What it announces, or the bytes it sends instead.
        converse: Its end of a stream; it reads and writes bytes.
        discovered: How often it was asked what it serves.
        before_discovery: Awaited before it answers that.
        reports: What it was told is wrong with it.
        open_streams: How many streams are open.
        ended: How each stream ended: "done" or "cancelled".
    """

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.spec: EntitySpec | bytes = orders_spec()
        self.converse: Converse = echo
        self.discovered = 0
        self.before_discovery: Callable[[], Awaitable[None]] | None = None
        self.reports: list[str] = []
        self.proxies: list[ProxyInfo] = []
        self.open_streams = 0
        self.ended: list[str] = []
        self._server: aio.Server | None = None

    async def start(self) -> None:
        server = aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers([self._discovery(), self._toy()])
        if self.address:
            assert server.add_insecure_port(self.address)
        else:
            self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Go away at once, whatever runs."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(0)

    def _discovery(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "cloudstate.EntityDiscovery",
            {
                "discover": grpc.unary_unary_rpc_method_handler(
                    self._discover, ProxyInfo.FromString
                ),
                "reportError": grpc.unary_unary_rpc_method_handler(
                    self._report, UserFunctionError.FromString
                ),
            },
        )

    def _toy(self) -> grpc.GenericRpcHandler:
        async def handle(_: object, context: Context) -> None:
            self.open_streams += 1
            try:
                await self.converse(context)
                self.ended.append("done")
            except asyncio.CancelledError:
                self.ended.append("cancelled")
                raise
            finally:
                self.open_streams -= 1

        return grpc.method_handlers_generic_handler(
            TOY, {"handle": grpc.stream_stream_rpc_method_handler(handle)}
        )

    async def _discover(self, info: ProxyInfo, _: object) -> bytes:
        self.discovered += 1
        self.proxies.append(info)
        if self.before_discovery is not None:
            await self.before_discovery()
        return self.spec if isinstance(self.spec, bytes) else self.spec.SerializeToString()

    async def _report(self, error: UserFunctionError, _: object) -> bytes:
        self.reports.append(error.message)
        return b""


@asynccontextmanager
async def serving(address: str = "") -> AsyncIterator[Function]:
    """A user function that is up, and gone in the end."""
    function = Function(address)
    await function.start()
    try:
        yield function
    finally:
        await function.stop()
