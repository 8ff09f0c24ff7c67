"""The user function's end of event-sourced streams: runs the application's handlers."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from cloudstate_core.answering import answer
from cloudstate_core.caller import Caller
from cloudstate_core.handler_failure import failure_of
from cloudstate_core.links import Write
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_eventsourced.context import (
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
        caller: Caller,
        write: Write[Message],
    ) -> None:
        """Wait for the runtime's first message.

        Args:
            entities: What is served, by full service name.
            snapshot_every_events: The session's part of that.
            caller: How handlers reach other services.
            write: Sends to the runtime.
        """
        self._caller = caller
        self.ended = False
        self._entities = entities
        self._write = write
        self._session = EventSourcedSession(snapshot_every_events)
        self._entity: EventSourcedEntity
        self._service_name = self._entity_id = ""
        self._state: object = None

    @property
    def state(self) -> object:
        """The state in memory."""
        return self._state

    async def receive(self, message: Message, /) -> None:
        """Take the next message from the runtime."""
        # What a `Driver` does, but without a coroutine for what is done at once: a long history is
        # replayed as fast as this loop is.
        input_: Input | None = message  # type: ignore[assignment]  # the link knows the class
        while input_ is not None:
            instructions, input_ = self._session.receive(input_), None
            for instruction in instructions:  # of which only the last one has a result
                match instruction:
                    case ApplyEvent() | OpenEntity() | TakeSnapshot():
                        input_ = self._change(instruction)
                    case CallHandler():
                        input_ = await self._call(instruction)
                    case Send(out):
                        await self._write(out)
                    case End():
                        self.ended = True

    async def aclose(self) -> None:
        """Forget the state."""
        self._state = None

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
        except BaseException as error:  # such as `SystemExit`
            return self._raised(failure_of(error), type(instruction).__name__)

    def _open(self, opening: OpenEntity) -> None:
        self._entity = self._entities[opening.service_name]
        self._service_name = opening.service_name
        self._entity_id = opening.entity_id
        self._state = self._entity.initial_state(opening.entity_id)
        if opening.snapshot is not None:
            context = SnapshotContext(opening.entity_id, opening.sequence)
            self._state = self._entity.restore(self._state, opening.snapshot, context)

    def _apply(self, payload: Any, sequence: int) -> object:
        self._state = self._entity.apply(self._state, payload, self._entity_id, sequence)
        return self._state

    def _take_snapshot(self, sequence: int) -> SnapshotTaken:
        context = SnapshotContext(self._entity_id, sequence)
        return SnapshotTaken(self._entity.take_snapshot(self._state, context))

    async def _call(self, call: CallHandler) -> Returned | Raised:
        command = call.command
        context = EventSourcedCommandContext(
            entity_id=self._entity_id,
            service_name=self._service_name,
            command_name=command.name,
            command_id=command.id,
            sequence=call.sequence,
            state=self._state,
            apply=self._apply,
            metadata=Metadata.from_wire(command.metadata)
            if command.HasField("metadata")
            else EMPTY_METADATA,
            caller=self._caller,
        )
        try:
            method = self._entity.command(command.name)
            action = await answer(method, command.payload, context, self._state)
        except BaseException as error:  # such as `SystemExit`
            return self._raised(failure_of(error), command.name)
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
