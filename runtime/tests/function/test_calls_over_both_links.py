"""Calls of every shape, the same over both links."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from runtime_doubles.called import (
    KILOBYTE,
    STREAM,
    STREAM_IN,
    STREAM_OUT,
    UNARY,
    Called,
    calling,
    endless,
    sending,
    standstill,
)
from runtime_doubles.functions import until
from runtime_doubles.linked import text

from cloudstate_core.errors import UserFunctionError
from cloudstate_core.links import FunctionLink, Rpc

pytestmark = pytest.mark.usefixtures("no_complaints")

#: What may be on the way through gRPC to somebody who does not read: its windows and buffers.
MAX_ON_THE_WAY = 1_000

FAILED = r"^the user function failed$"


@pytest.fixture(params=["local", "grpc"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Called, FunctionLink]]:
    async with calling(request.param) as pair:
        yield pair


@pytest.fixture
def called(both) -> Called:
    return both[0]


@pytest.fixture
def link(both) -> FunctionLink:
    return both[1]


async def answers(link: FunctionLink, rpc: Rpc[StringValue, StringValue], *texts: str) -> list[str]:
    return await answers_to(link, rpc, sending(*texts))


async def answers_to(
    link: FunctionLink,
    rpc: Rpc[StringValue, StringValue],
    messages: AsyncIterator[StringValue],
    got: list[str] | None = None,
) -> list[str]:
    got = [] if got is None else got
    async with aclosing(link.stream(rpc, messages)) as stream:
        async for answer in stream:
            got.append(answer.value)  # they count also if an error follows
    return got


# --- Shapes --------------------------------------------------------------------------


async def test_one_message_and_one_answer(link: FunctionLink) -> None:
    assert (await link.call(UNARY, text("a"))).value == "A"


async def test_a_stream_of_messages_and_one_answer(called: Called, link: FunctionLink) -> None:
    async def joined(messages):
        yield text("".join([message.value async for message in messages]))

    called.serve = joined

    assert await answers(link, STREAM_IN, "a", "b", "c") == ["abc"]
    assert await answers(link, STREAM_IN) == [""]


async def test_one_message_and_a_stream_of_answers(called: Called, link: FunctionLink) -> None:
    async def letters(messages):
        async for message in messages:
            for letter in message.value:
                yield text(letter)

    called.serve = letters

    assert await answers(link, STREAM_OUT, "abc") == ["a", "b", "c"]
    assert await answers(link, STREAM_OUT, "") == []


async def test_streams_in_both_directions(link: FunctionLink) -> None:
    assert await answers(link, STREAM, "a", "b") == ["A", "B"]
    assert await answers(link, STREAM) == []


async def test_an_answer_comes_before_the_next_message_is_there(link: FunctionLink) -> None:
    got: asyncio.Queue[str] = asyncio.Queue()

    async def conversation():
        yield text("a")
        assert await got.get() == "A"
        yield text("b")
        assert await got.get() == "B"

    async with aclosing(link.stream(STREAM, conversation())) as stream:
        async for answer in stream:
            got.put_nowait(answer.value)

    assert got.empty()


async def test_one_answer_may_come_before_all_messages_are_taken(
    called: Called, link: FunctionLink
) -> None:
    async def first(messages):
        yield await anext(messages)

    called.serve = first
    asked: list[int] = []

    async with (
        aclosing(endless(asked)) as messages,
        aclosing(link.stream(STREAM_IN, messages)) as stream,
    ):
        assert [answer.value async for answer in stream] == [KILOBYTE]
    await until(lambda: called.running == 0)
    assert asked[0] < MAX_ON_THE_WAY


async def test_calls_run_side_by_side(called: Called, link: FunctionLink) -> None:
    everybody = asyncio.Barrier(5)

    async def wait_for_all(messages):
        async for message in messages:
            await everybody.wait()
            yield message

    called.serve = wait_for_all

    found = await asyncio.gather(*(link.call(UNARY, text(str(n))) for n in range(5)))

    assert [each.value for each in found] == list("01234")


# --- Errors --------------------------------------------------------------------------


async def raising(messages: AsyncIterator[StringValue]) -> AsyncGenerator[StringValue, None]:
    async for message in messages:
        if message.value == "bad":
            raise ValueError("a secret")
        yield message


async def test_what_a_handler_raises_is_for_the_log_alone(
    called: Called, link: FunctionLink, logged: list[dict[str, object]]
) -> None:
    called.serve = raising

    with pytest.raises(UserFunctionError) as caught:
        await link.call(UNARY, text("bad"))

    assert (type(caught.value), str(caught.value)) == (
        UserFunctionError,
        "the user function failed",
    )
    (entry,) = [entry for entry in logged if entry["log_level"] == "error"]
    assert str(entry["exc_info"]) == "a secret"
    assert entry["method"] == UNARY.path


@pytest.mark.parametrize("rpc", [STREAM_IN, STREAM_OUT, STREAM], ids=lambda rpc: rpc.path[-8:])
async def test_what_a_streaming_handler_raises_ends_the_stream(
    called: Called, link: FunctionLink, rpc: Rpc[StringValue, StringValue]
) -> None:
    called.serve = raising

    with pytest.raises(UserFunctionError, match=FAILED):
        await answers(link, rpc, "bad")
    assert called.running == 0


async def test_answers_before_an_error_have_arrived(called: Called, link: FunctionLink) -> None:
    called.serve = raising
    got: list[str] = []

    with pytest.raises(UserFunctionError, match=FAILED):
        await answers_to(link, STREAM, sending("a", "b", "bad", "c"), got)

    assert got == ["a", "b"]


@pytest.mark.parametrize("rpc", [UNARY, STREAM_IN], ids=lambda rpc: rpc.path[-8:])
async def test_no_answer_where_there_must_be_one(
    called: Called, link: FunctionLink, rpc: Rpc[StringValue, StringValue]
) -> None:
    async def nothing(messages):
        async for _ in messages:
            pass
        for never in ():
            yield never

    called.serve = nothing

    with pytest.raises(UserFunctionError, match=FAILED):
        await (answers(link, rpc, "a") if rpc.client_streaming else link.call(rpc, text("a")))


async def test_a_handler_that_cancels_itself_has_failed(called: Called, link: FunctionLink) -> None:
    async def cancelled(messages):
        task = asyncio.create_task(asyncio.sleep(3600))
        task.cancel()
        await task
        yield text("never")

    called.serve = cancelled

    with pytest.raises(UserFunctionError) as caught:
        await link.call(UNARY, text("a"))
    assert type(caught.value) is UserFunctionError
    with pytest.raises(UserFunctionError) as caught:
        await answers(link, STREAM_OUT, "a")
    assert type(caught.value) is UserFunctionError


async def test_a_method_that_is_not_served(link: FunctionLink) -> None:
    unary = Rpc("/test.calls.Calls/lost", StringValue, StringValue, False, False)
    stream = Rpc("/test.calls.Calls/lostStream", StringValue, StringValue)

    for use in (link.call(unary, text("a")), anext(link.stream(stream, sending("a")))):
        with pytest.raises(UserFunctionError) as caught:
            await use
        assert type(caught.value) is UserFunctionError
        assert "/test.calls.Calls/lost" in caught.value.detail


class CallerFailed(Exception):
    """What a caller's own messages ended with."""


