"""The link to a user function in another process, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar, cast

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo, UserFunctionError
from cloudstate.entity_pb2_grpc import EntityDiscoveryStub
from cloudstate_core.bounded import DEFAULT_SEND_TIMEOUT_S
from cloudstate_core.cancelling import was_cancelled
from cloudstate_core.clock import Clock
from cloudstate_core.errors import UserFunctionError as ProtocolBroken
from cloudstate_core.errors import UserFunctionUnavailable
from cloudstate_core.links import EntityStream, FunctionLink, Rpc
from cloudstate_runtime.function.grpc_calls import GrpcCalls

__all__ = ["GrpcLink", "open_grpc_link"]

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

log = structlog.get_logger()

_TERMINATION = "Unexpected entity termination"

#: How a call says that it is over.
_ENDINGS = (
    grpc.aio.AioRpcError,
    grpc.aio.InternalError,
    asyncio.InvalidStateError,
    asyncio.CancelledError,
)

#: How a stream ends whose user function stops, or whose connection is lost.
_GOING_AWAY = frozenset((grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED))

#: What gRPC says by itself if a message cannot be written any more. It comes in the place of the
#: other end's own words, which are lost then; mostly it has stopped.
_NOT_WRITTEN = (grpc.StatusCode.INTERNAL, "Internal error from Core")

#: How long a report may take; nobody waits for it.
_REPORT_TIMEOUT_S = 5.0

#: How long one attempt to discover may take; the next attempt follows anyway.
_DISCOVER_TIMEOUT_S = 10.0


class GrpcStream(EntityStream[In, Out]):
    """The runtime's end of one gRPC stream.

    One read is always under way, so that a message or an end that nobody asked for is seen without
    waiting. Nothing beyond that one message is taken from gRPC, which holds the sender back.
    """

    def __init__(self, channel: grpc.aio.Channel, rpc: Rpc[In, Out], link: GrpcLink) -> None:
        """Start the call."""
        method: grpc.aio.StreamStreamMultiCallable[Message, Out | None] = channel.stream_stream(
            rpc.path,
            request_serializer=rpc.request_class.SerializeToString,
            response_deserializer=partial(_read_message, rpc.response_class),
        )
        self._call = method()
        self._rpc = rpc
        self._link = link
        self._reading: asyncio.Task[object] | None = None
        self._closed = False

    async def send(self, message: In) -> None:
        try:
            async with self._link.clock.timeout(self._link.send_timeout_s):
                await self._send(message)
        except TimeoutError:
            raise UserFunctionUnavailable(
                _TERMINATION,
                detail=f"{self._link.name}: takes no message for {self._link.send_timeout_s:g} s",
            ) from None

    async def receive(self) -> Out:
        reading = self._reading or self._read()
        try:
            # Whoever stops waiting for the message does not end the stream; it is still to come.
            message = await asyncio.shield(reading)
        except _ENDINGS as error:
            _raise_if_cancelled(error)
            raise await self._terminated() from error
        if message is grpc.aio.EOF or self._closed:
            raise await self._terminated()
        if message is None:
            raise self._unreadable()
        self._read()
        return cast("Out", message)

    async def ask(self, message: In, timeout_s: float) -> Out:
        async with self._link.clock.timeout(timeout_s):
            await self._send(message)
            return await self.receive()

    def unasked(self) -> ProtocolBroken | None:
        if self._closed:
            return UserFunctionUnavailable(_TERMINATION)
        reading = self._reading
        if reading is None or not reading.done():
            return None
        return self._what_was_read(reading)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            async with self._link.clock.timeout(self._link.close_timeout_s):
                await self._call.done_writing()
                await self._read_to_the_end()
        except TimeoutError:
            log.warning("user_function_does_not_end_stream", link=self._link.name)
        except _ENDINGS as error:
            _raise_if_cancelled(error)  # otherwise it has ended already, which is what was wanted
        finally:
            self._call.cancel()
            self._forget_reading()

    async def _send(self, message: In) -> None:
        try:
            await self._call.write(message)
        except _ENDINGS as error:
            _raise_if_cancelled(error)
            raise await self._terminated() from error
        if self._reading is None:
            self._read()

    def _read(self) -> asyncio.Task[object]:
        self._reading = asyncio.create_task(self._call.read())
        return self._reading

    async def _read_to_the_end(self) -> None:
        reading = self._reading or self._read()
        while await asyncio.shield(reading) is not grpc.aio.EOF:
            reading = self._read()

    def _forget_reading(self) -> None:
        reading, self._reading = self._reading, None
        if reading is None:
            return
        reading.cancel()
        # Whatever it ends with has been dealt with, or does not matter any more.
        reading.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _what_was_read(self, reading: asyncio.Task[object]) -> ProtocolBroken:
        """Return what a read that nobody waits for has come to."""
        if reading.cancelled():
            return UserFunctionUnavailable(_TERMINATION)
        error = reading.exception()
        if isinstance(error, grpc.aio.AioRpcError):
            return self._ended(error.code(), error.details())
        if error is not None:  # the channel was closed
            return UserFunctionUnavailable(_TERMINATION, detail=f"{self._link.name}: {error}")
        message = reading.result()
        if message is grpc.aio.EOF:
            return self._ended(grpc.StatusCode.OK, None)
        if message is None:
            return self._unreadable()
        return ProtocolBroken(
            "Unexpected entity reply",
            detail=f"{self._link.name}: sent a message that nothing had asked for",
        )

    def _ended(self, code: grpc.StatusCode, text: str | None) -> ProtocolBroken:
        detail = (
            f"{self._link.name}: ended a stream by itself, with {code.name}: {text or 'no text'}"
        )
        if code in _GOING_AWAY or (code, text) == _NOT_WRITTEN:
            return UserFunctionUnavailable(_TERMINATION, detail=detail)
        return ProtocolBroken(_TERMINATION, detail=detail)

    def _unreadable(self) -> ProtocolBroken:
        return ProtocolBroken(
            "Unexpected entity message",
            detail=f"{self._link.name}: sent something else than a "
            f"{self._rpc.response_class.DESCRIPTOR.full_name}",
        )

    async def _terminated(self) -> UserFunctionUnavailable:
        """Return the error for a stream that has ended or broken."""
        code, details = await self._call.code(), await self._call.details()
        return UserFunctionUnavailable(
            _TERMINATION,
            detail=f"{self._link.name}: the stream ended with {code.name}: {details or 'no text'}",
        )


def _read_message(message_class: type[Out], data: bytes) -> Out | None:
    """Return the message, or None if it is none: gRPC would write each of those to the log."""
    try:
        return message_class.FromString(data)
    except DecodeError:
        return None


def _raise_if_cancelled(error: BaseException) -> None:
    """Raise if it was this task that was cancelled, and not only the call it waited for."""
    if isinstance(error, asyncio.CancelledError) and was_cancelled():
        raise error


class GrpcLink(FunctionLink):
    """The way to a user function behind an address.

    Attributes:
        name: The address, for people.
        clock: The time.
        close_timeout_s: How long the other side may take to end a stream.
        send_timeout_s: How long it may take no message, where no other limit holds.
    """

    def __init__(
        self,
        name: str,
        channel: grpc.aio.Channel,
        clock: Clock,
        *,
        close_timeout_s: float,
        send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S,
    ) -> None:
        """Keep the channel; `open_grpc_link` makes and closes it."""
        self.name = name
        self.clock = clock
        self.close_timeout_s = close_timeout_s
        self.send_timeout_s = send_timeout_s
        self._channel = channel
        self._calls = GrpcCalls(name, channel)
        self._discovery = EntityDiscoveryStub(channel)

    def open_stream(self, rpc: Rpc[In, Out]) -> EntityStream[In, Out]:
        return GrpcStream(self._channel, rpc, self)

    async def call(self, rpc: Rpc[In, Out], message: In) -> Out:
        return await self._calls.call(rpc, message)

    def stream(self, rpc: Rpc[In, Out], messages: AsyncIterator[In]) -> AsyncGenerator[Out, None]:
        return self._calls.stream(rpc, messages)

    async def discover(self, info: ProxyInfo) -> EntitySpec:
        try:
            spec = await self._discovery.discover(info, timeout=_DISCOVER_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise UserFunctionUnavailable(
                f"user function {self.name} does not answer discovery",
                detail=f"{error.code().name}: {error.details()}",
            ) from error
        if spec is None:  # which is what gRPC makes of bytes it cannot read
            raise UserFunctionUnavailable(
                f"user function {self.name} does not answer discovery",
                detail="it answered with something else than a cloudstate.EntitySpec",
            )
        return cast("EntitySpec", spec)

    async def report_error(self, message: str) -> None:
        try:
            await self._discovery.reportError(
                UserFunctionError(message=message), timeout=_REPORT_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            log.warning("report_not_delivered", link=self.name, code=error.code().name)

    async def wait_until_lost(self) -> None:
        state = self._channel.get_state()
        while state is grpc.ChannelConnectivity.READY:
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state()


@asynccontextmanager
async def open_grpc_link(
    address: str,
    clock: Clock,
    *,
    max_message_bytes: int,
    close_timeout_s: float,
    send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S,
) -> AsyncIterator[GrpcLink]:
    """Open the way to a user function, and close it in the end. Does not wait for an answer.

    Args:
        address: `host:port`, in clear text; anything gRPC resolves, such as `unix:path`.
        clock: The time.
        max_message_bytes: Largest message accepted from it.
        close_timeout_s: How long it may take to end a stream.
        send_timeout_s: How long it may take no message, where no other limit holds.
    """
    options = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # A window that grows with the speed of the line would let a user function get megabytes
        # ahead of a caller who does not read.
        ("grpc.http2.bdp_probe", 0),
        # Servers of some languages cut who asks for signs of life more often than every 5 minutes.
        ("grpc.keepalive_time_ms", 310_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        # Two links to one address must not share a connection, or neither is told of its loss.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield GrpcLink(
            address,
            channel,
            clock,
            close_timeout_s=close_timeout_s,
            send_timeout_s=send_timeout_s,
        )
