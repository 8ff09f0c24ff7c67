"""What a test gets to see of one command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import any_pb2

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.anys import AnyError, decode
from cloudstate_core.failure_code import code_of
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.status import Status

__all__ = ["Failed", "Handled", "KitError", "PassedOn", "answer_in", "unpacked"]


class KitError(AssertionError):
    """The test asks for something that cannot be.

    Mistakes in the call itself are found before anything is carried out; those that only a handler
    could meet, such as a question that nothing answers, when it met them.
    """


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure that a handler answered.

    Attributes:
        description: What the client is told.
        code: The status that the handler named; None if it named none.
    """

    description: str
    code: Status | None = None


@dataclass(slots=True)
class PassedOn:
    """A command that a handler passed on to another service: an effect, a forward, or an ask.

    Attributes:
        service: Full name of the service.
        command: Name of its method.
        message: The method's request, unpacked.
        metadata: Headers for it.
        synchronous: Whether it is an effect that the answer to the client waits for.
        answer: What came of it: the reply's message or `Failed`; None as long as nobody has
            answered, and where the kit has no such service.
    """

    service: str
    command: str
    message: Any
    metadata: Metadata = EMPTY_METADATA
    synchronous: bool = False
    answer: Any = None

    @property
    def name(self) -> str:
        """What was called: "service.command"."""
        return f"{self.service}.{self.command}"


@dataclass(frozen=True, slots=True)
class Handled:
    """What came of one command.

    Messages are unpacked; what has a type that no imported module knows stays a
    `google.protobuf.Any`.

    Attributes:
        entity_id: Which entity; empty where the service has none.
        reply: The reply's message; None if the handler failed or forwarded.
        failure: How the handler failed; None if it did not.
        forward: To whom the handler left the answer; None if it answered itself. If the kit has
            that service, `reply` and `failure` are what came of it.
        effects: What the handler wants to have called, in order.
        asked: What the handler asked, in order, with the answers it got.
        events: The events that this command stored, in order.
        metadata: The reply's headers.
        version: The entity's version after the command; None if its kind has no versions.
    """

    entity_id: str = ""
    reply: Any = None
    failure: Failed | None = None
    forward: PassedOn | None = None
    effects: tuple[PassedOn, ...] = ()
    asked: tuple[PassedOn, ...] = ()
    events: tuple[Any, ...] = ()
    metadata: Metadata = EMPTY_METADATA
    version: int | None = None
    _state: Callable[[], Any] = field(default=lambda: None, repr=False, compare=False)

    @property
    def state(self) -> Any:
        """The state after the command and before anything it passed on, as handlers get it.

        A copy; None where there is none.

        Raises:
            KitError: The kind shows no state.
        """
        return self._state()


def unpacked(payload: any_pb2.Any) -> Any:
    """Return what is in an `Any`, or the `Any` if nothing that is imported knows its type."""
    try:
        return decode(payload)
    except AnyError:
        return payload


def answer_in(action: ClientAction) -> Any:
    """Return the message of a reply, or how it failed; None if it is neither."""
    match action.WhichOneof("action"):
        case "reply":
            return unpacked(action.reply.payload)
        case "failure":
            return Failed(action.failure.description, code_of(action.failure))
        case _:
            return None
