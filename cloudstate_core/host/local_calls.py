"""Calls of a user function in the same process that keep nothing between them.

The handler runs when its next answer is asked for, and not before: nothing is made in advance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TypeVar, cast

import structlog
from google.protobuf.message import Message

from cloudstate_core.bounded import bounded
from cloudstate_core.cancelling import was_cancelled
from cloudstate_core.clock import Clock
from cloudstate_core.errors import UserFunctionError
from cloudstate_core.handler_failure import failure_of
from cloudstate_core.links import CallMethod, ProtocolMethod, Rpc
from cloudstate_core.one_message import OneMessage

__all__ = ["LocalCalls"]

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

log = structlog.get_logger()

#: How long a handler whose caller has left may take to let go, in seconds.
_CLOSE_TIMEOUT_S = 2.0

_FAILED = "the user function failed"


class LocalCalls:
    """Calls of the methods that one user function serves."""

    def __init__(self, methods: Mapping[str, ProtocolMethod], clock: Clock) -> None:
        """Keep the methods, by path, and the time."""
        self._methods = methods
        self._clock = clock

    async def call(self, rpc: Rpc[In, Out], message: In) -> Out:
        """Return the one answer; see `FunctionLink.call`."""
        answers = self._serve(rpc, OneMessage(message))
        try:
            return cast("Out", await anext(answers))
        except StopAsyncIteration:
            raise _no_answer(rpc) from None
        except asyncio.CancelledError as error:
            if was_cancelled():
                raise
            raise _raised(rpc, error) from error
        except Exception as error:
            raise _raised(rpc, error) from error
        finally:
            await self._close(rpc, answers)

    async def stream(
        self, rpc: Rpc[In, Out], messages: AsyncIterator[In]
    ) -> AsyncGenerator[Out, None]:
        """Yield the answers; see `FunctionLink.stream`."""
        feed = _Feed(messages)
        answers = self._serve(rpc, feed)
        try:
            while (answer := await _next(rpc, answers, feed)) is not None:
                yield cast("Out", answer)
                if not rpc.server_streaming:
                    return
        finally:
            feed.close()
            await self._close(rpc, answers)
        if not rpc.server_streaming:
            raise _no_answer(rpc)

    def _serve(self, rpc: Rpc[In, Out], messages: AsyncIterator[In]) -> AsyncGenerator[Message]:
        method = self._methods.get(rpc.path)
        if not isinstance(method, CallMethod):
            raise UserFunctionError(_FAILED, detail=f"{rpc.path}: is not served")
        return method.serve(messages)

    async def _close(self, rpc: Rpc[In, Out], answers: AsyncGenerator[Message]) -> None:
        async def close() -> None:
            await answers.aclose()

        try:
            await bounded(close(), self._clock, _CLOSE_TIMEOUT_S)
        except TimeoutError:
            log.warning("user_function_does_not_end_call", method=rpc.path)
        except BaseException as error:  # which changes nothing of what was answered
            log.exception(
                "user_function_raised_while_closing", method=rpc.path, exc_info=failure_of(error)
            )


async def _next(
    rpc: Rpc[In, Out], answers: AsyncGenerator[Message], feed: _Feed[In]
) -> Message | None:
    """Return the next answer, None after the last one."""
    try:
        answer = await anext(answers, None)
    except (Exception, asyncio.CancelledError) as error:
        if feed.error is not None:
            raise feed.error from None
        if isinstance(error, asyncio.CancelledError) and was_cancelled():
            raise
        raise _raised(rpc, error) from error
    if feed.error is not None:
        raise feed.error
    return answer


class _Feed(AsyncIterator[In]):
    """The caller's messages, which remembers whether it was the caller who failed.

    Attributes:
        error: What they ended with, if they failed.
    """

    def __init__(self, messages: AsyncIterator[In]) -> None:
        self.error: BaseException | None = None
        self._messages = messages
        self._closed = False

    def close(self) -> None:
        """Take no more: the call is over, whatever the handler has left running."""
        self._closed = True

    async def __anext__(self) -> In:
        if self._closed:
            raise StopAsyncIteration
        try:
            return await anext(self._messages)
        except StopAsyncIteration:
            raise
        except (Exception, asyncio.CancelledError) as error:
            self.error = error
            raise


def _raised(rpc: Rpc[In, Out], error: BaseException) -> UserFunctionError:
    log.error("user_function_raised", method=rpc.path, exc_info=error)
    return UserFunctionError(_FAILED, detail=f"{rpc.path}: {type(error).__name__}: {error}")


def _no_answer(rpc: Rpc[In, Out]) -> UserFunctionError:
    return UserFunctionError(_FAILED, detail=f"{rpc.path}: gave no answer")
