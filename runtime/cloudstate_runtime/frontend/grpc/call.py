"""One call, as a method sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.status import Aborted
from cloudstate_runtime.frontend.grpc.wire import Headers, MessageReader

__all__ = ["Call", "Conversation", "Method", "Unary", "Wire"]


class Wire(Protocol):
    """The connection, as far as a call needs it."""

    async def send_message(self, call: Call, payload: bytes) -> None:
        """Send one message of a conversation, no faster than the client reads."""
        ...

    def consumed(self, call: Call, size_bytes: int) -> None:
        """Let the client send that much more."""
        ...


class Call:
    """One call of one method.

    Attributes:
        stream_id: Its stream on the connection.
        method: What is called.
        headers: The client's headers.
        deadline_s: When the client stops waiting, on the monotonic clock.
        reader: Puts the messages together.
        messages: Complete messages that nobody has read yet.
        received_all: Whether the client has no more to say.
        reply_headers: Sent before the first message.
        sent_headers: Whether they are out.
        is_over: Whether nothing more is to be sent, whoever ended it.
        task: What answers it.
        window_opened: Set when the client allows to send more.
    """

    __slots__ = (
        "_arrived",
        "_held_bytes",
        "_wire",
        "deadline_s",
        "headers",
        "is_over",
        "messages",
        "method",
        "reader",
        "received_all",
        "reply_headers",
        "sent_headers",
        "stream_id",
        "task",
        "window_opened",
    )

    def __init__(
        self,
        wire: Wire,
        stream_id: int,
        method: Method,
        headers: Headers,
        deadline_s: float,
        reader: MessageReader,
    ) -> None:
        self._wire = wire
        self.stream_id = stream_id
        self.method = method
        self.headers = headers
        self.deadline_s = deadline_s
        self.reader = reader
        self.messages: deque[bytes] = deque()
        self.received_all = False
        self.reply_headers: list[tuple[bytes, bytes]] = []
        self.sent_headers = False
        self.is_over = False
        self.task: asyncio.Task[None] | None = None
        self.window_opened: asyncio.Event | None = None
        self._arrived: asyncio.Event | None = None
        self._held_bytes = 0

    def received(self, messages: list[bytes], size_bytes: int) -> None:
        """Take messages that arrived in so many bytes."""
        if self.messages:
            # They wait already. The client may not fill the memory with more of them.
            self._held_bytes += size_bytes
        else:
            self._wire.consumed(self, size_bytes)
        self.messages.extend(messages)
        self.wake()

    def wake(self) -> None:
        """Let whoever reads look again."""
        if self._arrived is not None:
            self._arrived.set()

    async def read(self) -> bytes | None:
        """Return the next message; None if there are no more."""
        if self._arrived is None:
            self._arrived = asyncio.Event()
        while not self.messages:
            if self.received_all:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        message = self.messages.popleft()
        if not self.messages and self._held_bytes:
            self._wire.consumed(self, self._held_bytes)
            self._held_bytes = 0
        return message

    def only_message(self) -> bytes:
        """Return the one message of a call that is not streamed.

        Raises:
            Aborted: If the client sent none, or several.
        """
        if len(self.messages) != 1:
            reason = f"expected one message, found {len(self.messages)}"
            raise Aborted(Refusal(Status.INVALID_ARGUMENT, reason))
        return self.messages[0]

    async def write(self, payload: bytes) -> None:
        """Send one message of a conversation."""
        await self._wire.send_message(self, payload)


@dataclass(frozen=True, slots=True)
class Unary:
    """A method that takes one message and gives one. It runs to its end, whoever hangs up."""

    answer: Callable[[Call, bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A method that reads and writes as it likes. It is cancelled when the client hangs up."""

    hold: Callable[[Call], Awaitable[None]]


Method = Unary | Conversation
