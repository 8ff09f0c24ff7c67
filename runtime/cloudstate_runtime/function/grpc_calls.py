"""Calls of a user function in another process that keep nothing between them, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from cloudstate_core.cancelling import was_cancelled
from cloudstate_core.errors import UserFunctionError, UserFunctionUnavailable
from cloudstate_core.links import Rpc

__all__ = ["GrpcCalls"]

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

#: How a user function says that it is not there, or takes nothing now.
_GONE = frozenset(
    (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
)


class GrpcCalls:
    """Calls over one channel."""

    def __init__(self, name: str, channel: grpc.aio.Channel) -> None:
        """Keep the channel, which somebody else closes; `name` is for people."""
        self._name = name
        self._channel = channel
        self._methods: dict[str, Any] = {}

    async def call(self, rpc: Rpc[In, Out], message: In) -> Out:
        """Return the one answer; see `FunctionLink.call`."""
        call = self._begin(rpc, message)
        try:
            return self._checked(rpc, await call)
        except grpc.aio.AioRpcError as error:
            raise self._failed(rpc, error) from error
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            raise self._gone(rpc, "the call was cancelled") from None

    async def stream(
        self, rpc: Rpc[In, Out], messages: AsyncIterator[In]
    ) -> AsyncGenerator[Out, None]:
        """Yield the answers; see `FunctionLink.stream`."""
        if rpc.client_streaming:
            call = self._begin(rpc)
            pump = _Pump(call, messages)
        else:
            call = self._begin(rpc, await anext(messages))
            pump = None
        try:
            while (answer := await self._next(rpc, call, pump)) is not None:
                yield answer
                if not rpc.server_streaming:
                    return
        finally:
            call.cancel()
            if pump is not None:
                await pump.stop()

    async def _next(self, rpc: Rpc[In, Out], call: Any, pump: _Pump | None) -> Out | None:
        """Return the next answer, None after the last one."""
        try:
            answer = await (call.read() if rpc.server_streaming else call)
        except grpc.aio.AioRpcError as error:
            raise self._error(rpc, error, pump) from error
        except (asyncio.CancelledError, asyncio.InvalidStateError) as error:
            if isinstance(error, asyncio.CancelledError) and was_cancelled():
                raise
            if pump is not None and pump.error is not None:
                raise pump.error from None
            raise self._gone(rpc, "the call was cancelled") from None
        if answer is not grpc.aio.EOF:
            return self._checked(rpc, answer)
        if pump is not None and pump.error is not None:
            raise pump.error
        return None

    def _error(
        self, rpc: Rpc[In, Out], error: grpc.aio.AioRpcError, pump: _Pump | None
    ) -> BaseException:
        if pump is not None and pump.error is not None:
            return pump.error
        return self._failed(rpc, error)

    def _begin(self, rpc: Rpc[In, Out], *message: In) -> Any:
        try:
            return self._method(rpc)(*message)
        except grpc.aio.UsageError as error:  # the channel is closed
            raise self._gone(rpc, str(error)) from error

    def _method(self, rpc: Rpc[In, Out]) -> Any:
        method = self._methods.get(rpc.path)
        if method is None:
            make: Any = {
                (False, False): self._channel.unary_unary,
                (True, False): self._channel.stream_unary,
                (False, True): self._channel.unary_stream,
                (True, True): self._channel.stream_stream,
            }[rpc.client_streaming, rpc.server_streaming]
            method = self._methods[rpc.path] = make(
                rpc.path,
                request_serializer=rpc.request_class.SerializeToString,
                response_deserializer=partial(_read_message, rpc.response_class),
            )
        return method

    def _checked(self, rpc: Rpc[In, Out], answer: object) -> Out:
        if isinstance(answer, _Unreadable):
            name = rpc.response_class.DESCRIPTOR.full_name
            raise UserFunctionError(
                "the user function failed",
                detail=f"{self._name}: {rpc.path}: sent something else than a {name}",
            )
        return cast("Out", answer)

    def _failed(self, rpc: Rpc[In, Out], error: grpc.aio.AioRpcError) -> UserFunctionError:
        detail = f"{error.code().name}: {error.details() or 'no text'}"
        if error.code() in _GONE:
            return self._gone(rpc, detail)
        return UserFunctionError(
            "the user function failed", detail=f"{self._name}: {rpc.path}: {detail}"
        )

    def _gone(self, rpc: Rpc[In, Out], detail: str) -> UserFunctionUnavailable:
        return UserFunctionUnavailable(
            "the user function cannot be reached", detail=f"{self._name}: {rpc.path}: {detail}"
        )


class _Pump:
    """Sends a caller's messages as fast as the other end takes them.

    Attributes:
        error: What the caller's messages ended with, if they failed.
    """

    def __init__(self, call: Any, messages: AsyncIterator[Any]) -> None:
        self.error: BaseException | None = None
        self._call = call
        self._task = asyncio.create_task(self._run(messages))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self, messages: AsyncIterator[Any]) -> None:
        while True:
            try:
                message = await anext(messages)
            except StopAsyncIteration:
                break
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and was_cancelled():
                    raise
                self.error = error
                self._call.cancel()
                return
            if not await self._write(self._call.write(message)):
                return
        await self._write(self._call.done_writing())

    async def _write(self, writing: Any) -> bool:
        """Return whether it was written; if not, reading tells why."""
        try:
            await writing
        except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
            return False
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            return False
        return True


class _Unreadable:
    """What stands for bytes that are no message: gRPC would write each of those to the log."""


def _read_message(message_class: type[Out], data: bytes) -> Out | _Unreadable:
    try:
        return message_class.FromString(data)
    except DecodeError:
        return _Unreadable()
