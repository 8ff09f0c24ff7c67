"""The user function's end of entity streams, over gRPC.

One coroutine per open stream, and nothing else: a stream that waits for its next command costs
memory only, so a process can hold many thousands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import aio

from cloudstate_core.host.endings import end_with_error
from cloudstate_core.links import Conversation, ConversationMethod

__all__ = ["EntityStreams"]

_log = structlog.get_logger("cloudstate.host")

Context = aio.ServicerContext[Any, Any]

#: How a stream ends: None with success, else a code and what the other end is told.
Ending = tuple[grpc.StatusCode, str] | None

_STOPPING = (grpc.StatusCode.UNAVAILABLE, "the user function is stopping")


class _Open:
    """One open stream.

    Attributes:
        task: What serves it.
        busy: Whether a message is being handled. Otherwise it waits for one.
    """

    __slots__ = ("busy", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.busy = False


class EntityStreams:
    """All entity streams of one server."""

    def __init__(
        self, methods: Sequence[ConversationMethod], max_streams: int, error_ids: Iterator[int]
    ) -> None:
        """Keep what to serve.

        Args:
            methods: The methods.
            max_streams: Streams above this number are refused.
            error_ids: Numbers for the failures in the log, each of which it gives once.
        """
        self._methods = methods
        self._max_streams = max_streams
        self._open: set[_Open] = set()
        self._draining = False
        self._error_ids = error_ids

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return gRPC's handler for each path."""
        return {method.rpc.path: self._handler(method) for method in self._methods}

    def __len__(self) -> int:
        return len(self._open)

    def drain(self) -> None:
        """Refuse new streams and end the open ones, each as soon as it handles nothing."""
        self._draining = True
        for stream in self._open:
            if not stream.busy:
                stream.task.cancel()

    def _handler(self, method: ConversationMethod) -> grpc.RpcMethodHandler[Any, Any]:
        async def serve(_messages: object, context: Context) -> None:
            ending = await self._serve(method, context)
            if ending is not None:
                await end_with_error(context, *ending)

        return grpc.stream_stream_rpc_method_handler(
            serve,
            request_deserializer=method.rpc.request_class.FromString,
            response_serializer=method.rpc.response_class.SerializeToString,
        )

    async def _serve(self, method: ConversationMethod, context: Context) -> Ending:
        if self._draining:
            return _STOPPING
        if len(self._open) >= self._max_streams:
            return (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"expected at most {self._max_streams} streams at a time (setting max_streams)",
            )
        task = asyncio.current_task()
        assert task is not None
        stream = _Open(task)
        self._open.add(stream)
        try:
            return await self._guarded(method, context, stream)
        finally:
            self._open.discard(stream)

    async def _guarded(self, method: ConversationMethod, context: Context, stream: _Open) -> Ending:
        try:
            return await self._converse(method, context, stream)
        except asyncio.CancelledError:
            if not self._draining or stream.busy:
                raise
            stream.task.uncancel()
            return _STOPPING
        except DecodeError as error:
            _log.warning("message_not_readable", method=method.rpc.path, error=str(error))
            return (
                grpc.StatusCode.INVALID_ARGUMENT,
                f"not a valid {method.rpc.request_class.DESCRIPTOR.full_name}",
            )
        except Exception as error:
            if context.done() or context.cancelled():
                # The other end went away in the middle, which is its right.
                _log.debug("stream_broken", method=method.rpc.path, error=str(error))
                return None
            return self._failed(method, error)

    def _failed(self, method: ConversationMethod, error: Exception) -> Ending:
        # The other end learns where to look and nothing of what is there.
        error_id = next(self._error_ids)
        _log.error("stream_failed", method=method.rpc.path, error_id=error_id, exc_info=error)
        return (
            grpc.StatusCode.INTERNAL,
            f"the user function failed: see error_id {error_id} in its log",
        )

    async def _converse(
        self, method: ConversationMethod, context: Context, stream: _Open
    ) -> Ending:
        stream.busy = True
        conversation = method.open(context.write)
        try:
            return await self._exchange(conversation, context, stream)
        finally:
            await conversation.aclose()

    async def _exchange(
        self, conversation: Conversation, context: Context, stream: _Open
    ) -> Ending:
        while not conversation.ended:
            if self._draining:
                return _STOPPING
            stream.busy = False
            message = await context.read()
            stream.busy = True
            if message is aio.EOF:
                # The proxy passivates an entity by saying that nothing follows, and waits for the
                # end of the stream (Cloudstate protocol, passivation).
                return None
            await conversation.receive(message)
        return None
