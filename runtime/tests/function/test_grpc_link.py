"""The link to another process, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from runtime_doubles.functions import TALK, Context, Function, echo, serving, until
from runtime_doubles.specs import orders_spec

from cloudstate.entity_pb2 import ProxyInfo
from cloudstate_core.clock import Clock, SystemClock
from cloudstate_core.errors import UserFunctionError, UserFunctionUnavailable
from cloudstate_core.links import EntityStream
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.function import grpc_link
from cloudstate_runtime.function.grpc_link import GrpcLink, open_grpc_link

TERMINATION = "^Unexpected entity termination$"


def text(value: str) -> StringValue:
    return StringValue(value=value)


@pytest.fixture
async def function() -> AsyncIterator[Function]:
    async with serving() as function:
        yield function


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@asynccontextmanager
async def linked(
    function: Function, clock: Clock | None = None, *, max_message_bytes: int = 1 << 20
) -> AsyncIterator[GrpcLink]:
    async with open_grpc_link(
        function.address,
        clock or SystemClock(),
        max_message_bytes=max_message_bytes,
        close_timeout_s=2.0,
        send_timeout_s=7.0,
    ) as link:
        yield link


@asynccontextmanager
async def stream_to(
    function: Function, clock: Clock | None = None, **more
) -> AsyncIterator[EntityStream[StringValue, StringValue]]:
    async with linked(function, clock, **more) as link:
        stream = link.open_stream(TALK)
        try:
            yield stream
        finally:
            await stream.aclose()


@pytest.fixture
def complaints() -> list[object]:
    """What the event loop has to complain about, such as exceptions that nobody looked at."""
    return []


@pytest.fixture(autouse=True)
async def no_complaints(complaints: list[object]) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, what: complaints.append(what))
    yield
    await asyncio.sleep(0)
    assert complaints == []


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


# --- The end of a stream -------------------------------------------------------------


async def test_closing_tells_the_function_that_nothing_follows_and_waits_for_its_end(
    function: Function,
) -> None:
    async with linked(function) as link:
        stream = link.open_stream(TALK)
        await stream.ask(text("a"), 5.0)
        await stream.aclose()

        assert function.ended == ["done"]
        assert stream.unasked()
        with pytest.raises(UserFunctionUnavailable):
            await stream.send(text("b"))


async def test_a_stream_may_be_closed_twice_and_before_it_was_used(function: Function) -> None:
    async with linked(function) as link:
        stream = link.open_stream(TALK)
        await stream.aclose()
        await stream.aclose()

    await until(lambda: function.open_streams == 0)


async def test_what_the_function_says_after_the_end_is_passed_over(function: Function) -> None:
    async def talk_on(context: Context) -> None:
        while await context.read() is not grpc.aio.EOF:
            pass
        for _ in range(10):
            await context.write(text("more").SerializeToString())

    function.converse = talk_on
    async with linked(function) as link:
        stream = link.open_stream(TALK)
        await stream.send(text("a"))
        await stream.aclose()

    assert function.ended == ["done"]


@pytest.mark.parametrize("talks", [False, True])
async def test_a_function_that_never_ends_its_side_is_cut_off_after_a_while(
    talks: bool, function: Function, clock: ManualClock, logged: list[dict[str, object]]
) -> None:
    async def stay(context: Context) -> None:
        while talks:
            await context.write(text("still here").SerializeToString())
            await asyncio.sleep(0.001)
        await asyncio.Event().wait()

    function.converse = stay
    async with linked(function, clock) as link:
        stream = link.open_stream(TALK)
        await stream.send(text("a"))
        closing = asyncio.create_task(stream.aclose())
        await until(lambda: clock.waiting)
        await clock.advance(1.9)
        assert not closing.done()
        await clock.advance(0.1)
        await closing
        await until(lambda: function.ended)

    assert [e["event"] for e in logged] == ["user_function_does_not_end_stream"]


@pytest.mark.parametrize("ends", [True, False])
async def test_a_stream_may_be_closed_while_another_task_waits_for_its_next_message(
    ends: bool, function: Function, clock: ManualClock
) -> None:
    async def listen(context: Context) -> None:
        while await context.read() is not grpc.aio.EOF:
            pass
        if not ends:
            await asyncio.Event().wait()

    function.converse = listen
    async with linked(function, clock) as link:
        stream = link.open_stream(TALK)
        await stream.send(text("a"))
        receiving = asyncio.create_task(stream.receive())
        asking = asyncio.create_task(link.open_stream(TALK).receive())
        await until(lambda: function.open_streams == 2)
        closing = asyncio.create_task(stream.aclose())
        if not ends:
            await until(lambda: clock.waiting)
            await clock.advance(2.0)
        await closing

        with pytest.raises(UserFunctionUnavailable, match=TERMINATION):
            await receiving
        assert not asking.done()
        asking.cancel()
        await asyncio.wait((asking,))


async def test_closing_after_an_answer_that_did_not_come_is_quiet(
    function: Function, clock: ManualClock
) -> None:
    async def silent(context: Context) -> None:
        while await context.read() is not grpc.aio.EOF:
            pass

    function.converse = silent
    async with linked(function, clock) as link:
        stream = link.open_stream(TALK)
        asking = asyncio.create_task(stream.ask(text("a"), 1.0))
        await until(lambda: function.open_streams)
        await clock.advance(1.0)
        await asyncio.wait((asking,))
        await stream.aclose()

        assert isinstance(asking.exception(), TimeoutError)
        assert function.ended == ["done"]


# --- Discovery, reports, and the connection ------------------------------------------


async def test_what_the_function_announces_is_returned(function: Function) -> None:
    async with linked(function) as link:
        spec = await link.discover(ProxyInfo(proxy_name="test"))

    assert spec == orders_spec()
    assert function.proxies[0].proxy_name == "test"


async def test_no_answer_to_discovery(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(grpc_link, "_DISCOVER_TIMEOUT_S", 0.1)
    function.before_discovery = never
    async with linked(function) as link:
        with pytest.raises(UserFunctionUnavailable, match="does not answer") as caught:
            await link.discover(ProxyInfo())

    assert caught.value.detail.startswith("DEADLINE_EXCEEDED")


@pytest.mark.parametrize("answer", [b"\xff\xff", b"\x12\x02\x0a\xff"])
async def test_an_unreadable_answer_to_discovery(answer: bytes, function: Function) -> None:
    function.spec = answer
    async with linked(function) as link:
        with pytest.raises(UserFunctionUnavailable, match="does not answer") as caught:
            await link.discover(ProxyInfo())

    assert caught.value.detail == "it answered with something else than a cloudstate.EntitySpec"


async def test_an_answer_to_discovery_above_the_limit(function: Function) -> None:
    async with linked(function, max_message_bytes=100) as link:
        with pytest.raises(UserFunctionUnavailable) as caught:
            await link.discover(ProxyInfo())

    assert caught.value.detail.startswith("RESOURCE_EXHAUSTED")


async def test_nobody_there_to_discover(function: Function) -> None:
    await function.stop()
    async with linked(function) as link:
        with pytest.raises(UserFunctionUnavailable, match="does not answer") as caught:
            await link.discover(ProxyInfo())

    assert caught.value.detail.startswith("UNAVAILABLE")


async def test_a_server_that_is_no_user_function() -> None:
    server = grpc.aio.server()
    other = Function(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    await server.start()
    try:
        async with linked(other) as link:
            with pytest.raises(UserFunctionUnavailable) as caught:
                await link.discover(ProxyInfo())
            assert caught.value.detail.startswith("UNIMPLEMENTED")
    finally:
        await server.stop(0)


async def test_a_report_arrives_and_one_that_cannot_is_logged(
    function: Function, logged: list[dict[str, object]]
) -> None:
    async with linked(function) as link:
        await link.report_error("you are wrong")
        await function.stop()
        await link.report_error("you are still wrong")

    assert function.reports == ["you are wrong"]
    (entry,) = [e for e in logged if e["event"] == "report_not_delivered"]
    assert entry["code"] == "UNAVAILABLE"


async def test_a_function_that_goes_away_is_lost_and_one_that_stays_is_not(
    function: Function,
) -> None:
    async with linked(function) as link:
        await link.discover(ProxyInfo())
        lost = asyncio.create_task(link.wait_until_lost())
        await link.discover(ProxyInfo())
        assert not lost.done()

        await function.stop()
        async with asyncio.timeout(10):
            await lost


async def test_a_function_that_was_never_reached_is_lost(function: Function) -> None:
    await function.stop()
    async with linked(function) as link, asyncio.timeout(10):
        await link.wait_until_lost()


async def test_each_link_to_one_function_has_its_own_connection(function: Function) -> None:
    async with linked(function) as first, linked(function) as second:
        await first.discover(ProxyInfo())
        await second.discover(ProxyInfo())
        losses = [asyncio.create_task(each.wait_until_lost()) for each in (first, second)]

        await function.stop()
        async with asyncio.timeout(10):
            await asyncio.gather(*losses)
