"""Links: how the runtime talks to a user function, and what the user function offers.

The same two ends meet over a socket or inside one process:

* an entity that is live has a stream of its own: its user function's end is a `Conversation`,
  opened by a `ConversationMethod`, the runtime's end an `EntityStream`, opened by a `FunctionLink`;
* what needs no state between two calls is a call of its own: the user function serves a
  `CallMethod`, the runtime uses `FunctionLink.call` and `FunctionLink.stream`.

Neither end can tell which link it is on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_core.caller import Caller
from cloudstate_core.errors import UserFunctionError

__all__ = [
    "CallMethod",
    "Conversation",
    "ConversationMethod",
    "EntityStream",
    "FunctionLink",
    "NamedConversation",
    "ProtocolMethod",
    "Rpc",
    "StatefulConversation",
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
        client_streaming: Whether the runtime sends a stream of messages, or exactly one.
        server_streaming: Whether the user function sends a stream of messages, or exactly one.
    """

    path: str
    request_class: type[In]
    response_class: type[Out]
    client_streaming: bool = True
    server_streaming: bool = True

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


class StatefulConversation(Conversation, Protocol):
    """A conversation that holds an entity's state, and shows it to the application's tests.

    Attributes:
        state: As the next handler gets it; None where there is none.
    """

    @property
    def state(self) -> object:
        """Return the state itself, not a copy."""
        ...


class NamedConversation(StatefulConversation, Protocol):
    """One that says whose state it holds, which a test cannot tell without `RuntimeHost.region`.

    Attributes:
        entity: Full name of the service, and the entity id; None before the first message.
    """

    @property
    def entity(self) -> tuple[str, str] | None:
        """Return whose it is."""
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


@dataclass(frozen=True, slots=True)
class CallMethod:
    """A protocol method of any shape that a user function serves call by call.

    Attributes:
        rpc: Which method.
        serve: Serves one call: takes what the runtime sends, one message if the method takes one,
            and yields what it is answered, exactly one if the method answers with one. Nothing
            is read or made before it is asked for. Closing the generator cancels the call; an
            exception ends it with an error.
    """

    rpc: Rpc[Any, Any]
    serve: Callable[[AsyncIterator[Any]], AsyncGenerator[Message, None]]


#: A method of a protocol service, as a user function serves it.
ProtocolMethod = ConversationMethod | CallMethod


class EntityStream(ABC, Generic[In, Out]):
    """The runtime's end of one bidirectional stream to a user function.

    One task may send while another one receives; it is not for more tasks than that.
    """

    @abstractmethod
    async def send(self, message: In) -> None:
        """Send one message and return when the next one may be sent.

        Raises:
            UserFunctionUnavailable: The stream broke or the other end has closed it.
        """

    async def send_all(self, messages: Iterable[In]) -> None:
        """Send messages in order and return when the next one may be sent.

        Messages are taken from `messages` one by one, each when it can be sent. To be overridden
        where many cost less than one by one.

        Raises:
            UserFunctionUnavailable: The stream broke or the other end has closed it. Some messages
                may have arrived.
        """
        for message in messages:
            await self.send(message)

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
    def unasked(self) -> UserFunctionError | None:
        """Return what the user function did without having been asked; None if nothing.

        Between two commands it has nothing to say, and only the runtime ends a stream (Cloudstate
        protocol, passivation). Whatever is returned, the stream cannot be used further. It is a
        `UserFunctionUnavailable` if the user function goes away, which is no fault of it.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Say that nothing follows, wait for the other end to finish, and close.

        Waits no longer than the link's close timeout; after that the stream is cut. Never raises
        for what the other end does.
        """


class FunctionLink(ABC):
    """The way to one user function."""

    def connect(self, caller: Caller) -> None:  # noqa: B027  # most links lead to another process
        """Let handlers of the user function reach other services this way.

        Nothing happens if it is in another process, which finds its own way.
        """

    @abstractmethod
    def open_stream(self, rpc: Rpc[In, Out]) -> EntityStream[In, Out]:
        """Start a stream. Trouble shows at the first `send` or `receive`, not here."""

    @abstractmethod
    async def call(self, rpc: Rpc[In, Out], message: In) -> Out:
        """Send one message to a method that takes one, and return the one it answers with.

        Has no time limit of its own: whoever stops waiting cancels the call.

        Raises:
            UserFunctionUnavailable: The user function cannot be reached, or went away meanwhile.
            UserFunctionError: It failed.
        """

    @abstractmethod
    def stream(self, rpc: Rpc[In, Out], messages: AsyncIterator[In]) -> AsyncGenerator[Out, None]:
        """Call a method that takes or answers with a stream, or both.

        Messages are taken from `messages` when the other end can take them, and answers are
        received when they are asked for. What `messages` raises ends the call and is raised here.
        Closing the generator cancels the call; `messages` is then not asked any more.

        Args:
            rpc: Which method.
            messages: What to send; exactly one if the method takes one.

        Yields:
            What comes back; exactly one if the method answers with one.

        Raises:
            UserFunctionUnavailable: The user function cannot be reached, or went away meanwhile.
            UserFunctionError: It failed.
        """

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
