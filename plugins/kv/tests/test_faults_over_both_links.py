"""The same failures whether the user function is in this process or behind a socket."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Any as AnyType

import pytest
from boards import HELD, PINBOARD, Boards
from google.protobuf.any_pb2 import Any
from pinboard.pinboard_pb2 import Board, Note, Text, Texts
from serving_boards import Serve, Served, serve

from cloudstate.entity_pb2 import Command
from cloudstate.value_entity_pb2 import (
    ValueEntityInit,
    ValueEntityInitState,
    ValueEntityStreamIn,
)
from cloudstate_core.anys import encode
from cloudstate_core.errors import (
    DeadlineExceeded,
    LimitExceeded,
    MalformedRequest,
    RevisionConflict,
    Stopping,
    StoreUnavailable,
    UnknownService,
    UserFunctionError,
    UserFunctionUnavailable,
    VersionMismatch,
)
from cloudstate_core.failure_code import code_of
from cloudstate_core.handler import Conditions, Outcome, Request
from cloudstate_core.status import Status
from cloudstate_core.store import MAX_PAYLOAD_BYTES, Commit, EntityKey, PutValue
from cloudstate_kv.context import ValueEntityCommandContext
from cloudstate_kv.engine import HANDLE

pytestmark = pytest.mark.usefixtures("logged")


def failure(outcome: Outcome) -> str:
    assert outcome.action.WhichOneof("action") == "failure", outcome
    return outcome.action.failure.description


# --- Failures ------------------------------------------------------------------------


async def test_a_failure_stores_nothing_and_the_entity_goes_on_where_it_was(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.pin("e", "a")
        outcome = await served.ask("PinAndFail", Texts(id="e", texts=["b", "c"]))

        assert failure(outcome) == "no pins left"
        assert code_of(outcome.action.failure) is Status.FAILED_PRECONDITION
        assert outcome.version == 1
        assert await served.stored("e") == (1, "a")
        assert await served.read("e") == "a"
        # It is the same stream, whose value was put back.
        assert served.boards.begun[-1] == ("e", "Read", 3, "a")
        assert served.seen.activated == ["e"]
        assert served.seen.crashed == []


async def test_commands_that_wait_behind_a_failure_see_the_value_before_it(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.pin("e", "a")
        failing = asyncio.create_task(served.ask("PinAndFail", Texts(id="e", texts=["b", HELD])))
        await served.boards.at_the_gate.acquire()
        waiting = [
            asyncio.create_task(served.pin("e", text, command="Extend")) for text in ("c", "d")
        ]
        await asyncio.sleep(0)
        served.boards.gate.set()

        assert failure(await failing) == "no pins left"
        assert [await each for each in waiting] == ["a c", "a c d"]


async def test_a_handler_that_raises_hurts_its_own_command_only(serving: Serve) -> None:
    async with serving() as served:
        await served.pin("e", "a")
        await served.pin("other", "x")
        with pytest.raises(UserFunctionError) as caught:
            await served.pin("e", "b", command="PinAndBreak")

        assert str(caught.value) == "Unexpected entity failure"
        assert caught.value.status is Status.INTERNAL
        assert "KeyError: 'secret'" in caught.value.detail
        assert served.seen.crashed == [("e", "Unexpected entity failure")]
        assert await served.stored("e") == (1, "a")
        # A fresh stream at once, with what is stored.
        assert await served.pin("e", "c", command="Extend") == "a c"
        assert served.boards.begun[-1] == ("e", "Extend", 1, "a")
        assert await served.pin("other", "y", command="Extend") == "x y"
        # The other entity was not even started again.
        assert served.seen.activated == ["e", "other", "e"]


def exits(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
    ctx.update(Note(text="half done"))
    sys.exit(3)


async def exits_later(texts: Texts, ctx: ValueEntityCommandContext) -> Text:
    await asyncio.sleep(0)
    exits(texts, ctx)
    raise AssertionError


@pytest.mark.parametrize(
    ("handler", "blocking"), [(exits, False), (exits_later, False), (exits, True)]
)
async def test_a_handler_that_exits_ends_its_own_command_and_not_the_process(
    serving: Serve, handler: AnyType, blocking: bool, logged: AnyType
) -> None:
    boards = Boards()
    boards.entities[0]._commands._methods.pop("PinAndBreak")
    boards.entities[0].command_handler("PinAndBreak", blocking=blocking)(handler)
    async with serving(boards=boards) as served:
        await served.pin("e", "a")
        with pytest.raises(UserFunctionError) as caught:
            await served.pin("e", "b", command="PinAndBreak")

        assert "raised SystemExit(3), which ends the command" in caught.value.detail
        assert await served.stored("e") == (1, "a")
        assert await served.pin("e", "c", command="Extend") == "a c"
    (entry,) = [entry for entry in logged if entry["event"] == "handler_raised"]
    assert isinstance(entry["exc_info"].__cause__, SystemExit)


async def test_many_handlers_that_raise_leave_the_others_alone(serving: Serve) -> None:
    async with serving() as served:
        commands = [
            served.pin(str(number), "a", command="PinAndBreak" if number % 3 else "Pin")
            for number in range(60)
        ]
        results = await asyncio.gather(*commands, return_exceptions=True)

        for number, result in enumerate(results):
            assert (result == "a") is (number % 3 == 0), result
            assert await served.stored(str(number)) == ((0, None) if number % 3 else (1, "a"))


async def test_a_value_of_another_type_says_why_each_time_and_can_be_replaced(
    serving: Serve,
) -> None:
    async with serving() as served:
        theirs = PutValue(0, encode(Text(text="x")))
        await served.store.inner.commit(Commit(EntityKey(PINBOARD, "e"), 99, (theirs,)))

        for _ in range(2):
            with pytest.raises(UserFunctionError) as caught:
                await served.read("e")
            assert caught.value.status is Status.INTERNAL
            assert "expected a stored state of type" in caught.value.detail
        await served.ask("Clear", Board(id="e"))
        assert await served.read("e") == ""
        assert await served.stored("e") == (2, None)


# --- Time ----------------------------------------------------------------------------


async def test_a_handler_that_takes_too_long_is_given_up_and_the_entity_works_again(
    serving: Serve,
) -> None:
    async with serving(relay_timeout_s=5.0) as served:
        await served.pin("e", "a")
        slow = asyncio.create_task(served.pin("e", "b", HELD))
        await served.boards.at_the_gate.acquire()
        await served.clock.advance(5.1)

        with pytest.raises(DeadlineExceeded):
            await slow
        assert await served.stored("e") == (1, "a")
        assert await served.pin("e", "c", command="Extend") == "a c"
        # What the late handler does now is of no use, and does no harm.
        served.boards.gate.set()
        await served.clock.advance(5.1)
        assert await served.read("e") == "a c"
        assert await served.stored("e") == (2, "a c")


async def test_a_caller_that_stops_waiting_does_not_undo_its_command(serving: Serve) -> None:
    async with serving() as served:
        caller = asyncio.create_task(served.pin("e", HELD))
        await served.boards.at_the_gate.acquire()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert await served.stored("e") == (0, None)
        served.boards.gate.set()

        assert await served.pin("e", "b", command="Extend") == f"{HELD} b"


async def test_draining_finishes_what_runs_and_takes_nothing_new(serving: Serve) -> None:
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving())
        await served.pin("other", "x")
        running = asyncio.create_task(served.pin("e", HELD))
        await served.boards.at_the_gate.acquire()
        served.opens_the_gate_at_the_end = False
        draining = asyncio.create_task(stack.aclose())
        while not served.runtime.draining:
            await asyncio.sleep(0)

        assert not running.done()
        served.boards.gate.set()
        assert await running == HELD
        await draining
    assert await served.stored("e") == (1, HELD)
    with pytest.raises((Stopping, UnknownService)):
        await served.pin("other", "y")
    assert await served.stored("other") == (1, "x")


# --- Write races and a store that fails ----------------------------------------------


async def interfere(served: Served, commit: Commit) -> None:
    """Be another writer who stores a value first."""
    theirs = PutValue(commit.writes[0].expected_revision, encode(Note(text="theirs")))  # type: ignore[union-attr]
    await served.store.inner.commit(Commit(commit.key, commit.epoch, (theirs,)))


async def test_a_write_race_that_is_lost_once_is_run_again_on_what_is_stored(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.pin("e", "a")
        served.store.before_commits = [partial(interfere, served)]

        assert await served.pin("e", "b", command="Extend") == "theirs b"
        assert await served.stored("e") == (3, "theirs b")
        assert served.seen.crashed == []


async def test_a_delete_does_not_delete_what_it_has_not_seen(serving: Serve) -> None:
    async with serving() as served:
        await served.pin("e", "a")
        served.store.before_commits = [partial(interfere, served)] * 2

        with pytest.raises(RevisionConflict):
            await served.ask("Clear", Board(id="e"))
        assert await served.stored("e") == (3, "theirs")


async def test_a_write_race_that_is_lost_twice_is_the_callers_to_know(serving: Serve) -> None:
    async with serving() as served:
        await served.pin("e", "a")
        served.store.before_commits = [partial(interfere, served)] * 2

        with pytest.raises(RevisionConflict) as caught:
            await served.pin("e", "b")
        assert caught.value.status is Status.ABORTED
        assert await served.stored("e") == (3, "theirs")
        assert await served.pin("e", "c", command="Extend") == "theirs c"


@pytest.mark.parametrize("is_stored", [False, True], ids=["not stored", "stored all the same"])
async def test_what_the_store_cannot_confirm_is_not_acknowledged(
    serving: Serve, is_stored: bool
) -> None:
    async with serving() as served:
        await served.pin("e", "a")

        async def fail(commit: Commit) -> None:
            if is_stored:
                await served.store.inner.commit(commit)
            raise StoreUnavailable("the disk is on fire")

        served.store.before_commits = [fail]
        with pytest.raises(StoreUnavailable):
            await served.pin("e", "b")

        # The next command asks the store what has become of it.
        expected = "b" if is_stored else "a"
        assert await served.read("e") == expected
        assert await served.pin("e", "c", command="Extend") == f"{expected} c"
        assert served.seen.activated == ["e", "e"]


async def test_a_value_that_is_too_large_for_the_store_is_refused() -> None:
    async with serve("local") as served:
        with pytest.raises(LimitExceeded):
            await served.pin("e", "x" * MAX_PAYLOAD_BYTES)

        assert await served.stored("e") == (0, None)
        assert await served.pin("e", "b") == "b"


# --- Conditions ----------------------------------------------------------------------


async def test_a_command_may_depend_on_the_revision(serving: Serve) -> None:
    async with serving() as served:
        for version, text in ((0, "a"), (1, "b")):
            conditions = Conditions(expected_version=version)
            message = Texts(id="e", texts=[text])
            outcome = await served.ask("Pin", message, conditions=conditions)
            assert outcome.version == version + 1
            with pytest.raises(VersionMismatch):
                await served.ask("Pin", message, conditions=conditions)
        assert await served.stored("e") == (2, "b")


async def test_a_command_with_a_key_is_carried_out_once(serving: Serve) -> None:
    async with serving() as served:
        message = Texts(id="e", texts=["a"])
        for _ in range(2):
            outcome = await served.ask("Extend", message, conditions=Conditions(command_key="k"))
            assert outcome.version == 1
            await served.clock.advance(31)
        await served.ask("Extend", message, conditions=Conditions(command_key="other"))
        assert await served.stored("e") == (2, "a a")


# --- What is no command --------------------------------------------------------------


async def test_bytes_that_are_no_command_hurt_nobody(serving: Serve) -> None:
    async with serving() as served:
        await served.pin("e", "a")
        payload = Any(type_url="type.googleapis.com/pinboard.Texts", value=b"\x0a\x01e\xff")
        with pytest.raises(MalformedRequest):
            await served.runtime.handler.handle(Request(PINBOARD, "Pin", payload))

        assert await served.read("e") == "a"


def command(**fields: AnyType) -> ValueEntityStreamIn:
    payload = encode(Board(id="e"))
    plain = {"entity_id": "e", "id": 1, "name": "Read", "payload": payload}
    return ValueEntityStreamIn(command=Command(**{**plain, **fields}))


INIT = ValueEntityStreamIn(
    init=ValueEntityInit(service_name=PINBOARD, entity_id="e", state=ValueEntityInitState())
)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([command()], (0, "expected init as the first message")),
        ([INIT, INIT], (0, "expected init only once")),
        ([INIT, ValueEntityStreamIn()], (0, "expected a message, found an empty one")),
        ([INIT, command(entity_id="f")], (1, "expected entity 'e', found 'f'")),
        ([INIT, command(payload=None)], (1, "expected a payload, found none")),
        ([INIT, command(name="Reed", id=4)], (4, "has no command 'Reed'")),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
async def test_messages_out_of_order_are_answered_by_a_failure_and_the_end_of_the_stream(
    serving: Serve, messages: list[ValueEntityStreamIn], expected: tuple[int, str]
) -> None:
    async with serving() as served:
        stream = served.link.open_stream(HANDLE)
        for message in messages[:-1]:
            await stream.send(message)
        answer = await stream.ask(messages[-1], 5.0)

        assert answer.WhichOneof("message") == "failure"
        assert answer.failure.command_id == expected[0]
        assert expected[1] in answer.failure.description
        with pytest.raises(UserFunctionUnavailable):
            await stream.receive()
        await stream.aclose()
        assert await served.pin("e", "b") == "b"
