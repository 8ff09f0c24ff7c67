from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from typing import Any as AnyType

import pytest
from google.protobuf.any_pb2 import Any
from notebook.notebook_pb2 import _ARCHIVE, _NOTEBOOK, LineAdded, Lines, Text
from one_stream import Notes, Stream, adding, declared, opened

from cloudstate.entity_pb2 import Failure
from cloudstate_core.anys import decode, encode
from cloudstate_core.errors import RegistrationError
from cloudstate_core.failure_code import code_of
from cloudstate_core.status import Status
from cloudstate_eventsourced.context import EventSourcedCommandContext


def plain_write(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
    for line in lines.lines:
        ctx.emit(LineAdded(line=line))
    return Text(text="".join(state.lines))


# --- Failures on purpose -------------------------------------------------------------


@pytest.mark.parametrize("emits", [False, True], ids=["nothing emitted", "emitted"])
async def test_a_failure_stands_alone_and_asks_for_a_restart_after_events(emits: bool) -> None:
    entity = adding(declared())

    @entity.command_handler("Write")
    def write(ctx: EventSourcedCommandContext) -> Text:
        ctx.effect(_ARCHIVE, "Keep", Lines())
        if emits:
            ctx.emit(LineAdded(line="a"))
        ctx.fail("not today", code=Status.FAILED_PRECONDITION)

    reply = await (await opened(entity)).ask("x")

    assert reply.client_action.failure.description == "not today"
    assert reply.client_action.failure.restart is emits
    assert code_of(reply.client_action.failure) is Status.FAILED_PRECONDITION
    assert (list(reply.events), list(reply.side_effects)) == ([], [])


async def test_a_handler_that_swallows_its_failure_has_failed() -> None:
    entity = adding(declared())

    @entity.command_handler("Write")
    def write(ctx: EventSourcedCommandContext) -> Text:
        try:
            ctx.fail("not today")
        except Exception:
            ctx.emit(LineAdded(line="a"))
        return Text(text="all is well")

    reply = await (await opened(entity)).ask("x")

    assert reply.client_action.failure.description == "not today"
    assert reply.client_action.failure.restart
    assert list(reply.events) == []


async def test_after_a_failure_with_events_the_stream_takes_no_command() -> None:
    entity = adding(declared())

    @entity.command_handler("Write")
    def write(ctx: EventSourcedCommandContext) -> Text:
        ctx.emit(LineAdded(line="a"))
        ctx.fail("not today")

    stream = await opened(entity)
    await stream.ask()
    await stream.command("Write")

    assert stream.failure().description.startswith("Protocol error: expected no command while")


# --- What goes wrong -----------------------------------------------------------------


def raising() -> AnyType:
    raise KeyError("secret")


async def test_a_handler_that_raises_ends_its_stream_and_no_other(
    logged: list[dict[str, AnyType]],
) -> None:
    entity = adding(declared())

    @entity.command_handler("Write")
    def write(lines: Lines, ctx: EventSourcedCommandContext) -> Text:
        ctx.emit(LineAdded(line="a"))
        return raising() if lines.lines else Text()

    broken, other = await opened(entity), await opened(entity)
    await broken.command("Write", "x")

    failure = broken.failure()
    assert (failure.command_id, failure.description) == (
        1,
        "Unexpected failure: KeyError: 'secret'",
    )
    assert not failure.restart
    assert await other.text() == Text()
    (entry,) = [entry for entry in logged if entry["event"] == "handler_raised"]
    assert (entry["service"], entry["entity_id"], entry["doing"]) == (
        "notebook.Notebook",
        "e",
        "Write",
    )
    assert isinstance(entry["exc_info"], KeyError)


def exiting(*_: object) -> AnyType:
    sys.exit(3)


EXITED = "Unexpected failure: RuntimeError: raised SystemExit(3), which ends the command"


@pytest.mark.parametrize("blocking", [False, True], ids=["in the loop", "in a thread"])
async def test_a_handler_that_exits_ends_its_stream_and_not_the_process(blocking: bool) -> None:
    entity = adding(declared())

    @entity.command_handler("Write", blocking=blocking)
    def write(lines: Lines, ctx: EventSourcedCommandContext) -> Text:
        ctx.emit(LineAdded(line="a"))
        return exiting() if lines.lines else Text()

    broken, other = await opened(entity), await opened(entity)
    await broken.command("Write", "x")

    assert broken.failure().description.startswith(EXITED)
    assert await other.text() == Text()


async def test_handlers_of_events_that_exit_end_their_stream_even_if_caught() -> None:
    def write(ctx: EventSourcedCommandContext) -> Text:
        with contextlib.suppress(SystemExit):
            ctx.emit(LineAdded())
        return Text(text="all is well")

    entity = declared()
    entity.command_handler("Write")(write)
    entity.event_handler(LineAdded)(lambda: sys.exit(3))
    emitting, replaying = await opened(entity), await opened(entity)
    await emitting.command("Write")
    await replaying.event(1, LineAdded())
    beginning = await opened(declared(exiting))

    for stream in (emitting, replaying, beginning):
        assert stream.failure().description.startswith(EXITED)


async def test_a_snapshot_function_that_exits_costs_its_snapshot_alone() -> None:
    entity = adding(declared(snapshot_every=1))
    entity.command_handler("Write")(plain_write)
    entity.snapshot()(exiting_snapshot)

    reply = await (await opened(entity)).ask("a")

    assert len(reply.events) == 1
    assert not reply.HasField("snapshot")


def exiting_snapshot(state: Notes) -> None:
    sys.exit(3)


async def test_an_unknown_command_is_a_failure_that_names_it() -> None:
    stream = await opened(declared())

    await stream.command("Wrote", id=3)

    assert stream.failure().command_id == 3
    assert "has no command 'Wrote'" in stream.failure().description


async def test_a_command_whose_bytes_are_no_command_is_a_failure() -> None:
    entity = declared()
    entity.command_handler("Write")(raising_if_called)
    stream = await opened(entity)

    await stream.command("Write", payload=Any(type_url="x/y", value=b"\xff"))

    assert "not a valid 'notebook.Lines'" in stream.failure().description


def raising_if_called() -> None:
    pytest.fail("the handler was called")


async def test_an_init_that_raises_is_a_failure_of_no_command() -> None:
    stream = await opened(declared(raising))

    assert stream.failure() == Failure(description="Unexpected failure: KeyError: 'secret'")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (LineAdded(), "Unexpected failure: KeyError: 'secret'"),
        ("unheard of", "no event handler for 'p.cloudstate.io/string'"),
    ],
    ids=["raises", "is missing"],
)
async def test_an_event_handler_that_fails_in_replay_is_a_failure_of_no_command(
    event: object, expected: str
) -> None:
    entity = declared()
    entity.event_handler(LineAdded)(raising)
    stream = await opened(entity)

    await stream.event(1, event)

    assert stream.failure().command_id == 0
    assert expected in stream.failure().description


