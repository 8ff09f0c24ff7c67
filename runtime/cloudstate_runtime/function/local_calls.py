"""Calls of a user function in the same process that keep nothing between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TypeVar, cast

import structlog
from google.protobuf.message import Message

from cloudstate_core.errors import UserFunctionError
from cloudstate_core.links import CallMethod

__all__ = ["call_locally", "stream_locally"]

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

log = structlog.get_logger()


async def call_locally(method: CallMethod, message: Message) -> Message:
    """Return the one answer; see `FunctionLink.call`."""
    answers = method.serve(_one(message))
    try:
        return await anext(answers)
    except StopAsyncIteration:
        raise _failed(method, "gave no answer") from None
    except Exception as error:
        raise _raised(method, error) from error
    finally:
        await answers.aclose()


async def stream_locally(
    method: CallMethod, messages: AsyncIterator[In], response_class: type[Out]
) -> AsyncGenerator[Out, None]:
    """Yield the answers; see `FunctionLink.stream`."""
    del response_class  # the user function lives here, and checks its own types
    feed = _Feed(messages)
    async with aclosing(method.serve(feed)) as answers:
        while True:
            try:
                answer = await anext(answers)
            except StopAsyncIteration:
                break
            except Exception as error:
                if feed.error is not None:
                    break
                raise _raised(method, error) from error
            if feed.error is not None:
                break
            yield cast("Out", answer)
            if not method.rpc.server_streaming:
                return
    if feed.error is not None:
        raise feed.error
    if not method.rpc.server_streaming:
        raise _failed(method, "gave no answer")


class _Feed(AsyncIterator[In]):
    """The caller's messages, which remembers whether it was the caller who failed."""

    def __init__(self, messages: AsyncIterator[In]) -> None:
        self._messages = messages
        self.error: Exception | None = None

    async def __anext__(self) -> In:
        try:
            return await anext(self._messages)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.error = error
            raise


async def _one(message: In) -> AsyncGenerator[In, None]:
    yield message


def _raised(method: CallMethod, error: Exception) -> UserFunctionError:
    log.error("user_function_raised", method=method.rpc.path, exc_info=error)
    return _failed(method, f"{type(error).__name__}: {error}")


def _failed(method: CallMethod, detail: str) -> UserFunctionError:
    return UserFunctionError("the user function failed", detail=f"{method.rpc.path}: {detail}")
