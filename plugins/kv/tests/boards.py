"""Two services of value entities for tests, what a test sees of their handlers and holds back."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from google.protobuf.empty_pb2 import Empty
from pinboard.pinboard_pb2 import _ARCHIVE, _PINBOARD, Note, Text, Texts

from cloudstate_core.status import Status
from cloudstate_kv.context import ValueEntityCommandContext
from cloudstate_kv.entity import ValueEntity

PINBOARD, ARCHIVE = str(_PINBOARD.full_name), str(_ARCHIVE.full_name)

#: A handler waits before it pins this text, until the test opens the gate.
HELD = "held"

#: The same, but only in the archive.
HELD_THERE = "held there"


def shown(note: Note | None) -> Text:
    return Text(text="" if note is None else " ".join([*note.earlier, note.text]))


class Boards:
    """The two services.

    Attributes:
        begun: What command handlers were given: entity, command, command id and the state's text.
        most_at_once: The largest number of commands that ran at once for one entity.
        gate: What held texts wait for.
        at_the_gate: Released by each handler that comes to a held text.
    """

    def __init__(self) -> None:
        self.begun: list[tuple[str, str, int, str]] = []
        self.most_at_once = 0
        self.gate = asyncio.Event()
        self.at_the_gate = asyncio.Semaphore(0)
        self._running: defaultdict[str, int] = defaultdict(int)
        self.entities = (self._pinboard(), self._archive())

    def _begin(self, ctx: ValueEntityCommandContext) -> None:
        state = shown(ctx.state).text
        self.begun.append((ctx.entity_id, ctx.command_name, ctx.command_id, state))

    async def _pin(self, texts: Texts, ctx: ValueEntityCommandContext) -> None:
        """Put each text in the place of the one before."""
        self._begin(ctx)
        self._running[ctx.entity_id] += 1
        self.most_at_once = max(self.most_at_once, self._running[ctx.entity_id])
        try:
            await asyncio.sleep(0)
            for text in texts.texts:
                if text == HELD or (text == HELD_THERE and ctx.service_name == ARCHIVE):
                    self.at_the_gate.release()
                    await self.gate.wait()
                ctx.update(Note(text=text))
        finally:
            self._running[ctx.entity_id] -= 1

    def _pinboard(self) -> ValueEntity:
        entity = ValueEntity(_PINBOARD, state_type=Note)

        @entity.command_handler("Pin")
        async def pin(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
            await self._pin(texts, ctx)
            return shown(ctx.state)

        @entity.command_handler("Read")
        def read(state: Note | None, ctx: ValueEntityCommandContext) -> Text:
            self._begin(ctx)
            return shown(state)

        @entity.command_handler("Extend")
        async def extend(state: Note | None, texts: Texts, ctx: ValueEntityCommandContext) -> Text:
            self._begin(ctx)
            await asyncio.sleep(0)
            earlier = [] if state is None else [*state.earlier, state.text]
            *before, last = texts.texts
            ctx.update(Note(text=last, earlier=[*earlier, *before]))
            return shown(ctx.state)

        @entity.command_handler("Clear")
        def clear(ctx: ValueEntityCommandContext) -> Empty:
            ctx.delete()
            return Empty()

        @entity.command_handler("PinAndFail")
        async def pin_and_fail(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
            await self._pin(texts, ctx)
            ctx.fail("no pins left", code=Status.FAILED_PRECONDITION)

        @entity.command_handler("PinAndBreak")
        async def pin_and_break(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
            await self._pin(texts, ctx)
            raise KeyError("secret")

        @entity.command_handler("PinAndPass")
        async def pin_and_pass(texts: Texts, ctx: ValueEntityCommandContext) -> None:
            await self._pin(texts, ctx)
            ctx.forward(_ARCHIVE, "Keep", Texts(id=texts.to, texts=texts.texts))

        @entity.command_handler("PinAndTell")
        async def pin_and_tell(texts: Texts, ctx: ValueEntityCommandContext) -> Empty:
            await self._pin(texts, ctx)
            told = Texts(id=texts.to, texts=texts.texts)
            ctx.effect(_ARCHIVE, "Keep", told, synchronous=texts.synchronous)
            return Empty()

        return entity

    def _archive(self) -> ValueEntity:
        entity = ValueEntity(_ARCHIVE, state_type=Note)

        @entity.command_handler("Keep")
        async def keep(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
            await self._pin(texts, ctx)
            return shown(ctx.state)

        @entity.command_handler("Look")
        def look(state: Note | None) -> Text:
            return shown(state)

        return entity
