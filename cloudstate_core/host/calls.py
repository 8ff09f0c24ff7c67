"""The user function's end of calls that keep nothing between them, over gRPC.

A slow runtime holds a handler back, and a slow handler holds the runtime back: a message is read
when the handler asks for it, and the handler runs on when what it gave has been taken.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from itertools import count
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc import aio

from cloudstate_core.links import CallMethod

__all__ = ["Calls"]

_log = structlog.get_logger("cloudstate.host")

Context = aio.ServicerContext[Any, Any]

#: How a call ends badly: a code and what the other end is told.
_Refusal = tuple[grpc.StatusCode, str]

_Serve = Callable[[Any, Context], Awaitable[Message | None]]


class Calls:
    """All calls of one server."""

    def __init__(self, methods: Sequence[CallMethod], max_calls: int) -> None:
        """Keep what to serve.

        Args:
            methods: The methods.
            max_calls: Calls above this number are refused.
        """
        self._methods = methods
        self._max_calls = max_calls
        self._running = 0
        self._draining = False
        self._error_ids = count(1)

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
            request_deserializer=method.rpc.request_class.FromString,
            response_serializer=method.rpc.response_class.SerializeToString,
        )
        return handler

    def _single(self, method: CallMethod) -> _Serve:
        async def serve(sent: object, context: Context) -> Message | None:
            async def answer() -> Message:
                async with aclosing(method.serve(_messages(method, sent))) as answers:
                    async for message in answers:
                        return message
                raise RuntimeError(f"{method.rpc.path}: expected one answer, found none")

            answered: Message | None = await self._guarded(method, context, answer)
            return answered

        return serve

    def _streaming(self, method: CallMethod) -> _Serve:
        async def serve(sent: object, context: Context) -> None:
            async def answer() -> None:
                async with aclosing(method.serve(_messages(method, sent))) as answers:
                    async for message in answers:
                        await context.write(message)

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
            except Exception as error:
                refusal = self._failed(method, context, error)
            finally:
                self._running -= 1
        if refusal is not None:
            await context.abort(*refusal)
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

    def _failed(self, method: CallMethod, context: Context, error: Exception) -> _Refusal | None:
        if context.done() or context.cancelled():
            # The other end went away in the middle, which is its right.
            _log.debug("call_broken", method=method.rpc.path, error=str(error))
            return None
        if isinstance(error, DecodeError):
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


def _messages(method: CallMethod, sent: Any) -> AsyncIterator[Any]:
    return aiter(sent) if method.rpc.client_streaming else _one(sent)


async def _one(message: Message) -> AsyncGenerator[Message, None]:
    yield message
