from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from google.protobuf.any_pb2 import Any
from one_board_stream import Stream, keeping
from pinboard.pinboard_pb2 import _ARCHIVE, Note, Text, Texts

from cloudstate.entity_pb2 import Failure
from cloudstate_core.anys import Json, decode, encode
from cloudstate_core.failure_code import code_of
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status
from cloudstate_kv.context import ValueEntityCommandContext

pytestmark = pytest.mark.usefixtures("logged")


def shown(note: Note | None) -> Text:
    return Text(text="" if note is None else note.text)


# --- Handlers of every sort ----------------------------------------------------------


async def async_keep(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
    await asyncio.sleep(0)
    for text in texts.texts:
        ctx.update(Note(text=text))
        await asyncio.sleep(0)
    return shown(ctx.state)


def plain_keep(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
    for text in texts.texts:
        ctx.update(Note(text=text))
    return shown(ctx.state)


@pytest.mark.parametrize(
    ("handler", "options"),
    [(plain_keep, {}), (async_keep, {}), (plain_keep, {"blocking": True})],
    ids=["plain", "async", "blocking"],
)
async def test_a_handler_sees_what_it_has_made_of_the_state(
    handler: Callable[..., object], options: dict[str, bool]
) -> None:
    stream = await Stream(keeping(handler, **options)).init()

    reply = await stream.ask("a", "b")

    assert decode(reply.client_action.reply.payload) == Text(text="b")
    assert decode(reply.state_action.update.value) == Note(text="b")
    unchanged = await stream.ask()
    assert decode(unchanged.client_action.reply.payload) == Text(text="b")
    assert not unchanged.HasField("state_action")


async def test_a_blocking_handler_runs_in_a_thread() -> None:
    threads = []

    def keep() -> Text:
        threads.append(threading.get_ident())
        return Text()

    await (await Stream(keeping(keep, blocking=True)).init()).ask()

    assert threads != [threading.get_ident()]


async def test_a_handler_and_its_context_know_the_entity_and_the_command() -> None:
    seen: list[object] = []

    def keep(
        meta: Metadata, state: Note | None, ctx: ValueEntityCommandContext, texts: Texts
    ) -> Text:
        seen.append((ctx.service_name, ctx.entity_id, ctx.command_name, ctx.command_id))
        seen.append((meta, ctx.metadata, state, ctx.state, list(texts.texts)))
        return Text()

    stream = await Stream(keeping(keep)).init(encode(Note(text="a")))
    headers = Metadata([("cookie", "yes"), ("key-bin", b"\x00")])
    await stream.ask("x", id=9, metadata=headers.to_wire())

    note = Note(text="a")
    assert seen == [("pinboard.Archive", "e", "Keep", 9), (headers, headers, note, note, ["x"])]


async def test_a_state_that_is_changed_without_an_update_is_not_stored() -> None:
    def keep(state: Note | None, ctx: ValueEntityCommandContext) -> Text:
        assert state is not None
        state.text += "!"
        return shown(state)

    stream = await Stream(keeping(keep)).init(encode(Note(text="a")))

    for _ in range(2):
        reply = await stream.ask()
        assert decode(reply.client_action.reply.payload) == Text(text="a!")
        assert not reply.HasField("state_action")


async def test_json_may_be_the_state() -> None:
    def keep(state: Json | None, texts: Texts, ctx: ValueEntityCommandContext) -> Text:
        found = [] if state is None else state.value
        assert isinstance(found, list)
        ctx.update(Json("texts", [*found, *texts.texts]))
        return Text(text="".join(found))

    stream = await Stream(keeping(keep, Json)).init(encode(Json("other", ["a"])))

    assert await stream.text("b") == Text(text="a")
    assert await stream.text("c") == Text(text="ab")


# --- Failures ------------------------------------------------------------------------


async def test_a_failure_stands_alone_and_the_value_is_the_one_before() -> None:
    def keep(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
        before = shown(ctx.state)
        for text in texts.texts:
            ctx.effect(_ARCHIVE, "Keep", Texts(id="x"))
            ctx.update(Note(text=text))
            if text == "no":
                ctx.fail("not today", code=Status.FAILED_PRECONDITION)
        return before

    stream = await Stream(keeping(keep)).init()
    await stream.ask("a")

    reply = await stream.ask("b", "no", "c")

    failure = reply.client_action.failure
    assert (failure.command_id, failure.description, failure.restart) == (2, "not today", False)
    assert code_of(failure) is Status.FAILED_PRECONDITION
    assert not reply.HasField("state_action")
    assert not reply.side_effects
    assert await stream.text() == Text(text="a")


async def test_a_handler_that_swallows_its_failure_has_failed() -> None:
    def keep(ctx: ValueEntityCommandContext) -> Text:
        try:
            ctx.fail("not today")
        except Exception:
            ctx.update(Note(text="x"))
        return Text(text="all is well")

    stream = await Stream(keeping(keep)).init()
    reply = await stream.ask()

    assert reply.client_action.failure.description == "not today"
    assert not reply.HasField("state_action")


def raises(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
    ctx.update(Note(text="x"))
    raise KeyError("secret")


def updates_with_none(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
    ctx.update(Note(text="x"))
    ctx.update(None)
    return Text()


def updates_with_another_type(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
    ctx.update(Text(text="x"))
    return Text()


def replies_with_another_type(texts: Texts, ctx: ValueEntityCommandContext) -> Note:
    ctx.update(Note(text="x"))
    return Note()


def replies_with_nothing(texts: Texts, ctx: ValueEntityCommandContext) -> None:
    ctx.update(Note(text="x"))


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (raises, "KeyError: 'secret'"),
        (updates_with_none, "AnyError: expected a state of type pinboard.Note, found None"),
        (updates_with_another_type, "AnyError: expected a state of type pinboard.Note, found Text"),
        (replies_with_another_type, "expected a reply of type pinboard.Text, found pinboard.Note"),
        (replies_with_nothing, "expected a reply or a forward, found None"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_handler_that_goes_wrong_ends_the_stream_and_says_why(
    handler: Callable[..., object], why: str
) -> None:
    stream = await Stream(keeping(handler)).init()
    await stream.command()

    failure = stream.failure()
    assert failure.command_id == 1
    assert failure.description.startswith("Unexpected failure: ")
    assert why in failure.description
    await stream.command()
    assert len(stream.sent) == 1  # nothing more is said


async def test_the_author_is_shown_where_a_handler_went_wrong(
    logged: list[dict[str, object]],
) -> None:
    await (await Stream(keeping(raises)).init()).command()

    (entry,) = logged
    assert entry["event"] == "handler_raised"
    assert (entry["service"], entry["entity_id"]) == ("pinboard.Archive", "e")
    assert (entry["doing"], type(entry["exc_info"])) == ("Keep", KeyError)


async def test_what_cannot_be_read_fails_those_who_read_it() -> None:
    def keep(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
        ctx.update(Note(text="new"))
        return shown(ctx.state)

    stored = encode(Text(text="of another type"))
    replacing = await Stream(keeping(keep)).init(stored)
    assert await replacing.text() == Text(text="new")

    def look(state: Note | None) -> Text: ...

    reading = await Stream(keeping(look)).init(stored)
    await reading.command()
    assert "expected a stored state of type" in reading.failure().description


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": "Lock"}, "service pinboard.Archive has no command 'Lock'"),
        ({"payload": Any(type_url="x/pinboard.Texts", value=b"\xff")}, "not a valid"),
    ],
    ids=["unknown", "unreadable"],
)
async def test_a_command_that_is_none_ends_the_stream(fields: dict[str, object], why: str) -> None:
    stream = await Stream(keeping(plain_keep)).init()
    await stream.command(**fields)

    assert isinstance(stream.failure(), Failure)
    assert (stream.failure().command_id, why in stream.failure().description) == (1, True)
