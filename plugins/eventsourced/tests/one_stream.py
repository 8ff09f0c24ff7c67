"""The user function's end of one stream, driven by a test in the runtime's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any as AnyType

from google.protobuf.any_pb2 import Any
from notebook.notebook_pb2 import _NOTEBOOK, LineAdded, Lines

from cloudstate.entity_pb2 import Command, Failure
from cloudstate.event_sourced_pb2 import (
    EventSourcedEvent,
    EventSourcedInit,
    EventSourcedReply,
    EventSourcedSnapshot,
    EventSourcedStreamIn,
    EventSourcedStreamOut,
)
from cloudstate_core.anys import decode, encode
from cloudstate_core.caller import LateCaller
from cloudstate_eventsourced.entity import EventSourcedEntity
from cloudstate_eventsourced.plugin import EventSourcedKind


@dataclass
class Notes:
    lines: list[str] = field(default_factory=list)


def declared(init: Callable[..., object] = Notes, **options: AnyType) -> EventSourcedEntity:
    """Return an entity that can write lines, and answers everything else with nothing."""
    entity = EventSourcedEntity(_NOTEBOOK, [], init, **options)
    entity.command_handler("WriteAndTell")(lambda: None)
    return entity


def adding(entity: EventSourcedEntity) -> EventSourcedEntity:
    @entity.event_handler(LineAdded)
    def added(state: Notes, event: LineAdded) -> None:
        state.lines.append(event.line)

    return entity


class Stream:
    """The runtime's end of a stream to one entity, in the hands of a test."""

    def __init__(self, *entities: EventSourcedEntity) -> None:
        self.sent: list[EventSourcedStreamOut] = []
        (method,) = EventSourcedKind().protocol_methods(entities, LateCaller())
        self.conversation = method.open(self._write)
        self._command_id = 0

    async def _write(self, message: AnyType) -> None:
        self.sent.append(message)

    async def init(
        self, service: str = "notebook.Notebook", snapshot: tuple[int, Any] | None = None
    ) -> Stream:
        start = EventSourcedInit(service_name=service, entity_id="e")
        if snapshot is not None:
            sequence, state = snapshot
            start.snapshot.CopyFrom(
                EventSourcedSnapshot(snapshot_sequence=sequence, snapshot=state)
            )
        await self.conversation.receive(EventSourcedStreamIn(init=start))
        return self

    async def event(self, sequence: int, event: object) -> None:
        message = EventSourcedEvent(sequence=sequence, payload=encode(event))
        await self.conversation.receive(EventSourcedStreamIn(event=message))

    async def command(self, name: str = "Write", *lines: str, **fields: AnyType) -> None:
        self._command_id += 1
        payload = encode(Lines(id="e", lines=lines))
        command = Command(
            **{"entity_id": "e", "id": self._command_id, "name": name, "payload": payload, **fields}
        )
        await self.conversation.receive(EventSourcedStreamIn(command=command))

    async def ask(self, *lines: str, **fields: AnyType) -> EventSourcedReply:
        """Send Write, and return the reply to it."""
        await self.command("Write", *lines, **fields)
        message = self.sent.pop()
        assert not self.sent
        assert message.WhichOneof("message") == "reply", message
        assert not self.conversation.ended
        return message.reply

    async def text(self, *lines: str) -> AnyType:
        """Send Write, and return what it is answered with."""
        return decode((await self.ask(*lines)).client_action.reply.payload)

    def failure(self) -> Failure:
        """Return the last words on the stream, which were those of a failure."""
        (message,) = self.sent
        assert message.WhichOneof("message") == "failure", message
        assert self.conversation.ended
        return message.failure


async def opened(entity: EventSourcedEntity) -> Stream:
    return await Stream(entity).init()
