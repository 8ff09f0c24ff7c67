"""From a command to its answer: calling the handler, in the loop or in a thread."""

from __future__ import annotations

import asyncio
from types import CoroutineType

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.command_methods import CommandMethod
from cloudstate_core.context import CommandContext, CommandFailed
from cloudstate_core.errors import AskFailed
from cloudstate_core.handler_failure import failure_of

__all__ = ["answer", "call_handler"]


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
    context.declared_targets = method.declared_targets
    try:
        returned = await call_handler(method, method.read(payload), context, *own)
        if context.forwarded is None and context.failure is None:
            returned = method.reply(returned)
        return context.client_action(returned)
    finally:
        context.finish()


async def call_handler(
    method: CommandMethod, message: object, context: CommandContext, *own: object
) -> object:
    """Return what a handler returns, in the loop or in a thread; None if it has failed on purpose.

    The failure is then in the context.

    Args:
        method: Which command.
        message: The command's message, or what stands for it.
        context: What the handler is given to answer with.
        own: The values of the kind's own slots, in order.

    Raises:
        Exception: Whatever the handler raises; a `RuntimeError` for what would end the process.
    """
    handler = method.handler
    try:
        if method.blocking:
            returned = await asyncio.to_thread(handler, message, context, context.metadata, *own)
        else:
            returned = handler(message, context, context.metadata, *own)
        # A decorator may hide that a function is async.
        if handler.is_async or isinstance(returned, CoroutineType):
            return await returned
        return returned
    except CommandFailed:
        if context.failure is None:
            raise  # it is not from this context
        return None
    except AskFailed as error:
        context.fail_as(error)
        return None
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled this command; the handler let pass what became of a task of its own.
        raise RuntimeError(f"{handler.where}: raised CancelledError by itself") from error
    except Exception:
        raise
    except BaseException as error:  # such as `SystemExit`
        raise failure_of(error) from error
