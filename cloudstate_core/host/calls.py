"""The user function's end of calls that keep nothing between them, over gRPC.

A slow runtime holds a handler back, and a slow handler holds the runtime back: a message is read
when the handler asks for it, and the handler runs on when what it gave has been taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc import aio

from cloudstate_core.cancelling import was_cancelled
from cloudstate_core.handler_failure import failure_of
from cloudstate_core.host.endings import end_with_error
from cloudstate_core.links import CallMethod
from cloudstate_core.one_message import OneMessage

__all__ = ["Calls"]

_log = structlog.get_logger("cloudstate.host")

Context = aio.ServicerContext[Any, Any]

#: How a call ends badly: a code and what the other end is told.
_Refusal = tuple[grpc.StatusCode, str]

_Serve = Callable[[Any, Context], Awaitable[bytes | None]]


class Calls:
    """All calls of one server."""

    def __init__(
        self, methods: Sequence[CallMethod], max_calls: int, error_ids: Iterator[int]
    ) -> None:
        """Keep what to serve.

        Args:
            methods: The methods.
            max_calls: Calls above this number are refused.
            error_ids: Numbers for the failures in the log, each of which it gives once.
        """
        self._methods = methods
        self._max_calls = max_calls
        self._running = 0
        self._draining = False
        self._error_ids = error_ids

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return gRPC's handler for each path."""
        return {method.rpc.path: self._handler(method) for method in self._methods}

    def __len__(self) -> int:
        return self._running

    def drain(self) -> None:
        """Refuse new calls; those that run go on."""
        self._draining = True

    def _handler(self, method: CallMethod) -> grpc.RpcMethodHandler[Any, Any]:
        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.rpc.client_streaming, method.rpc.server_streaming]
        serve = self._streaming(method) if method.rpc.server_streaming else self._single(method)
        handler: grpc.RpcMethodHandler[Any, Any] = make(
            serve,
            request_deserializer=partial(_read_message, method.rpc.request_class),
            # Handlers give bytes, so that an answer of another type is an error like any other.
            response_serializer=None,
        )
        return handler

    def _single(self, method: CallMethod) -> _Serve:
        serialize: Callable[[Message], bytes] = method.rpc.response_class.SerializeToString

        async def serve(sent: object, context: Context) -> bytes | None:
            async def answer() -> bytes:
                async with _answers(method, sent, context) as answers:
                    async for message in answers:
                        return serialize(message)
                raise RuntimeError(f"{method.rpc.path}: expected one answer, found none")

            answered: bytes | None = await self._guarded(method, context, answer)
            return answered

        return serve

    def _streaming(self, method: CallMethod) -> _Serve:
        serialize = method.rpc.response_class.SerializeToString

        async def serve(sent: object, context: Context) -> None:
            async def answer() -> None:
                async with _answers(method, sent, context) as answers:
                    async for message in answers:
                        await context.write(serialize(message))

            await self._guarded(method, context, answer)

        return serve

    async def _guarded(
        self, method: CallMethod, context: Context, answer: Callable[[], Awaitable[Any]]
    ) -> Any:  # what `answer` returns
        refusal = self._refusal()
        if refusal is None:
            self._running += 1
            try:
                return await answer()
            except asyncio.CancelledError as error:
                if was_cancelled():
                    raise
                # The handler let pass what became of a task of its own.
                refusal = self._failed(method, context, error)
            except Exception as error:
                refusal = self._failed(method, context, error)
            finally:
                self._running -= 1
        if refusal is not None:
            await end_with_error(context, *refusal)
        return None

    def _refusal(self) -> _Refusal | None:
        if self._draining:
            return grpc.StatusCode.UNAVAILABLE, "the user function is stopping"
        if self._running >= self._max_calls:
            return (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"expected at most {self._max_calls} calls at a time (setting max_streams)",
            )
        return None

    def _failed(
        self, method: CallMethod, context: Context, error: BaseException
    ) -> _Refusal | None:
        if context.done() or context.cancelled():
            # The other end went away in the middle, which is its right.
            _log.debug("call_broken", method=method.rpc.path, error=str(error))
            return None
        if isinstance(error, _UnreadableError):
            _log.warning("message_not_readable", method=method.rpc.path, error=str(error))
            name = method.rpc.request_class.DESCRIPTOR.full_name
            return grpc.StatusCode.INVALID_ARGUMENT, f"not a valid {name}"
        # The other end learns where to look and nothing of what is there.
        error_id = next(self._error_ids)
        _log.error("call_failed", method=method.rpc.path, error_id=error_id, exc_info=error)
        return (
            grpc.StatusCode.INTERNAL,
            f"the user function failed: see error_id {error_id} in its log",
        )


class _UnreadableError(Exception):
    """The other end sent bytes that are no message."""


def _read_message(message_class: type[Message], data: bytes) -> Message | _UnreadableError:
    """Return the message, or what is raised where it is read: gRPC itself would only log it."""
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        return _UnreadableError(str(error))


@asynccontextmanager
async def _answers(
    method: CallMethod, sent: Any, context: Context
) -> AsyncGenerator[AsyncIterator[Message], None]:
    """Begin to serve a call, and end it."""
    if isinstance(sent, _UnreadableError):
        raise sent
    messages = _Received(context) if method.rpc.client_streaming else OneMessage(sent)
    answers = method.serve(messages)
    try:
        yield answers
    finally:
        try:
            await answers.aclose()
        except BaseException as error:  # which changes nothing of what was answered
            _log.exception(
                "call_failed_while_closing", method=method.rpc.path, exc_info=failure_of(error)
            )


class _Received(AsyncIterator[Any]):
    """What the other end sends, read when it is asked for."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ended = False

    async def __anext__(self) -> Any:
        message = aio.EOF if self._ended else await self._context.read()
        if message is aio.EOF:
            self._ended = True
            raise StopAsyncIteration
        if isinstance(message, _UnreadableError):
            raise message
        return message
