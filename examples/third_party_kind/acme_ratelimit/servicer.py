"""The user function's end of a stream: runs the application's handlers."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from google.protobuf.message import Message

from acme_ratelimit.context import RateLimitContext
from acme_ratelimit.entity import RateLimitedEntity
from acme_ratelimit.session import (
    CallHandler,
    End,
    Input,
    Instruction,
    Raised,
    RateLimitSession,
    Returned,
    Send,
)
from cloudstate_core.answering import answer
from cloudstate_core.drive import Driver
from cloudstate_core.links import Write
from cloudstate_core.metadata import Metadata

__all__ = ["RateLimitServicer"]

log = structlog.get_logger()


class RateLimitServicer:
    """One stream: a session, and the hands that carry out what it asks for."""

    def __init__(self, entities: Mapping[str, RateLimitedEntity], write: Write[Message]) -> None:
        """Wait for the runtime's first message.

        Args:
            entities: What is served, by full service name.
            write: Sends to the runtime.
        """
        self.ended = False
        self._entities = entities
        self._write = write
        session = RateLimitSession({name: entity.terms for name, entity in entities.items()})
        self._driver: Driver[Input, Instruction] = Driver(session, self._perform)

    async def receive(self, message: Message, /) -> None:
        """Take the next message from the runtime."""
        await self._driver.run(message)  # type: ignore[arg-type]  # the link knows the class

    async def aclose(self) -> None:
        """Let go of nothing: a rate limited entity has no state here."""

    async def _perform(self, instruction: Instruction) -> Input | None:
        match instruction:
            case Send(message):
                await self._write(message)
                return None
            case CallHandler():
                return await self._call(instruction)
            case End():
                self.ended = True
                return None

    async def _call(self, call: CallHandler) -> Returned | Raised:
        entity, command = self._entities[call.service_name], call.command
        context = RateLimitContext(
            entity_id=command.entity_id,
            service_name=call.service_name,
            command_name=command.name,
            command_id=command.id,
            available=call.available,
            terms=entity.terms,
            metadata=Metadata.from_wire(command.metadata),
        )
        try:
            action = await answer(entity.command(command.name), command.payload, context)
        except Exception as error:
            # The traceback is for the author of this process; the other side gets one line.
            log.exception("handler_raised", service=call.service_name, command=command.name)
            return Raised(f"{type(error).__name__}: {error}")
        return Returned(action, context.side_effects, context.taken)
