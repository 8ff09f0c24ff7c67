"""A user function of calls in texts, that does what a test says, behind either link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from google.protobuf.wrappers_pb2 import StringValue

from cloudstate_core.clock import SystemClock
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.server import HostServer, open_server
from cloudstate_core.links import CallMethod, FunctionLink, Rpc
from cloudstate_core.settings import HostSettings
from cloudstate_runtime.function.grpc_link import open_grpc_link
from runtime_doubles.linked import text

SERVICE = "test.calls.Calls"

UNARY = Rpc(f"/{SERVICE}/unary", StringValue, StringValue, False, False)
STREAM_IN = Rpc(f"/{SERVICE}/streamIn", StringValue, StringValue, True, False)
STREAM_OUT = Rpc(f"/{SERVICE}/streamOut", StringValue, StringValue, False, True)
STREAM = Rpc(f"/{SERVICE}/stream", StringValue, StringValue, True, True)

RPCS = (UNARY, STREAM_IN, STREAM_OUT, STREAM)

#: 1,000 of them are more than gRPC keeps on the way.
KILOBYTE = "x" * 1000

Serve = Callable[[AsyncIterator[StringValue]], AsyncGenerator[StringValue, None]]


async def echo(messages: AsyncIterator[StringValue]) -> AsyncGenerator[StringValue, None]:
    """Answer each message with itself in capitals."""
    async for message in messages:
        yield text(message.value.upper())


class Called:
    """The user function, and what became of it.

    Attributes:
        serve: Serves every call.
        running: Calls that run.
        made: Answers that were made, over all calls.
        taken: Messages that were taken, over all calls.
        entities: None, since nothing is discovered here.
        server: What serves it, behind gRPC.
    """

    def __init__(self) -> None:
        self.serve: Serve = echo
        self.running = self.made = self.taken = 0
        self.entities: tuple[()] = ()
        self.server: HostServer | None = None
        self.methods = {rpc.path: CallMethod(rpc, self._serve) for rpc in RPCS}

    async def _serve(
        self, messages: AsyncIterator[StringValue]
    ) -> AsyncGenerator[StringValue, None]:
        async def counted() -> AsyncGenerator[StringValue, None]:
            async for message in messages:
                self.taken += 1
                yield message

        self.running += 1
        answers = self.serve(counted())
        try:
            async for answer in answers:
                self.made += 1
                yield answer
        finally:
            try:
                await answers.aclose()
            finally:
                self.running -= 1


async def sending(*texts: str) -> AsyncGenerator[StringValue, None]:
    for each in texts:
        yield text(each)


async def endless(about: list[int]) -> AsyncGenerator[StringValue, None]:
    """Messages without end; how many were asked for is written into the list."""
    about.append(0)
    while True:
        about[0] += 1
        yield text(KILOBYTE)


@asynccontextmanager
async def calling(kind: str, *, max_calls: int = 10) -> AsyncIterator[tuple[Called, FunctionLink]]:
    """A user function and the link to it: "local" or "grpc"."""
    called = Called()
    if kind == "local":
        yield called, LocalLink(called, SystemClock())  # type: ignore[arg-type]  # as it is used
        return
    settings = HostSettings(port=0, max_streams=max_calls)
    async with open_server(called, settings) as server:  # type: ignore[arg-type]  # likewise
        called.server = server
        async with open_grpc_link(
            server.address, SystemClock(), max_message_bytes=1 << 20, close_timeout_s=2.0
        ) as link:
            yield called, link


async def standstill(count: Callable[[], int]) -> int:
    """Return where a number stays, as long as a quarter of a second without a change."""
    seen, since = -1, 0
    while since < 50:
        await asyncio.sleep(0.005)
        since = since + 1 if count() == seen else 0
        seen = count()
    return seen
