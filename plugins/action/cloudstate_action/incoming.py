"""What a handler reads: the messages of a call, each with its metadata."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from cloudstate.action_pb2 import ActionCommand
from cloudstate.entity_pb2 import Failure
from cloudstate_action.envelope import MessageEnvelope
from cloudstate_action.methods import ActionMethod
from cloudstate_core.anys import AnyError
from cloudstate_core.failure_code import with_code
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status

__all__ = ["BadMessage", "Incoming", "protocol_error"]

T = TypeVar("T")


class BadMessage(Exception):
    """A message cannot be handed to a handler.

    Attributes:
        failure: What the other end is answered.
    """

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.description)


def protocol_error(reason: str) -> BadMessage:
    """Return the error for what only a runtime can have done wrong."""
    return BadMessage(Failure(description=f"Protocol error: {reason}"))


class Incoming:
    """The messages of one call.

    Attributes:
        fault: Why no further message can be read; None if one may.
    """

    def __init__(self, method: ActionMethod, commands: AsyncIterator[ActionCommand]) -> None:
        """Keep the method and the protocol's messages after the first one."""
        self.fault: BadMessage | None = None
        self._method = method
        self._commands = commands

    def messages(self) -> AsyncIterator[object]:
        """Return the messages, to be taken one by one."""
        return _Stream(self._next, lambda message, _: message)

    def envelopes(self) -> AsyncIterator[MessageEnvelope[object]]:
        """Return the same messages in their envelopes; each is taken once."""
        return _Stream(self._next, _in_envelope)

    def check(self) -> None:
        """Raise what kept a message from being read, whatever the handler has made of it.

        Raises:
            BadMessage: A message could not be read.
        """
        if self.fault is not None:
            raise self.fault

    def read(self, command: ActionCommand) -> object:
        """Return the message that a command holds.

        Raises:
            BadMessage: It holds none, or bytes that are no such message.
        """
        try:
            if not command.HasField("payload"):
                raise protocol_error("expected a payload, found none")
            return self._method.read(command.payload)
        except AnyError as error:
            # The runtime passes on what a client sent, without looking into it.
            failure = Failure(description=str(error))
            self.fault = BadMessage(with_code(failure, Status.INVALID_ARGUMENT))
            raise self.fault from error
        except BadMessage as error:
            self.fault = error
            raise

    async def _next(self) -> tuple[object, ActionCommand]:
        command = await anext(self._commands)
        return self.read(command), command


def _in_envelope(message: object, command: ActionCommand) -> MessageEnvelope[object]:
    return MessageEnvelope(message, Metadata.from_wire(command.metadata))


class _Stream(AsyncIterator[T]):
    def __init__(
        self,
        following: Callable[[], Awaitable[tuple[object, ActionCommand]]],
        made_of: Callable[[object, ActionCommand], T],
    ) -> None:
        self._following = following
        self._made_of = made_of

    async def __anext__(self) -> T:
        return self._made_of(*await self._following())
