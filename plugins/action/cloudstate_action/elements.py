"""Asking a handler that streams for one reply after another, in the loop or in a thread.

The next one is asked for only when the one before was taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator
from types import CoroutineType
from typing import Any

from cloudstate_action.methods import ActionMethod
from cloudstate_core.handler_failure import failure_of

__all__ = ["elements_of"]

_END = object()


async def elements_of(method: ActionMethod, *values: object) -> AsyncGenerator[object, None]:
    """Yield what a handler yields, or what is in that which it returns.

    Args:
        method: Which command.
        values: What the handler can ask for, in the order of its slots.

    Raises:
        TypeError: What it returned cannot be iterated over.
        Exception: Whatever the handler raises.
    """
    if method.blocking:
        made = await asyncio.to_thread(method.handler, *values)
    else:
        made = method.handler(*values)
    if method.handler.is_async or isinstance(made, CoroutineType):
        made = await made
    if isinstance(made, AsyncIterable):
        steps = _async(made)
    elif not isinstance(made, Iterable):
        raise TypeError(
            f"{method.handler.where}: expected a stream of replies, found {type(made).__name__}"
        )
    elif method.blocking:
        steps = _in_threads(made)
    else:
        steps = _plain(made)
    try:
        async for each in steps:
            yield each
    finally:
        await steps.aclose()


async def _async(made: AsyncIterable[Any]) -> AsyncGenerator[object, None]:
    try:
        async for each in made:
            yield each
    finally:
        if isinstance(made, AsyncGenerator):
            await made.aclose()


async def _plain(made: Iterable[Any]) -> AsyncGenerator[object, None]:
    try:
        for each in made:
            yield each
    finally:
        if isinstance(made, Generator):
            made.close()


async def _in_threads(made: Iterable[Any]) -> AsyncGenerator[object, None]:
    iterator = iter(made)
    step: asyncio.Future[Any] | None = None
    try:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(_following, iterator))
            # A thread cannot be stopped. Whoever leaves does not wait for it.
            if (each := await asyncio.shield(step)) is _END:
                return
            yield each
    finally:
        if step is None or step.done():
            if isinstance(iterator, Generator):
                await asyncio.to_thread(iterator.close)
        else:
            # The generator is closed when the thread lets go of it.
            step.add_done_callback(lambda task: task.cancelled() or task.exception())


def _following(iterator: Iterator[Any]) -> object:
    """Return the next one, `_END` after the last one; raise nothing that ends the loop."""
    try:
        return next(iterator, _END)
    except Exception:
        raise
    except BaseException as error:
        raise failure_of(error) from error
