"""One call, as a method sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from cloudstate_core.errors import MalformedRequest
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.status import Aborted
from cloudstate_runtime.frontend.grpc.wire import Headers, MessageReader

__all__ = ["WITHIN_A_MESSAGE", "Call", "Conversation", "Method", "Unary", "Wire"]

#: What a client is told whose request ends too early.
WITHIN_A_MESSAGE = "the request ended in the middle of a message"

#: A client hears of read messages when they are so much together.
_CONFIRM_FROM_BYTES = 16 * 1024


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
        deadline_s: When the client stops waiting, on the monotonic clock; infinity for never.
        reader: Puts the messages together.
        messages: The complete messages of a call that begins when it has its one message.
        received_all: Whether the client has no more to say.
        reply_headers: Sent before the first message.
        sent_headers: Whether they are out.
        is_over: Whether nothing more is to be sent, whoever ended it.
        task: What answers it.
        window_opened: Set when the client allows to send more.
    """

    __slots__ = (
        "_arrived",
        "_has_left",
        "_listener",
        "_unconfirmed_bytes",
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
        self.messages: list[bytes] = []
        self.received_all = False
        self.reply_headers: list[tuple[bytes, bytes]] = []
        self.sent_headers = False
        self.is_over = False
        self.task: asyncio.Task[None] | None = None
        self.window_opened: asyncio.Event | None = None
        self._arrived: asyncio.Event | None = None
        self._unconfirmed_bytes = 0
        self._has_left = False
        self._listener: Callable[[], object] | None = None

    def has_left(self) -> bool:
        """Return whether the client has hung up."""
        return self._has_left

    def when_left(self, listener: Callable[[], object] | None) -> None:
        """Have a function called when the client hangs up."""
        self._listener = listener

    def leave(self) -> None:
        """Tell that the client has hung up."""
        self._has_left = True
        if self._listener is not None:
            self._listener()

    def received(self, data: bytes, size_bytes: int) -> None:
        """Keep what came of the messages until they are read.

        Args:
            data: What came.
            size_bytes: How much of the client's window it took.
        """
        self.reader.append(data)
        self._unconfirmed_bytes += size_bytes
        self.wake()

    def wake(self) -> None:
        """Let whoever reads look again."""
        if self._arrived is not None:
            self._arrived.set()

    async def read(self) -> bytes | None:
        """Return the next message; None if there are no more.

        The client may send more only as its messages are read.

        Raises:
            LimitExceeded: The message is too large.
            MalformedRequest: The message is not packed as it says, or ends before it is complete.
        """
        if self._arrived is None:
            self._arrived = asyncio.Event()
        while (message := self.reader.next_message()) is None:
            if self.received_all:
                if self.reader.is_within_a_message():
                    raise MalformedRequest(WITHIN_A_MESSAGE)
                return None
            # Somebody waits for the rest of this message, so it has to come.
            self._confirm(self._unconfirmed_bytes)
            self._arrived.clear()
            await self._arrived.wait()
        self._confirm(self._unconfirmed_bytes - self.reader.held_bytes(), _CONFIRM_FROM_BYTES)
        return message

    def _confirm(self, size_bytes: int, at_least_bytes: int = 1) -> None:
        if size_bytes >= at_least_bytes:
            self._unconfirmed_bytes -= size_bytes
            self._wire.consumed(self, size_bytes)

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
    """A method that takes one message and gives one.

    It runs to its end, whoever hangs up; what it calls is told of that.
    """

    answer: Callable[[Call, bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A method that reads and writes as it likes. It is cancelled when the client hangs up.

    It has no deadline but the client's.

    Attributes:
        hold: Holds it; returns when all is said.
        takes_one: Whether it begins when the client has sent its one message, not before.
        may_finish: Whether it goes on while the server drains.
    """

    hold: Callable[[Call], Awaitable[None]]
    takes_one: bool = False
    may_finish: bool = False


Method = Unary | Conversation
