"""From a command to its answer: calling the handler, in the loop or in a thread."""

from __future__ import annotations

import asyncio
from functools import partial

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.command_methods import CommandMethod
from cloudstate_core.context import CommandContext, CommandFailed

__all__ = ["answer"]


async def answer(
    method: CommandMethod, payload: Any, context: CommandContext, *own: object
) -> ClientAction:
    """Let a handler decide, and return the protocol's form of its answer.

    After that the context cannot be used by the handler any more; what it collected is there for
    the servicer to send.

    Args:
        method: Which command.
        payload: The command's message, packed.
        context: What the handler is given to answer with.
        own: The values of the kind's own slots, in order.

    Raises:
        AnyError: The payload is not of the command's type, or what the handler returned is not of
            the reply's.
        Exception: Whatever the handler raises. What the context collected must then be dropped.
    """
    try:
        returned = await _returned(method, method.read(payload), context, own)
        if returned is None and context.forwarded is None and context.failure is None:
            returned = method.default_reply()
        return context.client_action(returned)
    finally:
        context.finish()


async def _returned(
    method: CommandMethod, message: object, context: CommandContext, own: tuple[object, ...]
) -> object:
    call = partial(method.handler, message, context, context.metadata, *own)
    try:
        if method.blocking:
            returned = await asyncio.to_thread(call)
        elif method.handler.is_async:
            returned = await call()
        else:
            returned = call()
    except CommandFailed:
        return None
    return method.check_reply(returned)
