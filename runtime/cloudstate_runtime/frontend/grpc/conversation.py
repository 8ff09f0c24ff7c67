"""Calls that last: they end when the server stops, not when its patience does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import grpc

from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.status import ServicerContext, abort

__all__ = ["STOPPING", "messages", "unless_set"]

T = TypeVar("T")

STOPPING = Refusal(Status.UNAVAILABLE, "this server is stopping; try another, or later")


async def messages(context: ServicerContext, stopping: asyncio.Event) -> AsyncIterator[Any]:
    """Yield what the client sends, until it has no more or `stopping` is set.

    Raises:
        grpc.aio.AbortError: `stopping` was set; gRPC catches it.
    """
    while True:
        message = await unless_set(stopping, context.read())
        if message is None:
            await abort(context, STOPPING)
        if message is grpc.aio.EOF:
            return
        yield message


async def unless_set(event: asyncio.Event, action: Coroutine[Any, Any, T]) -> T | None:
    """Return what `action` returns; None if `event` is set first, which cancels `action`."""
    doing = asyncio.ensure_future(action)
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((doing, waiting), return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        waiting.cancel()
        doing.cancel()