@pytest.mark.parametrize("rpc", [STREAM_IN, STREAM], ids=lambda rpc: rpc.path[-8:])
@pytest.mark.parametrize("error", [CallerFailed, asyncio.CancelledError])
async def test_what_the_callers_messages_raise_ends_the_call_and_is_raised_to_the_caller(
    called: Called,
    link: FunctionLink,
    rpc: Rpc[StringValue, StringValue],
    error: type[BaseException],
    logged: list[dict[str, object]],
) -> None:
    async def joined(messages):
        yield text("".join([message.value async for message in messages]))

    async def failing():
        yield text("a")
        raise error

    called.serve = joined

    with pytest.raises(error):
        await answers_to(link, rpc, failing())

    await until(lambda: called.running == 0)
    assert [entry for entry in logged if entry["log_level"] == "error"] == []


async def test_a_handler_cannot_hide_that_the_callers_messages_failed(
    called: Called, link: FunctionLink
) -> None:
    async def brave(messages):
        try:
            async for _ in messages:
                pass
        except CallerFailed:
            pass
        yield text("done")

    async def failing():
        yield text("a")
        raise CallerFailed

    called.serve = brave

    with pytest.raises(CallerFailed):
        await answers_to(link, STREAM_IN, failing())


async def test_a_handler_that_fails_while_it_is_closed_has_answered_all_the_same(
    called: Called, link: FunctionLink, logged: list[dict[str, object]]
) -> None:
    async def answers_then_fails(messages):
        try:
            yield text("first")
        finally:
            raise ValueError("a secret")

    called.serve = answers_then_fails

    assert (await link.call(UNARY, text("a"))).value == "first"
    assert len([entry for entry in logged if "while_closing" in str(entry["event"])]) == 1


# --- Leaving -------------------------------------------------------------------------


async def waiting(messages: AsyncIterator[StringValue]) -> AsyncGenerator[StringValue, None]:
    yield text("first")
    await asyncio.Event().wait()


async def test_whoever_leaves_while_an_answer_is_made_cancels_the_handler(
    called: Called, link: FunctionLink, logged: list[dict[str, object]]
) -> None:
    async def stuck(messages):
        await asyncio.Event().wait()
        yield text("never")

    called.serve = stuck
    calls = [
        asyncio.create_task(link.call(UNARY, text("a"))),
        asyncio.create_task(answers(link, STREAM_IN, "a")),
        asyncio.create_task(answers(link, STREAM_OUT, "a")),
        asyncio.create_task(answers(link, STREAM, "a")),
    ]
    await until(lambda: called.running == 4)

    for call in calls:
        call.cancel()

    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in found] == [asyncio.CancelledError] * 4
    await until(lambda: called.running == 0)
    assert [entry for entry in logged if entry["log_level"] == "error"] == []


