"""Deadlines, clients that leave, and servers that stop: gRPC over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from h2.connection import H2Connection
from runtime_doubles.http2_client import HEADERS, PREFACE, SETTINGS, connections, frame
from runtime_doubles.unread_socket import unread_socket

from cloudstate_core.frontend import Limits
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.testing.clock import ManualClock

GET = "/test.things.Things/Get"

Code = grpc.StatusCode


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.fixture
def channel_to() -> Any:
    def channel_to(door: Any, *options: tuple[str, Any]) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            door.address, options=[("grpc.enable_retries", 0), *options]
        )

    return channel_to


async def test_the_deadline_of_the_client_is_passed_on(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    async with open_door(things, clock=ManualClock()) as door, channel_to(door) as channel:
        await channel.unary_unary(GET)(b"", timeout=5)
        await channel.unary_unary(GET)(b"", timeout=100_000)
        await channel.unary_unary(GET)(b"")

        own, longest, default = (request.deadline_s for request in door.handler.requests)
        assert 4 < own < 5.2  # the client rounds up
        assert longest == 300.0
        assert default == 60.0


async def test_a_deadline_that_passes_ends_the_call_and_not_the_command(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    clock, may_end, ended = ManualClock(), asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        ended.set()
        outcome: Outcome = model.replied(b"late")
        return outcome

    async with open_door(things, clock=clock) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        call = asyncio.ensure_future(refused(channel.unary_unary(GET)(b"")))
        while not door.handler.requests:
            await asyncio.sleep(0)

        await clock.advance(61)
        error = await call
        assert error.code() is Code.DEADLINE_EXCEEDED
        assert error.details() == "the deadline passed before there was an answer"

        may_end.set()
        await ended.wait()
        del door.handler.answers["Get"]
        assert await channel.unary_unary(GET)(b"next") == b"next"


async def test_a_client_that_hangs_up_does_not_undo_its_command(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        ended.set()
        outcome: Outcome = model.replied(b"")
        return outcome

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        call = channel.unary_unary(GET)(b"")
        while not door.handler.requests:
            await asyncio.sleep(0.001)

        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # The cancellation has arrived when a later call on the connection is answered.
        del door.handler.answers["Get"]
        await channel.unary_unary(GET)(b"")

        may_end.set()
        await ended.wait()


async def test_commands_whose_clients_are_gone_are_drained(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_end = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        outcome: Outcome = model.replied(b"")
        return outcome

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        call = channel.unary_unary(GET)(b"")
        while not door.handler.requests:
            await asyncio.sleep(0.001)
        call.cancel()
        # The cancellation has arrived when a later call on the connection is answered.
        await channel.unary_unary("/test.things.Things/Put")(b"")

        draining = asyncio.create_task(door.port.drain(30))
        while door.port.connections:
            await asyncio.sleep(0.001)
        assert not draining.done()

        may_end.set()
        await draining


async def test_connections_are_replaced_when_they_are_old(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door, channel_to(door) as channel:
        call = channel.unary_unary(GET)
        await call(b"")
        for _ in range(31):
            await clock.advance(60)
            await call(b"", wait_for_ready=True)

        assert len(door.handler.requests) == 32


async def test_an_idle_connection_is_closed(open_door: Any, things: Any, channel_to: Any) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door, channel_to(door) as channel:
        await channel.unary_unary(GET)(b"")
        await clock.advance(10 * 60 + 1)
        while door.port.connections:
            await asyncio.sleep(0)


# --- The end -------------------------------------------------------------------------


async def test_draining_lets_calls_finish_and_refuses_new_ones(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_end = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        outcome: Outcome = model.replied(b"done")
        return outcome

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        call = channel.unary_unary(GET)(b"")
        while not door.handler.requests:
            await asyncio.sleep(0.001)

        draining = asyncio.create_task(door.port.drain(30))
        await found(lambda door: all(c.farewell.takes_no_more for c in connections(door)), door)
        late = await refused(channel.unary_unary(GET)(b"late"))
        assert late.code() is Code.UNAVAILABLE
        assert not draining.done()

        may_end.set()
        assert await call == b"done"
        await draining
        assert len(door.handler.requests) == 1
        assert door.port.connections == 0


async def test_what_a_client_still_sends_does_not_cost_it_the_last_answer(
    open_door: Any, things: Any, model: Any
) -> None:
    may_end = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        outcome: Outcome = model.replied(b"done")
        return outcome

    async with open_door(things) as door, unread_socket(door.port.address) as client:
        door.handler.answers["Get"] = answer
        http2 = H2Connection()
        http2.initiate_connection()
        http2.send_headers(1, HEADERS)
        http2.send_data(1, b"\x00" * 5, end_stream=True)
        await client.send(http2.data_to_send())
        (connection,) = await found(connections, door)
        await found(lambda door: door.handler.requests, door)

        draining = asyncio.create_task(door.port.drain(30))
        heard = b""
        while b"GOAWAY ?" not in heard:
            heard += await client.some()
        await client.send(frame(6, 1, 0, b"GOAWAY ?"))
        await found(lambda _: connection.farewell.takes_no_more, door)
        connection._transport.pause_reading()
        await client.send(frame(6, 0, 0, bytes(8)))  # a ping, which waits in the socket
        may_end.set()
        while connection in connections(door) and connection.farewell.parting is None:
            await asyncio.sleep(0)

        # Nothing of it is lost, and no reset instead of the end.
        assert b"\x00\x00\x00\x00\x04done" in await client.everything()
        client.close()
        connection._transport.resume_reading()
        await draining


async def found(what: Any, door: Any) -> Any:
    while not what(door):
        await asyncio.sleep(0)
    return what(door)


@pytest.mark.parametrize("step_s", [1.2, 0.5])
async def test_a_client_that_does_not_say_that_it_has_heard_has_a_second(
    open_door: Any, things: Any, step_s: float
) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door, unread_socket(door.port.address) as client:
        await client.send(PREFACE + SETTINGS)
        (connection,) = await found(connections, door)
        await found(lambda _: connection.is_greeted, door)

        connection.drain()
        await clock.advance(step_s)
        assert connection.farewell.takes_no_more is (step_s > 1.0)

        await clock.advance(0.8)
        assert b"GOAWAY ?" in await client.everything()


async def test_calls_lose_nothing_while_their_connections_are_replaced(
    open_door: Any, things: Any
) -> None:
    answered, replaced = 0, set[Any]()

    async def calling(channel: grpc.aio.Channel) -> None:
        nonlocal answered
        while len(replaced) < 50:
            await channel.unary_unary(GET)(b"")
            answered += 1

    # As channels are unless somebody says otherwise: a call that has not left the client when it
    # hears of the end goes out on the next connection.
    async with open_door(things) as door, grpc.aio.insecure_channel(door.address) as channel:
        async with asyncio.TaskGroup() as callers:
            for _ in range(16):
                callers.create_task(calling(channel))
            while len(replaced) < 50:
                for connection in connections(door) - replaced:
                    if connection.last_call_s > connection.opened_s:
                        connection.drain()
                        replaced.add(connection)
                await asyncio.sleep(0.001)

        assert len(door.handler.requests) == answered > 50


async def test_draining_ends_with_its_time(open_door: Any, things: Any, channel_to: Any) -> None:
    clock = ManualClock()

    async def answer(request: Request) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    async with open_door(things, clock=clock) as door:
        channel = channel_to(door)
        door.handler.answers["Get"] = answer
        call = asyncio.ensure_future(refused(channel.unary_unary(GET)(b"")))
        while not door.handler.requests:
            await asyncio.sleep(0.001)

        draining = asyncio.create_task(door.port.drain(5.0))
        await clock.advance(5.2)
        await draining

    assert (await call).code() is Code.UNAVAILABLE
    await channel.close()


async def test_more_streams_than_allowed_wait_at_the_client(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_end = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        outcome: Outcome = model.replied(b"")
        return outcome

    limits = Limits(max_streams_per_connection=3)
    async with open_door(things, limits=limits) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        calls = [asyncio.ensure_future(channel.unary_unary(GET)(b"")) for _ in range(7)]
        while len(door.handler.requests) < 3:
            await asyncio.sleep(0.001)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(door.handler.requests) == 3

        may_end.set()
        assert await asyncio.gather(*calls) == [b""] * 7
