"""The link to another process, over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from runtime_doubles.functions import TALK, Context, Function, echo, serving, until
from runtime_doubles.linked import TERMINATION, linked, stream_to, text

from cloudstate_core.errors import UserFunctionError, UserFunctionUnavailable
from cloudstate_core.links import EntityStream
from cloudstate_core.testing.clock import ManualClock

pytestmark = pytest.mark.usefixtures("no_complaints")


# --- Messages ------------------------------------------------------------------------


async def test_answers_come_in_the_order_of_the_questions(function: Function) -> None:
    async with stream_to(function) as stream:
        answers = [(await stream.ask(text(str(i)), 5.0)).value for i in range(20)]

    assert answers == [str(i) for i in range(20)]


async def test_messages_may_be_sent_ahead(function: Function) -> None:
    async with stream_to(function) as stream:
        for i in range(5):
            await stream.send(text(str(i)))

        assert [(await stream.receive()).value for _ in range(5)] == list("01234")


async def test_many_messages_are_sent_at_once(function: Function) -> None:
    async with stream_to(function) as stream:
        await stream.send_all(map(text, "01234"))

        assert [(await stream.receive()).value for _ in range(5)] == list("01234")


async def test_nothing_is_unasked_between_two_questions(function: Function) -> None:
    async with stream_to(function) as stream:
        assert not stream.unasked()
        await stream.ask(text("a"), 5.0)
        assert not stream.unasked()


async def test_a_second_answer_is_seen_before_the_next_question(function: Function) -> None:
    async def twice(context: Context) -> None:
        data = await context.read()
        await context.write(data)
        await context.write(data)
        await echo(context)

    function.converse = twice
    async with stream_to(function) as stream:
        await stream.ask(text("a"), 5.0)

        await until(stream.unasked)
        assert_told(stream, UserFunctionError, "Unexpected entity reply", "nothing had asked for")


async def test_bytes_between_two_questions_are_told_from_a_message(function: Function) -> None:
    async def then_garbage(context: Context) -> None:
        await context.write(await context.read())
        await context.write(b"\xff")
        await echo(context)

    function.converse = then_garbage
    async with stream_to(function) as stream:
        await stream.ask(text("a"), 5.0)

        await until(stream.unasked)
        assert_told(stream, UserFunctionError, "Unexpected entity message", "StringValue")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.OK, UserFunctionError),
        (grpc.StatusCode.INTERNAL, UserFunctionError),
        (grpc.StatusCode.UNAVAILABLE, UserFunctionUnavailable),
        (grpc.StatusCode.CANCELLED, UserFunctionUnavailable),
    ],
)
async def test_an_end_between_two_questions_is_a_fault_unless_the_function_goes_away(
    code: grpc.StatusCode, error: type[UserFunctionError], function: Function
) -> None:
    async def once(context: Context) -> None:
        await context.write(await context.read())
        if code is not grpc.StatusCode.OK:
            await context.abort(code, "that was all")

    function.converse = once
    async with stream_to(function) as stream:
        await stream.ask(text("a"), 5.0)

        await until(stream.unasked)
        said = "no text" if code is grpc.StatusCode.OK else "that was all"
        assert_told(stream, error, "Unexpected entity termination", f"with {code.name}: {said}")


def assert_told(
    stream: EntityStream, error: type[UserFunctionError], text: str, detail: str
) -> None:
    told = stream.unasked()
    assert type(told) is error
    assert str(told) == text
    assert detail in told.detail


async def test_a_stream_that_ends_between_two_questions_is_seen(function: Function) -> None:
    async def once(context: Context) -> None:
        await context.write(await context.read())

    function.converse = once
    async with stream_to(function) as stream:
        await stream.ask(text("a"), 5.0)
        await until(stream.unasked)

        with pytest.raises(UserFunctionUnavailable, match=TERMINATION):
            await stream.ask(text("b"), 5.0)


async def test_a_receiver_that_gives_up_loses_no_message(function: Function) -> None:
    async with stream_to(function) as stream:
        waiting = asyncio.create_task(stream.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))

        assert (await stream.ask(text("a"), 5.0)).value == "a"


# --- What goes wrong -----------------------------------------------------------------


async def test_a_function_that_ends_the_stream_instead_of_answering(function: Function) -> None:
    async def leave(context: Context) -> None:
        await context.read()

    function.converse = leave
    async with stream_to(function) as stream:
        with pytest.raises(UserFunctionUnavailable, match=TERMINATION) as caught:
            await stream.ask(text("a"), 5.0)

    assert "the stream ended with OK" in caught.value.detail


async def test_a_function_that_ends_the_stream_with_an_error(function: Function) -> None:
    async def fail(context: Context) -> None:
        await context.read()
        await context.abort(grpc.StatusCode.DATA_LOSS, "a secret of the function")

    function.converse = fail
    async with stream_to(function) as stream:
        with pytest.raises(UserFunctionUnavailable, match=TERMINATION) as caught:
            await stream.ask(text("a"), 5.0)

    assert "DATA_LOSS: a secret of the function" in caught.value.detail
    assert "secret" not in str(caught.value)


async def test_a_function_that_dies_in_the_middle(function: Function) -> None:
    async def die(context: Context) -> None:
        await context.read()
        asyncio.get_running_loop().create_task(function.stop())
        await asyncio.Event().wait()

    function.converse = die
    async with stream_to(function) as stream:
        with pytest.raises(UserFunctionUnavailable, match=TERMINATION):
            await stream.ask(text("a"), 5.0)


async def test_a_function_that_is_not_there(function: Function) -> None:
    await function.stop()
    async with stream_to(function) as stream:
        with pytest.raises(UserFunctionUnavailable, match=TERMINATION) as caught:
            await stream.ask(text("a"), 5.0)

    assert "UNAVAILABLE" in caught.value.detail


async def test_a_function_that_comes_back_is_reached_by_a_new_stream(tmp_path: Path) -> None:
    async with serving(f"unix:{tmp_path}/function") as function, linked(function) as link:
        old = link.open_stream(TALK)
        await old.ask(text("a"), 5.0)
        await function.stop()
        await until(old.unasked)
        assert type(old.unasked()) is UserFunctionUnavailable
        await old.aclose()
        await function.start()

        async def works_again() -> bool:
            new = link.open_stream(TALK)
            try:
                return (await new.ask(text("b"), 5.0)).value == "b"
            except UserFunctionUnavailable:
                return False
            finally:
                await new.aclose()

        async with asyncio.timeout(10):
            while not await works_again():
                await asyncio.sleep(0.01)


async def test_bytes_that_are_no_message_break_the_protocol(
    function: Function, caplog: pytest.LogCaptureFixture
) -> None:
    async def garbage(context: Context) -> None:
        await context.read()
        await context.write(b"\xff\xff\xff")
        await context.read()

    function.converse = garbage
    async with stream_to(function) as stream:
        with pytest.raises(UserFunctionError, match=r"^Unexpected entity message$") as caught:
            await stream.ask(text("a"), 5.0)

    assert "something else than a google.protobuf.StringValue" in caught.value.detail
    assert caplog.records == []


async def test_a_message_above_the_limit_ends_the_stream(function: Function) -> None:
    async def flood(context: Context) -> None:
        await context.read()
        await context.write(text("x" * 5_000).SerializeToString())
        await context.read()

    function.converse = flood
    async with stream_to(function, max_message_bytes=4_000) as stream:
        with pytest.raises(UserFunctionUnavailable, match=TERMINATION) as caught:
            await stream.ask(text("a"), 5.0)

    assert "RESOURCE_EXHAUSTED" in caught.value.detail


async def test_messages_that_nobody_asked_for_are_not_taken(function: Function) -> None:
    written = 0

    async def flood(context: Context) -> None:
        nonlocal written
        await context.read()
        data = text("x" * 10_000).SerializeToString()
        while True:
            await context.write(data)
            written += 1

    function.converse = flood
    async with stream_to(function) as stream:
        await stream.send(text("a"))
        await until(lambda: written > 1)
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.1)

        assert written < 1_000  # 10 MB; what sockets hold is far less


async def test_an_answer_that_does_not_come_in_time(function: Function, clock: ManualClock) -> None:
    async def silent(context: Context) -> None:
        while await context.read() is not grpc.aio.EOF:
            pass

    function.converse = silent
    async with stream_to(function, clock) as stream:
        asking = asyncio.create_task(stream.ask(text("a"), 3.0))
        await until(lambda: function.open_streams)
        await clock.advance(2.9)
        assert not asking.done()
        await clock.advance(0.1)

        with pytest.raises(TimeoutError):
            await asking
    await until(lambda: function.ended)


async def test_a_function_that_takes_no_messages(function: Function, clock: ManualClock) -> None:
    async def deaf(context: Context) -> None:
        await asyncio.Event().wait()

    async def send_much(stream: EntityStream[StringValue, StringValue]) -> None:
        while True:
            await stream.send(text("x" * 100_000))

    function.converse = deaf
    async with stream_to(function, clock) as stream:
        sending = asyncio.create_task(send_much(stream))
        await until(lambda: function.open_streams)
        sent = -1
        while clock._set_so_far != sent:
            sent = clock._set_so_far
            await asyncio.sleep(0.1)
        await clock.advance(7.0)

        with pytest.raises(UserFunctionUnavailable, match=TERMINATION) as caught:
            await sending
        assert "takes no message for 7 s" in caught.value.detail
