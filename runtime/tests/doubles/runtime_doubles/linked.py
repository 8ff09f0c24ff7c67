"""Links to the user functions of `functions`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from google.protobuf.wrappers_pb2 import StringValue

from cloudstate_core.clock import Clock, SystemClock
from cloudstate_core.links import EntityStream
from cloudstate_runtime.function.grpc_link import GrpcLink, open_grpc_link
from runtime_doubles.functions import TALK, Function

#: How every error of a stream that is over begins and ends.
TERMINATION = "^Unexpected entity termination$"


def text(value: str) -> StringValue:
    return StringValue(value=value)


@asynccontextmanager
async def linked(
    function: Function, clock: Clock | None = None, *, max_message_bytes: int = 1 << 20
) -> AsyncIterator[GrpcLink]:
    async with open_grpc_link(
        function.address,
        clock or SystemClock(),
        max_message_bytes=max_message_bytes,
        close_timeout_s=2.0,
        send_timeout_s=7.0,
    ) as link:
        yield link


@asynccontextmanager
async def stream_to(
    function: Function, clock: Clock | None = None, **more
) -> AsyncIterator[EntityStream[StringValue, StringValue]]:
    async with linked(function, clock, **more) as link:
        stream = link.open_stream(TALK)
        try:
            yield stream
        finally:
            await stream.aclose()
