"""Two event-sourced services for tests, and what a test sees of their handlers or holds back."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from google.protobuf.any_pb2 import Any
from notebook.notebook_pb2 import (
    _ARCHIVE,
    _NOTEBOOK,
    AllLines,
    LineAdded,
    Lines,
    Page,
    Text,
)

from cloudstate_core.anys import encode
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status
from cloudstate_eventsourced.context import (
    EventContext,
    EventSourcedCommandContext,
    SnapshotContext,
)
from cloudstate_eventsourced.entity import EventSourcedEntity

NOTEBOOK, ARCHIVE = str(_NOTEBOOK.full_name), str(_ARCHIVE.full_name)

#: A handler waits before it emits this line, until the test opens the gate.
HELD = "held"

#: The same, but only in the archive.
HELD_THERE = "held there"

#: The event handler raises at this line.
UNREADABLE = "unreadable"


@dataclass
class Notes:
    lines: list[str] = field(default_factory=list)

    def text(self) -> Text:
        return Text(text=" ".join(self.lines))


class Desk:
    """The two services.

    Attributes:
        applied: What event handlers were given: entity, sequence and line.
        restored: What snapshot handlers were given: entity, sequence and lines.
        taken: What snapshot functions were given: entity and sequence.
        begun: What command handlers were given: entity, command, command id and sequence.
        headers: What writing ones were given: service, and the entries of the metadata.
        most_at_once: The largest number of commands that ran at once for one entity.
        gate: What held lines wait for.
        at_the_gate: Released by each handler that comes to a held line.
    """

    def __init__(self, *, snapshot_every: int = 5) -> None:
        self.applied: list[tuple[str, int, str]] = []
        self.restored: list[tuple[str, int, list[str]]] = []
        self.taken: list[tuple[str, int]] = []
        self.begun: list[tuple[str, str, int, int]] = []
        self.headers: list[tuple[str, Metadata]] = []
        self.most_at_once = 0
        self.gate = asyncio.Event()
        self.at_the_gate = asyncio.Semaphore(0)
        self._running: defaultdict[str, int] = defaultdict(int)
        self.entities = (self._notebook(snapshot_every), self._archive())

    async def _write(self, state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> None:
        self.begun.append((ctx.entity_id, ctx.command_name, ctx.command_id, ctx.sequence))
        self.headers.append((ctx.service_name, ctx.metadata))
        self._running[ctx.entity_id] += 1
        self.most_at_once = max(self.most_at_once, self._running[ctx.entity_id])
        try:
            await asyncio.sleep(0)
            for line in lines.lines:
                if line == HELD or (line == HELD_THERE and ctx.service_name == ARCHIVE):
                    self.at_the_gate.release()
                    await self.gate.wait()
                ctx.emit(LineAdded(line=line))
        finally:
            self._running[ctx.entity_id] -= 1

    def _notebook(self, snapshot_every: int) -> EventSourcedEntity:
        entity = EventSourcedEntity(_NOTEBOOK, init_state=Notes, snapshot_every=snapshot_every)
        self._keep_lines(entity)

        @entity.command_handler("Write")
        async def write(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
            await self._write(state, lines, ctx)
            return state.text()

        @entity.command_handler("Read")
        def read(state: Notes, ctx: EventSourcedCommandContext) -> Text:
            self.begun.append((ctx.entity_id, ctx.command_name, ctx.command_id, ctx.sequence))
            return state.text()

        @entity.command_handler("WriteAndFail")
        async def write_and_fail(
            state: Notes, lines: Lines, ctx: EventSourcedCommandContext
        ) -> Text:
            await self._write(state, lines, ctx)
            ctx.fail("out of ink", code=Status.FAILED_PRECONDITION)

        @entity.command_handler("WriteAndBreak")
        async def write_and_break(
            state: Notes, lines: Lines, ctx: EventSourcedCommandContext
        ) -> Text:
            await self._write(state, lines, ctx)
            raise KeyError("secret")

        @entity.command_handler("WriteAndPass")
        async def write_and_pass(
            state: Notes, lines: Lines, ctx: EventSourcedCommandContext
        ) -> None:
            await self._write(state, lines, ctx)
            ctx.forward(_ARCHIVE, "Keep", Lines(id=lines.to, lines=lines.lines))

        @entity.command_handler("WriteAndTell")
        async def write_and_tell(
            state: Notes, lines: Lines, ctx: EventSourcedCommandContext
        ) -> None:
            await self._write(state, lines, ctx)
            told = Lines(id=lines.to, lines=lines.lines)
            ctx.effect(_ARCHIVE, "Keep", told, synchronous=lines.synchronous)

        @entity.snapshot()
        def snapshot(state: Notes, ctx: SnapshotContext) -> AllLines:
            self.taken.append((ctx.entity_id, ctx.sequence))
            return AllLines(lines=state.lines)

        @entity.snapshot_handler()
        def restore(state: Notes, stored: AllLines, ctx: SnapshotContext) -> None:
            self.restored.append((ctx.entity_id, ctx.sequence, list(stored.lines)))
            state.lines = list(stored.lines)

        return entity

    def _archive(self) -> EventSourcedEntity:
        entity = EventSourcedEntity(_ARCHIVE, init_state=Notes)
        self._keep_lines(entity)

        @entity.command_handler("Keep")
        async def keep(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
            await self._write(state, lines, ctx)
            return state.text()

        @entity.command_handler("Look")
        def look(state: Notes) -> Text:
            return state.text()

        @entity.command_handler("Bounce")
        def bounce(page: Page, ctx: EventSourcedCommandContext) -> None:
            self.begun.append((ctx.entity_id, ctx.command_name, ctx.command_id, ctx.sequence))
            ctx.forward(_ARCHIVE, "Bounce", page)

        @entity.command_handler("Wrap")
        def wrap(state: Notes) -> Any:
            return encode(state.text())

        return entity

    def _keep_lines(self, entity: EventSourcedEntity) -> None:
        @entity.event_handler(LineAdded)
        def added(state: Notes, event: LineAdded, ctx: EventContext) -> None:
            self.applied.append((ctx.entity_id, ctx.sequence, event.line))
            if event.line == UNREADABLE:
                raise ValueError("secret")
            state.lines.append(event.line)
