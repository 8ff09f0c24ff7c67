"""The user function's end of value entities' streams: runs the application's handlers."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from google.protobuf.message import Message

from cloudstate_core.answering import answer
from cloudstate_core.caller import Caller
from cloudstate_core.drive import Driver
from cloudstate_core.handler_failure import failure_of
from cloudstate_core.links import Write
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_kv.context import ValueEntityCommandContext
from cloudstate_kv.entity import ValueEntity
from cloudstate_kv.session import (
    CallHandler,
    End,
    Input,
    Instruction,
    Raised,
    Returned,
    Send,
    ValueSession,
)

__all__ = ["ValueServicer"]

log = structlog.get_logger()


class ValueServicer:
    """One stream: the handlers of one entity, and the session that says what happens to it."""

    def __init__(
        self, entities: Mapping[str, ValueEntity], caller: Caller, write: Write[Message]
    ) -> None:
        """Wait for the runtime's first message.

        Args:
            entities: What is served, by full service name.
            caller: How handlers reach other services.
            write: Sends to the runtime.
        """
        self.ended = False
        self._entities = entities
        self._caller = caller
        self._write = write
        self._session = ValueSession(entities)
        self._driver: Driver[Input, Instruction] = Driver(self._session, self._perform)

    @property
    def state(self) -> object:
        """The state as the next handler gets it."""
        entity = self._entities.get(self._session.service_name)
        if entity is None:
            return None
        return entity.draft(self._session.entity_id, self._session.stored).state

    async def receive(self, message: Message, /) -> None:
        """Take the next message from the runtime."""
        await self._driver.run(message)  # type: ignore[arg-type]  # the link knows the class

    async def aclose(self) -> None:
        """Hold nothing: the session goes with the stream."""

    async def _perform(self, instruction: Instruction) -> Input | None:
        match instruction:
            case CallHandler():
                return await self._call(instruction)
            case Send(message):
                await self._write(message)
                return None
            case End():
                self.ended = True
                return None

    async def _call(self, call: CallHandler) -> Returned | Raised:
        entity, command = self._entities[call.service_name], call.command
        context = ValueEntityCommandContext(
            entity_id=command.entity_id,
            service_name=call.service_name,
            command_name=command.name,
            command_id=command.id,
            draft=entity.draft(command.entity_id, call.stored),
            metadata=Metadata.from_wire(command.metadata)
            if command.HasField("metadata")
            else EMPTY_METADATA,
            caller=self._caller,
        )
        try:
            method = entity.command(command.name)
            # A handler that does not ask for the state works whatever is stored.
            state = context.state if entity.takes_state(method) else None
            action = await answer(method, command.payload, context, state)
        except BaseException as error:  # a type of state may exit as well as a handler
            return _raised(failure_of(error), call)
        return Returned(action, context.state_action, context.side_effects)


def _raised(error: Exception, call: CallHandler) -> Raised:
    # The traceback is for the author of this process; the other side gets one line.
    log.error(
        "handler_raised",
        service=call.service_name,
        entity_id=call.command.entity_id,
        doing=call.command.name,
        exc_info=error,
    )
    return Raised(f"{type(error).__name__}: {error}")
