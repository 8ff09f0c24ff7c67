"""Streamed methods over gRPC, called by the client that everybody uses: shapes, order, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import pytest

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.clock import SystemClock
from cloudstate_core.errors import UserFunctionUnavailable
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.admission import AdmittingHandler

GET, WATCH, COLLECT, CHAT = (
    f"/test.things.Things/{name}" for name in ("Get", "Watch", "Collect", "Chat")
)

Code = grpc.StatusCode


async def ended(call: Any) -> tuple[list[bytes], grpc.StatusCode, str]:
    """What a call gave, and how it ended."""
    found = []
    try:
        while (element := await call.read()) is not grpc.aio.EOF:
            found.append(element)
    except grpc.aio.AioRpcError:
        pass  # its status says the same
    return found, await call.code(), await call.details()


async def many(count: int, size: int = 0) -> AsyncIterator[bytes]:
    for number in range(count):
        yield b"%d" % number + bytes(size)


class Tap:
    """A handler of streams that counts what is taken from it, and knows how it ended."""

    def __init__(self, model: Any, count: int = 1 << 30, size: int = 0) -> None:
        self.taken = 0
        self.closed = asyncio.Event()
        self._model, self._count, self._size = model, count, size

    async def __call__(self, request: Request) -> AsyncGenerator[Outcome, None]:
        try:
            while self.taken < self._count:
                self.taken += 1
                yield self._model.replied(b"%d" % self.taken + bytes(self._size))
        finally:
            self.closed.set()


@pytest.fixture
def channel_to() -> Any:
    def channel_to(door: Any, *options: tuple[str, Any]) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            door.address, options=[("grpc.enable_retries", 0), *options]
        )

    return channel_to


# --- Shapes --------------------------------------------------------------------------


async def test_a_client_may_stream(open_door: Any, things: Any, channel_to: Any) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        sent = [b"%d " % number for number in range(1000)]

        assert await channel.stream_unary(COLLECT)(iter(sent), timeout=20) == b"".join(sent)

        (request,) = door.handler.requests
        assert (request.command, request.payload.value) == ("Collect", b"")
        assert 19 < request.deadline_s - door.host.clock.monotonic_s() < 21


async def test_a_client_may_be_streamed_to(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    tap = Tap(model, 10_000)
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Watch"] = tap

        found, code, _ = await ended(channel.unary_stream(WATCH)(b"what"))

        assert found == [b"%d" % number for number in range(1, 10_001)]
        assert code is Code.OK
        (request,) = door.handler.requests
        assert (request.payload.value, request.messages) == (b"what", None)
        assert request.payload.type_url == "type.googleapis.com/test.things.Thing"
        assert request.deadline_s is None


async def test_both_may_stream(open_door: Any, things: Any, channel_to: Any) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        found, code, _ = await ended(channel.stream_stream(CHAT)(many(10_000)))

        assert found == [b"%d" % number for number in range(10_000)]
        assert code is Code.OK


async def test_question_and_answer_take_turns(open_door: Any, things: Any, channel_to: Any) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        call = channel.stream_stream(CHAT)()
        for number in range(50):
            await call.write(b"%d" % number)
            assert await call.read() == b"%d" % number
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is Code.OK


async def test_a_handler_goes_on_after_the_client_has_said_all(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        total = len([message async for message in request.messages or ()])
        for _ in range(total + 1):
            yield model.replied(b"x")

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Chat"] = answers
        assert await ended(channel.stream_stream(CHAT)(many(3))) == ([b"x"] * 4, Code.OK, "")


async def test_a_handler_may_end_before_the_client_has_said_all(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Chat"] = Tap(model, 2)
        call = channel.stream_stream(CHAT)()
        assert await ended(call) == ([b"1", b"2"], Code.OK, "")
        assert await channel.unary_unary(GET)(b"x") == b"x"


@pytest.mark.parametrize("size", [1, 70_000, 1_000_000, 4 * 1024 * 1024])
async def test_streamed_messages_of_any_size_up_to_the_limit_pass_both_ways(
    open_door: Any, things: Any, channel_to: Any, size: int
) -> None:
    big = ("grpc.max_receive_message_length", -1)
    async with open_door(things) as door, channel_to(door, big) as channel:
        sent = [bytes([number]) * size for number in range(3)]
        assert (await ended(channel.stream_stream(CHAT)(iter(sent))))[0] == sent


async def test_packed_messages_of_a_stream_are_understood(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        sent = [bytes([number]) * 50_000 for number in range(5)]
        call = channel.stream_stream(CHAT)(iter(sent), compression=grpc.Compression.Gzip)
        assert (await ended(call))[0] == sent


# --- Metadata, failures, counts ------------------------------------------------------


async def test_metadata_of_the_first_element_becomes_headers(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_go_on = asyncio.Event()

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        yield model.replied(b"1", ("X-A", "1"))
        await may_go_on.wait()
        yield model.replied(b"2", ("x-b", "2"))

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Watch"] = answers
        call = channel.unary_stream(WATCH)(b"", metadata=(("x-mine", "yes"),))
        headers = dict(await call.initial_metadata())
        may_go_on.set()

        assert headers["x-a"] == "1"
        assert "x-b" not in headers
        assert await ended(call) == ([b"1", b"2"], Code.OK, "")
        assert door.handler.requests[0].metadata.get("x-mine") == "yes"


async def test_a_stream_of_nothing_ends_well(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Watch"] = Tap(model, 0)
        assert await ended(channel.unary_stream(WATCH)(b"")) == ([], Code.OK, "")


def failed(text: str) -> Outcome:
    action = ClientAction()
    action.failure.description = text
    return Outcome(action)


@pytest.mark.parametrize("before", [0, 3])
async def test_a_failure_ends_the_stream_after_what_came_before(
    open_door: Any, things: Any, channel_to: Any, model: Any, before: int
) -> None:
    closed = asyncio.Event()

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        try:
            for _ in range(before):
                yield model.replied(b"x")
            yield failed("no more socks")
            raise AssertionError
        finally:
            closed.set()

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Chat"] = answers
        found = await ended(channel.stream_stream(CHAT)())
        assert found == ([b"x"] * before, Code.UNKNOWN, "no more socks")
        assert closed.is_set()


@pytest.mark.parametrize("before", [0, 3])
async def test_an_error_ends_the_stream_after_what_came_before(
    open_door: Any, things: Any, channel_to: Any, model: Any, before: int
) -> None:
    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        for _ in range(before):
            yield model.replied(b"x")
        raise UserFunctionUnavailable("the user function cannot be reached")

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Watch"] = answers
        found = await ended(channel.unary_stream(WATCH)(b""))
        assert found == ([b"x"] * before, Code.UNAVAILABLE, "the user function cannot be reached")


async def test_an_answer_that_is_none_is_no_element(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        yield Outcome(ClientAction())
        yield model.replied(b"x")
        yield Outcome(ClientAction())

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Watch"] = answers
        assert await ended(channel.unary_stream(WATCH)(b"")) == ([b"x"], Code.OK, "")


@pytest.mark.parametrize(
    ("outcomes", "code", "text"),
    [
        ([], Code.INTERNAL, "the user function gave no reply"),
        ([Outcome(ClientAction())], Code.INTERNAL, "the user function gave no reply"),
        ([failed("no")], Code.UNKNOWN, "no"),
    ],
)
async def test_a_streaming_client_without_an_answer_is_told_why(
    open_door: Any, things: Any, channel_to: Any, outcomes: Any, code: Any, text: str
) -> None:
    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        # A client of this library that is answered while it still sends may say so instead.
        assert request.messages is not None
        async for _ in request.messages:
            pass
        for outcome in outcomes:
            yield outcome

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Collect"] = answers
        call = channel.stream_unary(COLLECT)(many(2))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (caught.value.code(), caught.value.details()) == (code, text)


async def test_of_several_answers_a_client_that_takes_one_gets_the_first(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    tap = Tap(model, 5)
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Collect"] = tap
        assert await channel.stream_unary(COLLECT)(many(2)) == b"1"
        assert (tap.taken, tap.closed.is_set()) == (1, True)


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("path", [GET, WATCH])
async def test_a_method_that_takes_one_message_refuses_another_number(
    open_door: Any, things: Any, channel_to: Any, path: str, count: int
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        call = channel.stream_stream(path)()
        with suppress(asyncio.InvalidStateError):  # it may be over before all is said
            async for message in many(count):
                await call.write(message)
            await call.done_writing()
        found, code, text = await ended(call)
        assert (found, code) == ([], Code.INVALID_ARGUMENT)
        assert text == f"expected one message, found {count}"
        assert door.handler.requests == []


async def test_a_message_that_is_too_large_ends_a_stream(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    limits = Limits(max_request_bytes=1000)
    async with open_door(things, limits=limits) as door, channel_to(door) as channel:
        call = channel.stream_stream(CHAT)()
        await call.write(bytes(1000))
        assert await call.read() == bytes(1000)
        # Not from an iterator: this client calls it an error of its own if it is writing when the
        # call ends.
        await call.write(bytes(1001))
        found, code, text = await ended(call)
        assert (found, code) == ([], Code.RESOURCE_EXHAUSTED)
        assert text == "expected a message of at most 1000 bytes, found 1001 bytes"


# --- Leaving, deadlines, the end -----------------------------------------------------


@pytest.mark.parametrize("path", [WATCH, CHAT])
async def test_a_client_that_cancels_closes_its_stream(
    open_door: Any, things: Any, channel_to: Any, path: str
) -> None:
    closed, waiting = asyncio.Event(), asyncio.Event()

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        try:
            waiting.set()
            await asyncio.Event().wait()
            yield failed("never")
        finally:
            closed.set()

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams[path.rpartition("/")[2]] = answers
        kind = channel.unary_stream if path == WATCH else channel.stream_stream
        call = kind(path)(b"") if path == WATCH else kind(path)()
        await waiting.wait()
        call.cancel()
        await closed.wait()
        assert await channel.unary_unary(GET)(b"x") == b"x"


async def test_a_client_whose_connection_is_lost_closes_its_stream(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    taps = [Tap(model, size=1000), Tap(model, size=1000)]
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams = {"Watch": taps[0], "Chat": taps[1]}
        calls = channel.unary_stream(WATCH)(b""), channel.stream_stream(CHAT)()
        for call in calls:
            await call.read()
        (_, acceptor), *_ = door.port._front_ends
        for connection in tuple(acceptor._connections):
            connection.cut_off()
        for tap in taps:
            await tap.closed.wait()


async def test_a_deadline_ends_a_stream_in_its_middle(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    clock, closed = ManualClock(), asyncio.Event()

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        try:
            yield model.replied(b"1")
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with open_door(things, clock=clock) as door, channel_to(door) as channel:
        door.handler.streams["Watch"] = answers
        # The client's own clock must not be the first to see it.
        call = channel.unary_stream(WATCH)(b"", timeout=50)
        assert await call.read() == b"1"
        await clock.advance(50.5)
        assert await ended(call) == (
            [],
            Code.DEADLINE_EXCEEDED,
            "the deadline passed before the end of the stream",
        )
        await closed.wait()


async def test_a_stream_without_a_deadline_lasts(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    clock, may_end = ManualClock(), asyncio.Event()

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        yield model.replied(b"1")
        await may_end.wait()
        yield model.replied(b"2")

    async with open_door(things, clock=clock) as door, channel_to(door) as channel:
        door.handler.streams["Watch"] = answers
        call = channel.unary_stream(WATCH)(b"")
        assert await call.read() == b"1"
        for _ in range(50):  # longer than connections last: the stream outlives that too
            await clock.advance(40)
            # A reply, so that the client has answered whatever it was asked in the meantime.
            await channel.unary_unary(GET)(b"", wait_for_ready=True)
        may_end.set()
        assert await ended(call) == ([b"2"], Code.OK, "")


async def test_streams_may_finish_while_the_server_drains(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_end = asyncio.Event()

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        yield model.replied(b"1")
        await may_end.wait()
        yield model.replied(b"2")

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Watch"] = answers
        call = channel.unary_stream(WATCH)(b"")
        assert await call.read() == b"1"
        draining = asyncio.create_task(door.port.drain(30))
        for _ in range(20):
            await asyncio.sleep(0)
        may_end.set()

        assert await ended(call) == ([b"2"], Code.OK, "")
        await draining


async def test_streams_that_outlast_the_grace_are_cut_off_with_the_reason(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    clock, closed = ManualClock(), asyncio.Event()

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        try:
            yield model.replied(b"1")
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with open_door(things, clock=clock) as door, channel_to(door) as channel:
        door.handler.streams["Watch"] = answers
        call = channel.unary_stream(WATCH)(b"")
        assert await call.read() == b"1"
        draining = asyncio.create_task(door.port.drain(5.0))
        await clock.advance(5.1)
        await draining

        _, code, text = await ended(call)
        assert (code, text[:23]) == (Code.UNAVAILABLE, "this server is stopping")
        assert closed.is_set()


async def test_a_stream_counts_among_the_requests_in_flight_while_it_runs(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_end = asyncio.Event()

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        yield model.replied(b"1")
        await may_end.wait()

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.streams["Watch"] = answers
        door.host.handler = AdmittingHandler(
            door.handler, SystemClock(), Limits(max_commands_in_flight=1)
        )
        first = channel.unary_stream(WATCH)(b"")
        assert await first.read() == b"1"
        _, code, _ = await ended(channel.unary_stream(WATCH)(b""))
        assert code is Code.RESOURCE_EXHAUSTED

        may_end.set()
        assert await ended(first) == ([], Code.OK, "")
        assert (await ended(channel.unary_stream(WATCH)(b"")))[1] is Code.OK
