"""Links: how the runtime talks to a user function, and what the user function offers.

The same two ends meet over a socket or inside one process:

* the user function's end of one stream is a `Conversation`, opened by a `ConversationMethod`;
* the runtime's end is an `EntityStream`, opened by a `FunctionLink`.

Neither end can tell which link it is on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo

__all__ = [
    "Conversation",
    "ConversationMethod",
    "EntityStream",
    "FunctionLink",
    "Rpc",
    "Write",
]

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[In, Out]):
    """One method of a protocol service.

    Attributes:
        path: As on the wire, such as `/cloudstate.EntityDiscovery/discover`.
        request_class: What the runtime sends.
        response_class: What the user function sends.
    """

    path: str
    request_class: type[In]
    response_class: type[Out]

    @property
    def service(self) -> str:
        """Full name of the protocol service."""
        return self.path[1:].rpartition("/")[0]


#: Sends one message to the other end; returns when it may send the next one.
Write = Callable[[Out], Awaitable[None]]


class Conversation(Protocol):
    """The user function's end of one bidirectional stream.

    Attributes:
        ended: Whether it has said its last word. The link then closes the stream, with success.
    """

    ended: bool

    async def receive(self, message: Message, /) -> None:
        """Take the next message from the runtime; answers go through `Write`.

        Called for one message at a time. An exception ends the stream with an error.
        """
        ...

    async def aclose(self) -> None:
        """The runtime has finished or the stream broke: let go of everything held."""
        ...


@dataclass(frozen=True, slots=True)
class ConversationMethod:
    """A bidirectional protocol method that a user function serves.

    Attributes:
        rpc: Which method.
        open: Starts the user function's end of a new stream.
    """

    rpc: Rpc[Any, Any]
    open: Callable[[Write[Message]], Conversation]


class EntityStream(ABC, Generic[In, Out]):
    """The runtime's end of one bidirectional stream to a user function.

    Not for use by two tasks at once.
    """

    @abstractmethod
    async def send(self, message: In) -> None:
        """Send one message and return when the next one may be sent.

        Raises:
            UserFunctionUnavailable: The stream broke or the other end has closed it.
        """

    @abstractmethod
    async def receive(self) -> Out:
        """Return the next message.

        Raises:
            UserFunctionUnavailable: The stream broke or the other end has closed it.
        """

    @abstractmethod
    async def ask(self, message: In, timeout_s: float) -> Out:
        """Send one message and return the next one that comes back.

        Args:
            message: What to send.
            timeout_s: How long both may take, in seconds.

        Raises:
            TimeoutError: No message came in time. The stream must not be used further.
            UserFunctionUnavailable: The stream broke or the other end has closed it.
        """

    @abstractmethod
    def unasked(self) -> bool:
        """Return whether a message waits, or the stream has ended, without having been asked.

        Between two commands either of them means that this stream cannot be used further.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Say that nothing follows, wait for the other end to finish, and close.

        Waits no longer than the link's close timeout; after that the stream is cut. Never raises
        for what the other end does.
        """


class FunctionLink(ABC):
    """The way to one user function."""

    @abstractmethod
    def open_stream(self, rpc: Rpc[In, Out]) -> EntityStream[In, Out]:
        """Start a stream. Trouble shows at the first `send` or `receive`, not here."""

    @abstractmethod
    async def discover(self, info: ProxyInfo) -> EntitySpec:
        """Ask what the user function serves.

        Raises:
            UserFunctionUnavailable: It does not answer.
        """

    @abstractmethod
    async def report_error(self, message: str) -> None:
        """Tell the user function what is wrong with it. Does not raise if that fails."""

    @abstractmethod
    async def wait_until_lost(self) -> None:
        """Return when the user function has gone away since it was last reached.

        Whoever gets this must discover again: what comes back may be another version.
        """
