from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any as AnyType

import pytest
from google.protobuf.empty_pb2 import Empty
from notebook.notebook_pb2 import _ARCHIVE, AllLines, LineAdded, Lines, Page, Text
from one_stream import Notes, Stream, adding, declared, opened

from cloudstate_core.anys import AnyError, Json, decode, encode
from cloudstate_core.metadata import Metadata
from cloudstate_eventsourced.context import EventSourcedCommandContext, SnapshotContext
from cloudstate_eventsourced.entity import EventSourcedEntity

# --- Handlers of every sort ----------------------------------------------------------


async def async_write(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
    await asyncio.sleep(0)
    for line in lines.lines:
        ctx.emit(LineAdded(line=line))
        await asyncio.sleep(0)
    return Text(text="".join(state.lines))


def plain_write(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
    for line in lines.lines:
        ctx.emit(LineAdded(line=line))
    return Text(text="".join(state.lines))


@pytest.mark.parametrize(
    ("handler", "options"),
    [(plain_write, {}), (async_write, {}), (plain_write, {"blocking": True})],
    ids=["plain", "async", "blocking"],
)
async def test_a_handler_sees_the_events_it_has_emitted(
    handler: Callable[..., object], options: dict[str, bool]
) -> None:
    entity = adding(declared())
    entity.command_handler("Write", **options)(handler)
    stream = await opened(entity)

    reply = await stream.ask("a", "b")

    assert decode(reply.client_action.reply.payload) == Text(text="ab")
    assert [decode(event) for event in reply.events] == [LineAdded(line="a"), LineAdded(line="b")]
    assert await stream.text("c") == Text(text="abc")


async def test_a_blocking_handler_runs_in_a_thread_and_holds_nobody_up() -> None:
    entity, threads = adding(declared()), []
    goes_on = threading.Event()

    @entity.command_handler("Write", blocking=True)
    def write(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
        threads.append(threading.get_ident())
        if lines.lines:
            assert goes_on.wait(20)
            ctx.emit(LineAdded(line=lines.lines[0]))
        return Text(text="".join(state.lines))

    held, free = await opened(entity), await opened(entity)
    holding = asyncio.create_task(held.ask("a"))
    await free.ask()
    assert not holding.done()
    goes_on.set()

    assert [decode(event) for event in (await holding).events] == [LineAdded(line="a")]
    assert threading.get_ident() not in threads


async def test_a_handler_and_its_context_know_the_entity_and_the_command() -> None:
    entity, seen = adding(declared()), []

    @entity.command_handler("Write")
    def write(ctx: EventSourcedCommandContext, meta: Metadata) -> Text:
        seen.append((ctx.service_name, ctx.entity_id, ctx.command_name, ctx.command_id))
        seen.append((ctx.sequence, meta, ctx.metadata))
        return Text()

    stream = await Stream(entity).init(snapshot=None)
    await stream.event(1, LineAdded())
    await stream.event(2, LineAdded())
    headers = Metadata([("cookie", "yes"), ("key-bin", b"\x00")])
    await stream.ask(id=9, metadata=headers.to_wire())

    assert seen == [("notebook.Notebook", "e", "Write", 9), (2, headers, headers)]


async def test_each_stream_has_a_state_and_a_service_of_its_own() -> None:
    notebook = adding(declared())
    notebook.command_handler("Write")(plain_write)
    archive = EventSourcedEntity(_ARCHIVE, init_state=dict)
    archive.command_handler("Keep")(lambda: Text(text="kept"))
    first, second, third = (Stream(notebook, archive) for _ in range(3))
    await first.init()
    await second.init()
    await third.init("notebook.Archive")

    await first.text("a")
    assert await second.text("b") == Text(text="b")
    await third.command("Keep")
    assert decode(third.sent[0].reply.client_action.reply.payload) == Text(text="kept")


# --- States and values of every sort -------------------------------------------------


async def test_a_state_may_be_empty_and_replaced_by_an_empty_one() -> None:
    entity, seen = declared(int), []

    @entity.event_handler(int)
    def changed(state: int, event: int) -> int:
        return state + event

    @entity.command_handler("Write")
    def write(state: int, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
        for line in lines.lines:
            ctx.emit(int(line))
        seen.append((state, ctx.state))
        return Text()

    stream = await opened(entity)
    await stream.text("5")
    await stream.text("-5")
    await stream.text()

    # The handler holds the number it was given; the context knows what became of it.
    assert seen == [(0, 5), (5, 0), (0, 0)]


def takes_json(state: list[str]) -> Json:
    return Json("lines", state)


def from_json(stored: Json) -> list[str]:
    assert isinstance(stored.value, list)
    return stored.value


def takes_text(state: list[str]) -> str:
    return "".join(state)


def from_text(stored: str) -> list[str]:
    return list(stored)


def takes_message(state: list[str]) -> AllLines:
    return AllLines(lines=state)


def from_message(stored: AllLines) -> list[str]:
    return list(stored.lines)


@pytest.mark.parametrize(
    ("take", "restore", "type_url"),
    [
        (takes_json, from_json, "json.cloudstate.io/lines"),
        (takes_text, from_text, "p.cloudstate.io/string"),
        (takes_message, from_message, "type.googleapis.com/notebook.AllLines"),
    ],
)
async def test_a_snapshot_of_any_sort_brings_the_state_back(
    take: Callable[..., object], restore: Callable[..., object], type_url: str
) -> None:
    entity = declared(list, snapshot_every=2)

    @entity.event_handler(str)
    def added(state: list, event: str) -> None:
        state.append(event)

    @entity.command_handler("Write")
    def write(state: list, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
        for line in lines.lines:
            ctx.emit(line)
        return Text(text="".join(state))

    take.__annotations__["state"] = restore.__annotations__["return"] = list
    entity.snapshot()(take)
    entity.snapshot_handler()(restore)
    entity.validate = lambda: None  # type: ignore[method-assign]

    first = await opened(entity)
    assert not (await first.ask("a")).HasField("snapshot")
    taken = (await first.ask("b", "c")).snapshot
    assert taken.type_url == type_url

    second = await Stream(entity).init(snapshot=(3, taken))
    await second.event(4, "d")
    assert await second.text("e") == Text(text="abcde")


async def test_an_empty_snapshot_is_restored() -> None:
    entity, seen = declared(lambda: "fresh"), []
    entity.snapshot_handler()(from_text)
    entity.command_handler("Write")(lambda: Text(text=""))
    restored = seen.append

    @entity.snapshot_handler()
    def restore(stored: AllLines, ctx: SnapshotContext) -> str:
        restored((stored, ctx.sequence))
        return ""

    await Stream(entity).init(snapshot=(4, encode(AllLines())))

    assert seen == [(AllLines(), 4)]


# --- Replies -------------------------------------------------------------------------


async def test_nothing_stands_for_an_empty_reply() -> None:
    stream = await opened(declared())

    await stream.command("WriteAndTell")

    assert decode(stream.sent[0].reply.client_action.reply.payload) == Empty()


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (Lines(), "expected a reply of type notebook.Text, found notebook.Lines"),
        ("text", "expected a reply of type notebook.Text, found str"),
        (None, "expected a reply or a forward, found None"),
    ],
    ids=repr,
)
async def test_a_reply_of_the_wrong_type_names_the_handler(
    returned: object, expected: str, logged: list[dict[str, AnyType]]
) -> None:
    entity = declared()
    entity.command_handler("Write")(lambda: returned)
    stream = await opened(entity)

    await stream.command("Write")

    assert stream.failure().command_id == 1
    assert expected in stream.failure().description
    (error,) = [entry["exc_info"] for entry in logged if entry["event"] == "handler_raised"]
    assert isinstance(error, AnyError)
    assert "test_servicer.py:" in str(error)


async def test_a_forward_keeps_events_and_effects() -> None:
    entity = adding(declared())

    @entity.command_handler("Write")
    def write(lines: Lines, ctx: EventSourcedCommandContext) -> None:
        ctx.effect(_ARCHIVE, "Keep", lines)
        ctx.emit(LineAdded(line="a"))
        ctx.forward(_ARCHIVE, "Look", Page(id=lines.id))
        ctx.effect(_ARCHIVE, "Bounce", Page(id=lines.id), synchronous=True)

    reply = await (await opened(entity)).ask("x")

    assert reply.client_action.forward.command_name == "Look"
    assert [effect.command_name for effect in reply.side_effects] == ["Keep", "Bounce"]
    assert [decode(event) for event in reply.events] == [LineAdded(line="a")]
