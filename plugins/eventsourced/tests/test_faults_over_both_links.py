"""The same failures whether the user function is in this process or behind a socket."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Any as AnyType

import pytest
from desk import HELD, NOTEBOOK, UNREADABLE, Desk
from google.protobuf.any_pb2 import Any
from notebook.notebook_pb2 import LineAdded, Lines, Page
from served import Serve, Served, serve

from cloudstate.entity_pb2 import Command
from cloudstate.event_sourced_pb2 import (
    EventSourcedEvent,
    EventSourcedInit,
    EventSourcedStreamIn,
)
from cloudstate_core.anys import encode
from cloudstate_core.errors import (
    DeadlineExceeded,
    LimitExceeded,
    MalformedRequest,
    SequenceConflict,
    Stopping,
    StoreUnavailable,
    UnknownService,
    UserFunctionError,
    UserFunctionUnavailable,
)
from cloudstate_core.failure_code import code_of
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.status import Status
from cloudstate_core.store import MAX_PAYLOAD_BYTES, AppendEvents, Commit, EntityKey
from cloudstate_eventsourced.engine import HANDLE

pytestmark = pytest.mark.usefixtures("logged")


def failure(outcome: Outcome) -> str:
    assert outcome.action.WhichOneof("action") == "failure", outcome
    return outcome.action.failure.description


# --- Failures ------------------------------------------------------------------------


async def test_a_failure_after_events_stores_nothing_and_starts_the_entity_again(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.write("e", "a")
        outcome = await served.ask("WriteAndFail", Lines(id="e", lines=["b", "c"]))

        assert failure(outcome) == "out of ink"
        assert code_of(outcome.action.failure) is Status.FAILED_PRECONDITION
        assert await served.stored("e") == ["a"]
        assert await served.read("e") == "a"
        assert served.desk.begun[-1] == ("e", "Read", 1, 1)
        # It was started before anybody asked, and the failure is no crash.
        assert served.seen.activated == ["e", "e"]
        assert served.seen.crashed == []
        assert await served.write("e", "d") == "a d"
        assert await served.stored("e") == ["a", "d"]


async def test_a_failure_without_events_leaves_the_entity_where_it_is(serving: Serve) -> None:
    async with serving() as served:
        await served.write("e", "a")
        assert failure(await served.ask("WriteAndFail", Lines(id="e"))) == "out of ink"

        assert await served.read("e") == "a"
        assert served.desk.begun[-1] == ("e", "Read", 3, 1)
        assert served.seen.activated == ["e"]
        assert await served.stored("e") == ["a"]


async def test_commands_that_wait_behind_a_failure_run_after_the_restart(serving: Serve) -> None:
    async with serving() as served:
        await served.write("e", "a")
        failing = asyncio.create_task(served.ask("WriteAndFail", Lines(id="e", lines=["b", HELD])))
        await served.desk.at_the_gate.acquire()
        waiting = [asyncio.create_task(served.write("e", line)) for line in ("c", "d")]
        await asyncio.sleep(0)
        served.desk.gate.set()

        assert failure(await failing) == "out of ink"
        assert [await each for each in waiting] == ["a c", "a c d"]
        assert await served.stored("e") == ["a", "c", "d"]


async def test_a_handler_that_raises_hurts_its_own_command_only(serving: Serve) -> None:
    async with serving() as served:
        await served.write("e", "a")
        await served.write("other", "x")
        with pytest.raises(UserFunctionError) as caught:
            await served.write("e", "b", command="WriteAndBreak")

        assert str(caught.value) == "Unexpected entity failure"
        assert caught.value.status is Status.INTERNAL
        assert "KeyError: 'secret'" in caught.value.detail
        assert served.seen.crashed == [("e", "Unexpected entity failure")]
        assert await served.stored("e") == ["a"]
        assert await served.write("e", "c") == "a c"
        assert await served.write("other", "y") == "x y"
        # The other entity was not even started again.
        assert served.seen.activated == ["e", "other", "e"]
        assert await served.stored("e") == ["a", "c"]


async def test_many_handlers_that_raise_leave_the_others_alone(serving: Serve) -> None:
    async with serving() as served:
        commands = [
            served.write(str(number), "a", command="WriteAndBreak" if number % 3 else "Write")
            for number in range(60)
        ]
        results = await asyncio.gather(*commands, return_exceptions=True)

        for number, result in enumerate(results):
            assert (result == "a") is (number % 3 == 0), result
            assert await served.stored(str(number)) == ([] if number % 3 else ["a"])


async def test_an_event_that_cannot_be_applied_is_not_stored(serving: Serve) -> None:
    async with serving() as served:
        await served.write("e", "a")
        with pytest.raises(UserFunctionError) as caught:
            await served.write("e", "b", UNREADABLE)

        assert str(caught.value) == "Unexpected entity failure"
        assert await served.stored("e") == ["a"]
        assert await served.read("e") == "a"


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (LineAdded(line=UNREADABLE), "ValueError: secret"),
        ("text", "no event handler for 'p.cloudstate.io/string'"),
    ],
    ids=["raises", "is missing"],
)
@pytest.mark.parametrize("behind", [0, 600], ids=["last", "long before the last"])
async def test_an_entity_that_cannot_be_replayed_says_why_each_time(
    serving: Serve, event: object, why: str, behind: int
) -> None:
    async with serving() as served:
        key = EntityKey(NOTEBOOK, "e")
        events = [encode(event), *[encode(LineAdded(line="a"))] * behind]
        await served.store.inner.commit(Commit(key, 99, (AppendEvents(0, events),)))

        for _ in range(2):
            with pytest.raises(UserFunctionError) as caught:
                await served.read("e")
            assert str(caught.value) == "Unexpected entity failure"
            assert caught.value.status is Status.INTERNAL
            assert why in caught.value.detail
        assert await served.read("other") == ""


async def test_an_entity_whose_state_cannot_be_made_says_why(serving: Serve) -> None:
    desk = Desk()

    def init() -> object:
        raise ZeroDivisionError("secret")

    desk.entities[0]._initial_state._make = init
    async with serving(desk=desk) as served:
        with pytest.raises(UserFunctionError) as caught:
            await served.read("e")

        assert str(caught.value) == "Unexpected entity failure"
        assert "ZeroDivisionError: secret" in caught.value.detail


# --- Time ----------------------------------------------------------------------------


async def test_a_handler_that_takes_too_long_is_given_up_and_the_entity_works_again(
    serving: Serve,
) -> None:
    async with serving(relay_timeout_s=5.0) as served:
        await served.write("e", "a")
        slow = asyncio.create_task(served.write("e", "b", HELD, "c"))
        await served.desk.at_the_gate.acquire()
        await served.clock.advance(5.1)

        with pytest.raises(DeadlineExceeded):
            await slow
        assert await served.stored("e") == ["a"]
        assert await served.write("e", "d") == "a d"
        # What the late handler does now is of no use, and does no harm.
        served.desk.gate.set()
        await served.clock.advance(5.1)
        assert await served.read("e") == "a d"
        assert await served.stored("e") == ["a", "d"]


async def test_a_caller_that_stops_waiting_does_not_undo_its_command(serving: Serve) -> None:
    async with serving() as served:
        caller = asyncio.create_task(served.write("e", "a", HELD))
        await served.desk.at_the_gate.acquire()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert await served.stored("e") == []
        served.desk.gate.set()

        assert await served.write("e", "b") == f"a {HELD} b"
        assert await served.stored("e") == ["a", HELD, "b"]


async def test_draining_finishes_what_runs_and_takes_nothing_new(serving: Serve) -> None:
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving())
        await served.write("other", "x")
        running = asyncio.create_task(served.write("e", "a", HELD))
        await served.desk.at_the_gate.acquire()
        served.opens_the_gate_at_the_end = False
        draining = asyncio.create_task(stack.aclose())
        while not served.runtime.draining:
            await asyncio.sleep(0)

        assert not running.done()
        served.desk.gate.set()
        assert await running == f"a {HELD}"
        await draining
    assert await served.stored("e") == ["a", HELD]
    with pytest.raises((Stopping, UnknownService)):
        await served.write("other", "y")
    assert await served.stored("other") == ["x"]


# --- Write races and a store that fails ----------------------------------------------


async def interfere(served: Served, commit: Commit) -> None:
    """Be another writer who stores a line first."""
    line = AppendEvents(commit.writes[0].expected_sequence, [encode(LineAdded(line="theirs"))])
    await served.store.inner.commit(Commit(commit.key, commit.epoch, (line,)))


async def test_a_write_race_that_is_lost_once_is_run_again_on_what_is_stored(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.write("e", "a")
        served.store.before_commits = [partial(interfere, served)]

        assert await served.write("e", "b") == "a theirs b"
        assert await served.stored("e") == ["a", "theirs", "b"]
        assert served.seen.crashed == []


async def test_a_write_race_that_is_lost_twice_is_the_callers_to_know(serving: Serve) -> None:
    async with serving() as served:
        await served.write("e", "a")
        served.store.before_commits = [partial(interfere, served)] * 2

        with pytest.raises(SequenceConflict) as caught:
            await served.write("e", "b")
        assert caught.value.status is Status.ABORTED
        assert await served.stored("e") == ["a", "theirs", "theirs"]
        assert await served.write("e", "c") == "a theirs theirs c"


@pytest.mark.parametrize("is_stored", [False, True], ids=["not stored", "stored all the same"])
async def test_what_the_store_cannot_confirm_is_not_acknowledged(
    serving: Serve, is_stored: bool
) -> None:
    async with serving() as served:
        await served.write("e", "a")

        async def fail(commit: Commit) -> None:
            if is_stored:
                await served.store.inner.commit(commit)
            raise StoreUnavailable("the disk is on fire")

        served.store.before_commits = [fail]
        with pytest.raises(StoreUnavailable):
            await served.write("e", "b", "c")

        # The next command asks the store what has become of it.
        expected = ["a", "b", "c"] if is_stored else ["a"]
        assert await served.stored("e") == expected
        assert await served.write("e", "d") == " ".join([*expected, "d"])
        assert await served.stored("e") == [*expected, "d"]
        assert served.seen.activated == ["e", "e"]


async def test_an_event_that_is_too_large_for_the_store_is_refused() -> None:
    async with serve("local") as served:
        with pytest.raises(LimitExceeded):
            await served.write("e", "a", "x" * MAX_PAYLOAD_BYTES)

        assert await served.stored("e") == []
        assert await served.write("e", "b") == "b"


# --- What is no command --------------------------------------------------------------


async def test_bytes_that_are_no_command_hurt_nobody(serving: Serve) -> None:
    async with serving() as served:
        await served.write("e", "a")
        payload = Any(type_url="type.googleapis.com/notebook.Lines", value=b"\x0a\x01e\xff")
        with pytest.raises(MalformedRequest):
            await served.runtime.handler.handle(Request(NOTEBOOK, "Write", payload))

        assert await served.write("e", "b") == "a b"
        assert await served.stored("e") == ["a", "b"]


def command(**fields: AnyType) -> EventSourcedStreamIn:
    payload = encode(Page(id="e"))
    plain = {"entity_id": "e", "id": 1, "name": "Read", "payload": payload}
    return EventSourcedStreamIn(command=Command(**{**plain, **fields}))


INIT = EventSourcedStreamIn(init=EventSourcedInit(service_name=NOTEBOOK, entity_id="e"))
FIRST = EventSourcedStreamIn(
    event=EventSourcedEvent(sequence=1, payload=encode(LineAdded(line="a")))
)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([command()], (0, "expected init as the first message")),
        ([FIRST], (0, "expected init as the first message")),
        ([INIT, INIT], (0, "expected init only once")),
        ([INIT, FIRST, FIRST], (0, "expected an event after number 1, found 1")),
        ([INIT, EventSourcedStreamIn()], (0, "expected a message, found an empty one")),
        ([INIT, FIRST, command(entity_id="f")], (1, "expected entity 'e', found 'f'")),
        ([INIT, command(payload=None)], (1, "expected a payload, found none")),
        ([INIT, command(name="Wrote", id=4)], (4, "has no command 'Wrote'")),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
async def test_messages_out_of_order_are_answered_by_a_failure_and_the_end_of_the_stream(
    serving: Serve, messages: list[EventSourcedStreamIn], expected: tuple[int, str]
) -> None:
    async with serving() as served:
        stream = served.link.open_stream(HANDLE)
        for message in messages[:-1]:
            await stream.send(message)
        answer = await stream.ask(messages[-1], 5.0)

        assert answer.WhichOneof("message") == "failure"
        assert (answer.failure.command_id, expected[1] in answer.failure.description) == (
            expected[0],
            True,
        ), answer
        with pytest.raises(UserFunctionUnavailable):
            await stream.receive()
        assert stream.unasked()
        await stream.aclose()
        assert await served.write("e", "b") == "b"
        assert await served.stored("e") == ["b"]