@pytest.mark.parametrize("rpc", [STREAM_OUT, STREAM], ids=lambda rpc: rpc.path[-8:])
async def test_whoever_leaves_between_two_answers_closes_the_handler(
    called: Called, link: FunctionLink, rpc: Rpc[StringValue, StringValue]
) -> None:
    called.serve = waiting

    async with aclosing(link.stream(rpc, sending("a"))) as stream:
        assert (await anext(stream)).value == "first"
        assert called.running == 1

    await until(lambda: called.running == 0)


async def test_messages_are_not_asked_for_when_the_call_is_over(
    called: Called, link: FunctionLink
) -> None:
    left_behind: list[asyncio.Task[None]] = []
    asked = 0

    async def reads_on(messages):
        async def read() -> None:
            async for _ in messages:
                pass

        left_behind.append(asyncio.create_task(read()))
        await until(lambda: called.taken > 3)
        yield text("first")

    async def one_by_one():
        nonlocal asked
        while True:
            asked += 1
            yield text("a")
            await asyncio.sleep(0)

    called.serve = reads_on
    async with aclosing(one_by_one()) as messages:
        async with aclosing(link.stream(STREAM, messages)) as stream:
            assert (await anext(stream)).value == "first"
        await asyncio.wait(left_behind, timeout=10)
        asked_by_then = asked
        await asyncio.sleep(0.02)

        assert asked == asked_by_then
        assert left_behind[0].done()
        left_behind[0].exception()  # gRPC does not let a call be read that is over


async def test_a_stream_that_is_never_begun_does_nothing(
    called: Called, link: FunctionLink
) -> None:
    stream = link.stream(STREAM, sending("a"))
    await stream.aclose()

    assert called.running == called.taken == 0


async def test_a_stream_that_is_dropped_ends_its_call(called: Called, link: FunctionLink) -> None:
    called.serve = waiting
    stream = link.stream(STREAM_OUT, sending("a"))
    await anext(stream)

    del stream
    gc.collect()

    await until(lambda: called.running == 0)


# --- Back-pressure -------------------------------------------------------------------


@pytest.mark.parametrize("rpc", [STREAM_OUT, STREAM], ids=lambda rpc: rpc.path[-8:])
async def test_a_reader_that_stops_holds_the_handler_back(
    called: Called, link: FunctionLink, rpc: Rpc[StringValue, StringValue]
) -> None:
    async def for_ever(messages):
        while True:
            yield text(KILOBYTE)

    called.serve = for_ever
    async with aclosing(link.stream(rpc, sending("a"))) as stream:
        for _ in range(3):
            await anext(stream)

        made = await standstill(lambda: called.made)
        print(f"PROMISE a reader that stops after 3 answers of 1 kB: {made} were made")
        assert 3 <= made < MAX_ON_THE_WAY
        assert called.running == 1

        # It goes on where it was.
        for _ in range(2 * MAX_ON_THE_WAY):
            await anext(stream)
        assert called.made > made


@pytest.mark.parametrize("rpc", [STREAM_IN, STREAM], ids=lambda rpc: rpc.path[-8:])
async def test_a_handler_that_does_not_read_holds_the_caller_back(
    called: Called, link: FunctionLink, rpc: Rpc[StringValue, StringValue]
) -> None:
    go_on = asyncio.Event()

    async def reads_later(messages):
        await anext(messages)
        await go_on.wait()
        for _ in range(2 * MAX_ON_THE_WAY):
            await anext(messages)
        yield text("done")

    called.serve = reads_later
    asked: list[int] = []
    async with aclosing(endless(asked)) as messages, aclosing(link.stream(rpc, messages)) as stream:
        answer = asyncio.ensure_future(anext(stream))
        await until(lambda: called.taken == 1)

        sent = await standstill(lambda: asked[0])
        print(f"PROMISE a handler that stops after 1 message of 1 kB: {sent} were asked for")
        assert 1 <= sent < MAX_ON_THE_WAY

        go_on.set()
        assert (await answer).value == "done"
        assert asked[0] > 2 * MAX_ON_THE_WAY


async def test_a_client_stream_that_is_never_read_takes_little_from_the_caller(
    called: Called, link: FunctionLink
) -> None:
    async def deaf(messages):
        await asyncio.Event().wait()
        yield text("never")

    called.serve = deaf
    asked: list[int] = [0]
    async with (
        aclosing(endless(asked)) as messages,
        aclosing(link.stream(STREAM_IN, messages)) as stream,
    ):
        answer = asyncio.ensure_future(anext(stream))
        await until(lambda: called.running == 1)

        assert await standstill(lambda: asked[0]) < MAX_ON_THE_WAY

        answer.cancel()
        await asyncio.wait((answer,))
    await until(lambda: called.running == 0)
