"""The link to another process: how streams end, how it is discovered, and how it is lost."""

from __future__ import annotations

import asyncio
import itertools

import grpc
import pytest
from runtime_doubles.functions import TALK, Context, Function, until
from runtime_doubles.linked import TERMINATION, linked, text
from runtime_doubles.specs import orders_spec

from cloudstate.entity_pb2 import ProxyInfo
from cloudstate_core.errors import UserFunctionUnavailable
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.function import grpc_link

pytestmark = pytest.mark.usefixtures("no_complaints")


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


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL"])
async def test_a_function_that_stops_while_it_is_written_to_does_nothing_wrong(
    function: Function, code: str
) -> None:
    async def stop(context: Context) -> None:
        await context.read()
        await context.abort(grpc.StatusCode[code], "on purpose")

    function.converse = stop
    async with linked(function) as link:
        stream = link.open_stream(TALK)
        await stream.send(text("a"))
        if code == "UNAVAILABLE":  # else nothing is written to it, and its words arrive: a control
            with pytest.raises(UserFunctionUnavailable):
                await stream.send_all(itertools.repeat(text("a")))
        await until(lambda: stream.unasked() is not None)

        assert isinstance(stream.unasked(), UserFunctionUnavailable) == (code == "UNAVAILABLE")


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
