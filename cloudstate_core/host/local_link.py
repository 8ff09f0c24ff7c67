"""The link to a user function in the same process.

Messages are handed over as they are: nothing is serialized, and no task or queue stands between the
two ends. The user function's handler runs inside the runtime's `send`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import TypeVar, cast

import structlog
from google.protobuf.message import Message

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_core.bounded import DEFAULT_SEND_TIMEOUT_S, bounded, each_bounded
from cloudstate_core.caller import Caller
from cloudstate_core.clock import Clock
from cloudstate_core.errors import UserFunctionError, UserFunctionUnavailable
from cloudstate_core.host.local_calls import LocalCalls
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.links import (
    ConversationMethod,
    EntityStream,
    FunctionLink,
    Rpc,
)

__all__ = ["LocalLink"]

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

log = structlog.get_logger()

_TERMINATION = "Unexpected entity termination"


class LocalStream(EntityStream[In, Out]):
    """Both ends of one stream, without a stream between them.

    Attributes:
        conversation: The user function's end.
    """

    def __init__(self, method: ConversationMethod, clock: Clock, send_timeout_s: float) -> None:
        """Start the user function's end."""
        self._clock = clock
        self._send_timeout_s = send_timeout_s
        self._arrived: deque[Message] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._broken = ""
        self._closed = False
        self.conversation = method.open(self._write)

    async def send(self, message: In) -> None:
        try:
            await bounded(self._send(message), self._clock, self._send_timeout_s)
        except TimeoutError:
            raise self._stalled() from None

    async def send_all(self, messages: Iterable[In]) -> None:
        try:
            await each_bounded(map(self._send, messages), self._clock, self._send_timeout_s)
        except TimeoutError:
            raise self._stalled() from None

    def _stalled(self) -> UserFunctionUnavailable:
        self._broken = f"the user function takes no message for {self._send_timeout_s:g} s"
        self._wake()
        return self._terminated()

    async def receive(self) -> Out:
        while not self._arrived:
            if self._has_ended():
                raise self._terminated()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return cast("Out", self._arrived.popleft())

    async def ask(self, message: In, timeout_s: float) -> Out:
        return await bounded(self._exchange(message), self._clock, timeout_s)

    def unasked(self) -> UserFunctionError | None:
        if self._arrived:
            return UserFunctionError(
                "Unexpected entity reply", detail="sent a message that nothing had asked for"
            )
        if self._broken or self._closed:
            return self._terminated()
        if self.conversation.ended:
            return UserFunctionError(_TERMINATION, detail="ended a stream by itself")
        return None

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._wake()
        try:
            await self.conversation.aclose()
        except Exception:
            log.exception("user_function_raised_while_closing")

    async def _exchange(self, message: In) -> Out:
        await self._send(message)
        return await self.receive()

    async def _send(self, message: In) -> None:
        if self._has_ended():
            raise self._terminated()
        try:
            await self.conversation.receive(message)
        except Exception as error:
            self._broken = f"{type(error).__name__}: {error}"
            log.exception("user_function_raised")
            raise self._terminated() from error
        finally:
            # Somebody may wait for an answer while another sends.
            if self._has_ended():
                self._wake()

    def _has_ended(self) -> bool:
        return bool(self._broken) or self._closed or self.conversation.ended

    def _terminated(self) -> UserFunctionUnavailable:
        return UserFunctionUnavailable(_TERMINATION, detail=self._broken)

    async def _write(self, message: Message) -> None:
        self._arrived.append(message)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        # Whoever waited may have been cancelled.
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


class LocalLink(FunctionLink):
    """The way to a user function that lives here."""

    def __init__(
        self,
        user_function: UserFunction,
        clock: Clock,
        *,
        send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S,
    ) -> None:
        """Keep the user function and the time.

        Args:
            user_function: What serves the streams.
            clock: The time.
            send_timeout_s: How long it may take no message, where no other limit holds.
        """
        self._user_function = user_function
        self._clock = clock
        self._send_timeout_s = send_timeout_s
        self._calls = LocalCalls(user_function.methods, clock)

    def connect(self, caller: Caller) -> None:
        self._user_function.caller.connect(caller)

    def open_stream(self, rpc: Rpc[In, Out]) -> LocalStream[In, Out]:
        method = self._user_function.methods.get(rpc.path)
        if not isinstance(method, ConversationMethod):
            raise UserFunctionUnavailable(f"the user function does not serve {rpc.path}")
        return LocalStream(method, self._clock, self._send_timeout_s)

    async def call(self, rpc: Rpc[In, Out], message: In) -> Out:
        return await self._calls.call(rpc, message)

    def stream(self, rpc: Rpc[In, Out], messages: AsyncIterator[In]) -> AsyncGenerator[Out, None]:
        return self._calls.stream(rpc, messages)

    async def discover(self, info: ProxyInfo) -> EntitySpec:
        return self._user_function.spec(info)

    async def report_error(self, message: str) -> None:
        self._user_function.report_error(message)

    async def wait_until_lost(self) -> None:
        # It ends with this process.
        await asyncio.Event().wait()