async def test_a_snapshot_that_cannot_be_restored_is_a_failure_of_no_command() -> None:
    stream = await Stream(declared()).init(snapshot=(3, encode("text")))

    assert "no snapshot handler for 'p.cloudstate.io/string'" in stream.failure().description


async def test_an_event_handler_that_raises_in_emit_fails_the_command_even_if_caught() -> None:
    entity = declared()
    entity.event_handler(LineAdded)(raising)

    @entity.command_handler("Write")
    def write(ctx: EventSourcedCommandContext) -> Text:
        try:
            ctx.emit(LineAdded())
        except KeyError:
            return Text(text="all is well")
        return Text()

    stream = await opened(entity)
    await stream.command("Write")

    assert stream.failure().description == "Unexpected failure: KeyError: 'secret'"


async def test_an_event_handler_that_returns_no_state_is_named() -> None:
    entity = declared()
    entity.event_handler(LineAdded)(lambda: ["a"])

    @entity.command_handler("Write")
    def write(ctx: EventSourcedCommandContext) -> Text:
        ctx.emit(LineAdded())
        return Text()

    stream = await opened(entity)
    await stream.command("Write")

    assert "expected None or a new Notes, found list" in stream.failure().description


async def test_a_snapshot_that_cannot_be_taken_is_logged_and_left_out(
    logged: list[dict[str, AnyType]],
) -> None:
    entity = adding(declared(snapshot_every=1))
    entity.command_handler("Write")(plain_write)
    entity.snapshot()(raising)
    stream = await opened(entity)

    reply = await stream.ask("a")

    assert not reply.HasField("snapshot")
    assert [decode(event) for event in reply.events] == [LineAdded(line="a")]
    assert [entry["doing"] for entry in logged if entry["event"] == "handler_raised"] == [
        "TakeSnapshot"
    ]
    assert await stream.text("b") == Text(text="ab")


async def test_a_task_that_outlives_its_command_cannot_emit() -> None:
    entity, tasks = adding(declared()), []

    @entity.command_handler("Write")
    async def write(ctx: EventSourcedCommandContext) -> Text:
        async def later() -> None:
            ctx.emit(LineAdded(line="late"))

        tasks.append(asyncio.create_task(later()))
        return Text()

    stream = await opened(entity)
    assert list((await stream.ask()).events) == []

    with pytest.raises(RuntimeError, match="was used after its handler returned"):
        await tasks[0]
    assert list((await stream.ask()).events) == []
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_thread_that_outlives_its_command_changes_nothing() -> None:
    entity = adding(declared())
    has_begun, goes_on, has_ended = threading.Event(), threading.Event(), threading.Event()
    raised: list[Exception] = []

    @entity.command_handler("Write", blocking=True)
    def write(state: Notes, ctx: EventSourcedCommandContext) -> Text:
        has_begun.set()
        assert goes_on.wait(20)
        try:
            ctx.emit(LineAdded(line="late"))
        except RuntimeError as error:
            raised.append(error)
        has_ended.set()
        return Text()

    stream = await opened(entity)
    state = stream.conversation._state
    command = asyncio.create_task(stream.command("Write"))
    assert await asyncio.to_thread(has_begun.wait, 20)
    command.cancel()
    with pytest.raises(asyncio.CancelledError):
        await command
    goes_on.set()
    assert await asyncio.to_thread(has_ended.wait, 20)

    assert "was used after its handler returned" in str(raised[0])
    assert state == Notes()
    assert stream.sent == []


async def test_a_stream_that_is_closed_lets_go_of_the_state() -> None:
    entity = adding(declared())
    stream = await opened(entity)
    await stream.conversation.aclose()

    assert stream.conversation._state is None


async def test_only_event_sourced_entities_are_served() -> None:
    with pytest.raises(RegistrationError, match="expected an EventSourcedEntity, found Other"):
        Stream(Other(_NOTEBOOK))  # type: ignore[arg-type]


class Other:
    def __init__(self, service: object) -> None:
        self.service = service
