"""The user function's end of event-sourced streams: runs the application's handlers."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from cloudstate.entity_pb2 import Command
from cloudstate_core.answering import answer
from cloudstate_core.drive import Driver
from cloudstate_core.links import Write
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_eventsourced.context import (
    EventContext,
    EventSourcedCommandContext,
    SnapshotContext,
)
from cloudstate_eventsourced.entity import EventSourcedEntity
from cloudstate_eventsourced.session import (
    ApplyEvent,
    CallHandler,
    End,
    EventSourcedSession,
    Input,
    Instruction,
    OpenEntity,
    Raised,
    Returned,
    Send,
    SnapshotTaken,
    TakeSnapshot,
)

__all__ = ["EventSourcedServicer"]

log = structlog.get_logger()


class EventSourcedServicer:
    """One stream: the state of one entity, and the session that says what happens to it."""

    def __init__(
        self,
        entities: Mapping[str, EventSourcedEntity],
        snapshot_every_events: Mapping[str, int],
        write: Write[Message],
    ) -> None:
        """Wait for the runtime's first message.

        Args:
            entities: What is served, by full service name.
            snapshot_every_events: The session's part of that.
            write: Sends to the runtime.
        """
        self.ended = False
        self._entities = entities
        self._write = write
        self._driver: Driver[Input, Instruction] = Driver(
            EventSourcedSession(snapshot_every_events), self._perform
        )
        self._entity: EventSourcedEntity
        self._service_name = self._entity_id = ""
        self._state: object = None

    async def receive(self, message: Message, /) -> None:
        """Take the next message from the runtime."""
        await self._driver.run(message)  # type: ignore[arg-type]  # the link knows the class

    async def aclose(self) -> None:
        """Forget the state."""
        self._state = None

    async def _perform(self, instruction: Instruction) -> Input | None:
        match instruction:
            case CallHandler(command, sequence):
                return await self._call(command, sequence)
            case Send(message):
                await self._write(message)
                return None
            case End():
                self.ended = True
                return None
            case _:
                return self._change(instruction)

    def _change(self, instruction: OpenEntity | ApplyEvent | TakeSnapshot) -> Input | None:
        """Do what concerns the state alone, and never raise."""
        try:
            match instruction:
                case ApplyEvent(payload, sequence):
                    self._apply(payload, sequence)
                    return None
                case TakeSnapshot(sequence):
                    return self._take_snapshot(sequence)
                case OpenEntity():
                    self._open(instruction)
                    return None
        except Exception as error:
            return self._raised(error, type(instruction).__name__)

    def _open(self, opening: OpenEntity) -> None:
        self._entity = self._entities[opening.service_name]
        self._service_name = opening.service_name
        self._entity_id = opening.entity_id
        self._state = self._entity.initial_state(opening.entity_id)
        if opening.snapshot is not None:
            context = SnapshotContext(opening.entity_id, opening.sequence)
            self._state = self._entity.restore(self._state, opening.snapshot, context)

    def _apply(self, payload: Any, sequence: int) -> object:
        self._state = self._entity.apply(
            self._state, payload, EventContext(self._entity_id, sequence)
        )
        return self._state

    def _take_snapshot(self, sequence: int) -> SnapshotTaken:
        context = SnapshotContext(self._entity_id, sequence)
        return SnapshotTaken(self._entity.take_snapshot(self._state, context))

    async def _call(self, command: Command, sequence: int) -> Returned | Raised:
        context = EventSourcedCommandContext(
            entity_id=self._entity_id,
            service_name=self._service_name,
            command_name=command.name,
            command_id=command.id,
            sequence=sequence,
            state=self._state,
            apply=self._apply,
            metadata=Metadata.from_wire(command.metadata)
            if command.HasField("metadata")
            else EMPTY_METADATA,
        )
        try:
            method = self._entity.command(command.name)
            action = await answer(method, command.payload, context, self._state)
        except Exception as error:
            return self._raised(error, command.name)
        return Returned(action, context.events, context.side_effects)

    def _raised(self, error: Exception, doing: str) -> Raised:
        # The traceback is for the author of this process; the other side gets one line.
        log.error(
            "handler_raised",
            service=self._service_name,
            entity_id=self._entity_id,
            doing=doing,
            exc_info=error,
        )
        return Raised(f"{type(error).__name__}: {error}")
