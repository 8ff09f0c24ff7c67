"""The one shape that every stage of the request path has.

Front end, interceptors, router, region, activation and engine are all `CommandHandler`s: a
`Request` goes down, an `Outcome` comes back, or one after another where the method streams. Any
stage can be replaced by another of the same shape: a fake, a remote node, an interceptor.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import field
from typing import Protocol

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, SideEffect
from cloudstate_core.errors import UnknownService
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.value import value

__all__ = ["CommandHandler", "Conditions", "Departure", "Hop", "Outcome", "Request", "unstreamed"]


@value
class Hop:
    """One step by which a user function passed a request on.

    Attributes:
        service: The service that passed it on.
        command: The command of that service.
        how: "forward", "side effect" or "ask".
    """

    service: str
    command: str
    how: str


@value
class Conditions:
    """What must hold for a command to be carried out, and to be carried out only once.

    Attributes:
        command_key: The caller's name for the command: the same name gets the same answer again.
            Empty for none.
        expected_version: The version the entity must have, as in `Outcome.version`; None for any.
        message_id: The durable message that brings the command; empty for none. Its effects happen
            once, however often it comes.
        message_hops: Through how many durable messages the command has come.
    """

    command_key: str = ""
    expected_version: int | None = None
    message_id: str = ""
    message_hops: int = 0


class Departure(Protocol):
    """Tells when a caller does not wait any more."""

    def has_left(self) -> bool:
        """Return whether the caller is gone."""
        ...

    def when_left(self, listener: Callable[[], object] | None) -> None:
        """Have a function called when the caller leaves, in place of the one before; or none.

        It is not called for a caller that is gone already.
        """
        ...


@value
class Request:
    """One call of one method of one service.

    Attributes:
        service: Full name of the service.
        command: Name of the method, without the service.
        payload: The request message, packed; its bytes are those the client sent. Empty if the
            caller sends a stream.
        metadata: The client's headers. A kind passes on what it gets; the runtime takes them away
            where they are not to be passed on.
        deadline_s: When the caller stops waiting, on the runtime's monotonic clock; None for
            "no deadline of its own".
        hops: How the request came here; empty for a client's own request.
        messages: What a caller sends who sends a stream, each message packed, taken one at a time;
            None for one who sends the one message in `payload`.
        conditions: Under what the command is carried out; None for none.
        waiting: Entities that wait for the answer in the middle of a command of their own, each
            as service, "/" and entity id; the first one has waited longest.
        departure: Tells when the caller has left. What keeps no state is then cancelled; a command
            of an entity is not. None for a caller that waits in any case, or cancels by itself.
    """

    service: str
    command: str
    payload: Any
    metadata: Metadata = EMPTY_METADATA
    deadline_s: float | None = None
    hops: tuple[Hop, ...] = ()
    messages: AsyncIterator[Any] | None = None
    conditions: Conditions | None = None
    waiting: tuple[str, ...] = ()
    departure: Departure | None = field(default=None, compare=False, repr=False)

    def without_metadata(self) -> Request:
        """Return the same request without the client's headers."""
        # `dataclasses.replace` takes eight times as long, and every command may come through here.
        return Request(
            self.service,
            self.command,
            self.payload,
            EMPTY_METADATA,
            self.deadline_s,
            self.hops,
            self.messages,
            self.conditions,
            self.waiting,
            self.departure,
        )


@value
class Outcome:
    """What came of a request.

    Attributes:
        action: A reply, a forward or a failure that the user function answered; may be unset.
            What the router returns is never a forward.
        side_effects: What the user function asked to have called, in order.
        restart: Whether the activation must be started again from the store, although an answer
            was given: its user function says its memory no longer matches the store.
        version: The version that the entity has now; None if its kind has none.
        note: What the kind wants to read again where this outcome is remembered, and the same
            command is sent once more. Nobody else looks at it; empty for nothing.
    """

    action: ClientAction
    side_effects: Sequence[SideEffect] = ()
    restart: bool = False
    version: int | None = None
    note: bytes = b""


class CommandHandler(Protocol):
    """A stage of the request path."""

    async def handle(self, request: Request) -> Outcome:
        """Carry out one request of a method that takes one message and answers with one.

        Returns:
            What the user function answered, after everything it changed is durable.

        Raises:
            CloudstateError: Its `status` and text are what the client sees.
        """
        ...

    def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        """Carry out one request of a method that takes or answers with a stream of messages.

        Nothing happens before the first outcome is asked for, and nothing goes on in advance of
        the one who asks: that is how a slow caller holds a fast user function back.

        Yields:
            What the user function answered, one after another; exactly one if only the caller
            streams. A failure is the last one. Whoever does not take all of them closes the
            generator, which ends the call at the user function.

        Raises:
            CloudstateError: Its `status` and text are what the client sees, after what it has got.
        """
        ...


async def unstreamed(request: Request) -> AsyncGenerator[Outcome, None]:
    """Refuse a streamed request: the `stream` of a stage that has none.

    Raises:
        UnknownService: At the first outcome that is asked for.
    """
    raise UnknownService(
        f"method {request.command!r} of service {request.service!r} is not served as a stream"
    )
    yield  # type: ignore[unreachable]  # it makes this a generator
