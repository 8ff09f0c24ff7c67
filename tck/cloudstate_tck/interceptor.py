"""A server between a proxy and a user function that passes everything on and records it.

Every method is served, and called, as a stream of bytes in both directions. So a protocol that
this suite does not know is passed on as well, and recorded as bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo, UserFunctionError
from cloudstate_tck.function_client import CHANNEL_OPTIONS
from cloudstate_tck.protocol import DISCOVER, METHODS, REPORT_ERROR
from cloudstate_tck.recorder import CANCELLED, Connection, Ended, Recorder
from cloudstate_tck.servers import StreamHandlers, serving

__all__ = ["intercepting"]

#: Metadata that belongs to one hop and is made anew for the next.
HOP_METADATA = ("user-agent", "grpc-", "te", "content-type", ":")


_CANCELLATION_HEARD_WITHIN_S = 0.2


@asynccontextmanager
async def intercepting(recorder: Recorder, *, listen: str, function: str) -> AsyncIterator[str]:
    """Stand between a proxy and a user function; gives the address for the proxy.

    Args:
        recorder: Where everything is kept.
        listen: `HOST:PORT` for the proxy to call; port 0 for any.
        function: `HOST:PORT` of the user function.

    Raises:
        ConfigurationError: If the address cannot be bound.
    """
    async with grpc.aio.insecure_channel(function, options=CHANNEL_OPTIONS) as channel:
        handlers = StreamHandlers(partial(_intercept, channel, recorder))
        async with serving(handlers, listen) as address:
            yield address


async def _intercept(
    channel: grpc.aio.Channel,
    recorder: Recorder,
    path: str,
    requests: AsyncIterator[bytes],
    context: Any,
) -> None:
    recording = _recording(recorder, path)
    call: Any = channel.stream_stream(path)(metadata=_passed_on(context))
    forwarding = asyncio.create_task(_forward(requests, call, recording))
    try:
        await _return(call, context, recording)
    except asyncio.CancelledError:
        # gRPC ends the requests as if they were complete; only this tells a cancelled call.
        recording.outgoing_ended(CANCELLED)
        raise
    finally:
        call.cancel()
        forwarding.cancel()
        await asyncio.wait([forwarding])


def _recording(recorder: Recorder, path: str) -> _Recording:
    match path:
        case DISCOVER.path:
            return _RecordingDiscovery(recorder)
        case REPORT_ERROR.path:
            return _RecordingReport(recorder)
        case _:
            return _RecordingConnection(path, recorder.opened(path))


def _passed_on(context: Any) -> list[tuple[str, str | bytes]]:
    return [
        (key, value)
        for key, value in context.invocation_metadata()
        if not key.startswith(HOP_METADATA)
    ]


async def _forward(requests: AsyncIterator[bytes], call: Any, recording: _Recording) -> None:
    async for message in requests:
        recording.incoming(message)
        try:
            await call.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # the way back says how the user function has ended the call
    recording.incoming_ended("completed")
    try:
        await call.done_writing()
    except (grpc.RpcError, asyncio.InvalidStateError):
        return


async def _return(call: Any, context: Any, recording: _Recording) -> None:
    try:
        while (message := await call.read()) is not grpc.aio.EOF:
            # Recorded before it is passed on: a client that has its reply finds it here.
            recording.outgoing(message)
            await context.write(message)
    except grpc.aio.AioRpcError as error:
        recording.outgoing_ended(f"{error.code().name}: {error.details()}")
        await context.abort(
            error.code(), error.details() or "", tuple(error.trailing_metadata() or ())
        )
    else:
        if recording.has_failed:
            # A proxy may cancel then. gRPC ends its requests first, which lets the user function
            # complete; that it was cancelled is heard a moment later.
            await asyncio.sleep(_CANCELLATION_HEARD_WITHIN_S)
        recording.outgoing_ended("completed")


class _Recording:
    """Where one call is kept; by default, nowhere.

    Attributes:
        has_failed: Whether the user function has answered with a failure.
    """

    has_failed = False

    def incoming(self, message: bytes) -> None:
        """Keep a message from the proxy."""

    def outgoing(self, message: bytes) -> None:
        """Keep a message from the user function."""

    def incoming_ended(self, how: str) -> None:
        """Keep that the proxy has finished."""

    def outgoing_ended(self, how: str) -> None:
        """Keep that the user function has finished."""


class _RecordingConnection(_Recording):
    def __init__(self, path: str, connection: Connection) -> None:
        rpc = METHODS.get(path)
        self._request_class = None if rpc is None else rpc.request_class
        self._response_class = None if rpc is None else rpc.response_class
        self._connection = connection

    def incoming(self, message: bytes) -> None:
        self._connection.incoming(_parsed(self._request_class, message))

    def outgoing(self, message: bytes) -> None:
        parsed = _parsed(self._response_class, message)
        if isinstance(parsed, Message):
            self.has_failed |= any(field.name == "failure" for field, _ in parsed.ListFields())
        self._connection.outgoing(parsed)

    def incoming_ended(self, how: str) -> None:
        self._connection.incoming(Ended(how))

    def outgoing_ended(self, how: str) -> None:
        self._connection.outgoing(Ended(how))


class _RecordingDiscovery(_Recording):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._info = b""

    def incoming(self, message: bytes) -> None:
        self._info = message

    def outgoing(self, message: bytes) -> None:
        info, spec = _parsed(ProxyInfo, self._info), _parsed(EntitySpec, message)
        if isinstance(info, ProxyInfo) and isinstance(spec, EntitySpec):
            self._recorder.discovered(info, spec)


class _RecordingReport(_Recording):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def incoming(self, message: bytes) -> None:
        report = _parsed(UserFunctionError, message)
        if isinstance(report, UserFunctionError):
            self._recorder.reported(report.message)


def _parsed(message_class: type[Message] | None, message: bytes) -> Message | bytes:
    if message_class is None:
        return message
    try:
        return message_class.FromString(message)
    except DecodeError:
        return message
