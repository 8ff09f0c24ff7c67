"""Streams whose one end is slower than the other: nothing piles up between them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingAckReceived, PingReceived, StreamReset
from runtime_doubles.http2_client import Client, client_of, connections, with_headers

from cloudstate_core.errors import MalformedRequest
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.frontend.grpc.call import Call, Conversation
from cloudstate_runtime.frontend.grpc.wire import MessageReader, message_frame

WATCH = with_headers(path="/test.things.Things/Watch")
CHAT = with_headers(path="/test.things.Things/Chat")

#: What a client allows on a stream, and on all of them, that says nothing else.
WINDOW_BYTES = 65_535

ELEMENT_BYTES = 1000


class Source:
    """A handler whose stream never ends, and waits for nothing."""

    def __init__(self, model: Any) -> None:
        self.taken = 0
        self.closed = asyncio.Event()
        self._model = model

    async def __call__(self, request: Request) -> AsyncGenerator[Outcome, None]:
        try:
            while True:
                self.taken += 1
                yield self._model.replied(bytes(ELEMENT_BYTES))
        finally:
            self.closed.set()


async def settled(count: Callable[[], int]) -> int:
    """What a count comes to when it does not change any more."""
    while True:
        before = count()
        for _ in range(200):
            await asyncio.sleep(0)
        if count() == before:
            return before


async def test_a_client_that_does_not_read_is_not_written_for(
    open_door: Any, things: Any, model: Any
) -> None:
    source = Source(model)
    async with open_door(things) as door:
        door.handler.streams["Watch"] = source
        client = await client_of(door)
        stream_id = client.call(WATCH, message_frame(b""))
        while len(client.data(stream_id)) < WINDOW_BYTES:
            await client.receive()

        # What fills the window, and the one that does not fit any more.
        most = WINDOW_BYTES // (ELEMENT_BYTES + 5) + 1
        assert await settled(lambda: source.taken) == most

        client.h2.increment_flow_control_window(100_000)
        client.h2.increment_flow_control_window(20_000, stream_id)
        client.flush()
        while len(client.data(stream_id)) < WINDOW_BYTES + 20_000:
            await client.receive()
        assert await settled(lambda: source.taken) <= most + 20_000 // (ELEMENT_BYTES + 5) + 1

        client.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        client.flush()
        await source.closed.wait()


async def test_a_client_that_reads_nothing_from_its_socket_is_not_written_for(
    open_door: Any, things: Any, model: Any
) -> None:
    source = Source(model)
    async with open_door(things) as door:
        door.handler.streams["Watch"] = source
        client = await client_of(door)
        client._writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.h2.increment_flow_control_window(2**31 - 1 - WINDOW_BYTES)
        stream_id = client.call(WATCH, message_frame(b""))
        client.h2.increment_flow_control_window(2**31 - 1 - WINDOW_BYTES, stream_id)
        client.flush()

        # The kernel takes some megabytes; nothing more is kept for it.
        await settled(lambda: source.taken)
        (connection,) = connections(door)
        assert source.taken > 100
        assert connection._transport.get_write_buffer_size() < 256 * 1024
        client._writer.transport.abort()
        await source.closed.wait()


async def test_a_stream_that_never_waits_lets_others_have_their_turn(
    open_door: Any, things: Any, model: Any
) -> None:
    source = Source(model)
    async with open_door(things) as door:
        door.handler.streams["Watch"] = source
        greedy, modest = await client_of(door), await client_of(door)
        greedy.h2.increment_flow_control_window(2**31 - 1 - WINDOW_BYTES)
        stream_id = greedy.call(WATCH, message_frame(b""))
        greedy.h2.increment_flow_control_window(2**31 - 1 - WINDOW_BYTES, stream_id)
        greedy.flush()
        while source.taken < 1000:
            await greedy.receive()

        async def read_on() -> None:
            while await greedy._reader.read(1 << 20):
                pass

        reading = asyncio.create_task(read_on())
        answer = await modest.answer(modest.call(with_headers(), message_frame(b"")))
        assert answer["grpc-status"] == "0"
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


async def window_opens(client: Client, stream_id: int, size_bytes: int) -> bool:
    """Return whether the server has allowed so much by the time it answers a ping."""
    client.h2.ping(bytes(8))
    client.flush()
    seen = len(client.events)
    while not any(isinstance(each, PingAckReceived) for each in client.events[seen:]):
        assert await client.receive()
    return bool(client.h2.local_flow_control_window(stream_id) >= size_bytes)


async def sent_until_full(client: Client, stream_id: int, frame: bytes, most: int) -> int:
    """Send a frame again and again while the server allows it, up to so many bytes.

    Returns:
        How many bytes it allowed.
    """
    sent = 0
    while sent < most:
        size = min(16_000, client.h2.local_flow_control_window(stream_id))
        if size < len(frame):
            if not await window_opens(client, stream_id, len(frame)):
                break
            continue
        whole = frame * (size // len(frame))
        client.h2.send_data(stream_id, whole)
        client.flush()
        sent += len(whole)
    return sent


@pytest.mark.parametrize("message", [b"", b"x", bytes(10_000)], ids=["empty", "small", "large"])
async def test_a_handler_that_does_not_read_keeps_the_clients_window_closed(
    open_door: Any, things: Any, model: Any, message: bytes
) -> None:
    may_read, found = asyncio.Event(), []

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        await may_read.wait()
        found.extend([len(each.value) async for each in request.messages or ()])
        yield model.replied(b"")

    async with open_door(things) as door:
        door.handler.streams["Chat"] = answers
        client = await client_of(door)
        stream_id = client.call(CHAT, None, end=False)
        frame = message_frame(message)
        sent = await sent_until_full(client, stream_id, frame, 1_000_000)

        assert 256 * 1024 - len(frame) < sent <= 256 * 1024
        (connection,) = connections(door)
        assert connection.calls[stream_id].reader.held_bytes() == sent

        # Nor does one such stream hold up another call.
        other = await client.answer(client.call(with_headers(), message_frame(bytes(100_000))[:9]))
        assert other["grpc-status"] == "3"

        may_read.set()
        more = 0
        while more < 300_000:
            more += await sent_until_full(client, stream_id, frame, 300_000 - more)
        client.h2.end_stream(stream_id)
        client.flush()
        assert (await client.answer(stream_id))["grpc-status"] == "0"
        assert found == [len(message)] * ((sent + more) // len(frame))


async def test_messages_are_unpacked_one_at_a_time(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        packed = gzip.compress(bytes(4 * 1024 * 1024))
        frame = b"\x01" + len(packed).to_bytes(4, "big") + packed
        stream_id = client.call([*CHAT, ("grpc-encoding", "gzip")], None, end=False)
        client.h2.send_data(stream_id, frame)
        client.flush()
        while not any(isinstance(e, DataReceived) for e in client.events):
            await client.receive()
        # The first one cannot leave, so the others stay packed.
        for _ in range(20):
            client.h2.send_data(stream_id, frame)
        client.flush()
        (connection,) = connections(door)
        reader = connection.calls[stream_id].reader
        while reader.held_bytes() < 20 * len(frame):
            await asyncio.sleep(0)
        assert await settled(reader.held_bytes) == 20 * len(frame)


async def test_a_stream_that_ends_in_the_middle_of_a_message_is_malformed(
    open_door: Any, things: Any
) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        stream_id = client.call(CHAT, message_frame(b"whole") + message_frame(b"half")[:-1])
        answer = await client.answer(stream_id)

        assert client.data(stream_id) == message_frame(b"whole")
        assert answer["grpc-status"] == "3"
        assert answer["grpc-message"] == "the request ended in the middle of a message"


async def test_a_failure_before_any_element_is_told_in_one_block_of_headers(
    open_door: Any, things: Any
) -> None:
    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        raise MalformedRequest("no")
        yield

    async with open_door(things) as door:
        door.handler.streams["Chat"] = answers
        client = await client_of(door)
        stream_id = client.call(CHAT, None, end=False)
        assert await client.answer(stream_id) == {
            ":status": "200",
            "content-type": "application/grpc",
            "grpc-status": "3",
            "grpc-message": "no",
        }
        # Nobody reads what the client still has to say, and it is told so.
        while not any(isinstance(e, StreamReset) for e in client.events):
            await client.receive()


async def test_a_request_of_too_many_messages_is_refused_before_it_ends(
    open_door: Any, things: Any
) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        stream_id = client.call(WATCH, message_frame(b"x") * 3, end=False)
        answer = await client.answer(stream_id)
        assert answer["grpc-message"] == "expected one message, found 3"


# --- Clients that are gone without a word --------------------------------------------


async def waiting_stream(door: Any, client: Client) -> tuple[int, asyncio.Event]:
    closed, begun = asyncio.Event(), asyncio.Event()

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        try:
            begun.set()
            await asyncio.Event().wait()
            yield
        finally:
            closed.set()

    door.handler.streams["Watch"] = answers
    stream_id = client.call(WATCH, message_frame(b""))
    while not begun.is_set():
        await client.receive()
    return stream_id, closed


async def test_a_client_that_gives_no_sign_of_life_is_given_up(open_door: Any, things: Any) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door:
        client = await client_of(door)
        _, closed = await waiting_stream(door, client)
        await clock.advance(60.2)
        assert not closed.is_set()
        await clock.advance(30.2)
        await closed.wait()


async def test_a_silent_client_that_answers_pings_keeps_its_stream(
    open_door: Any, things: Any
) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door:
        client = await client_of(door)
        _, closed = await waiting_stream(door, client)
        for count in range(1, 6):
            await clock.advance(60.2)
            while sum(isinstance(e, PingReceived) for e in client.events) < count:
                await client.receive()
            await clock.advance(0.2)
        await clock.advance(29)
        assert not closed.is_set()


async def test_pings_now_and_then_are_no_flood(open_door: Any, things: Any) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door:
        client = await client_of(door)
        _, closed = await waiting_stream(door, client)
        for _ in range(300):
            for _ in range(5):
                client.h2.ping(bytes(8))
            client.flush()
            await clock.advance(0.1)
        assert not closed.is_set()


# --- A call by itself ----------------------------------------------------------------


class FakeWire:
    def __init__(self) -> None:
        self.confirmed = 0

    async def send_message(self, call: Call, payload: bytes) -> None:
        raise AssertionError

    def consumed(self, call: Call, size_bytes: int) -> None:
        self.confirmed += size_bytes


async def test_a_message_that_somebody_waits_for_may_come_in_pieces() -> None:
    async def hold(call: Call) -> None:
        raise AssertionError

    wire, limits = FakeWire(), Limits()
    reader = MessageReader("identity", limits.max_request_bytes)
    call = Call(wire, 1, Conversation(hold), [], 0.0, reader)
    frame = message_frame(bytes(30_000))

    call.received(frame[:20_000], 20_000)
    assert wire.confirmed == 0
    reading = asyncio.create_task(call.read())
    await asyncio.sleep(0)
    assert wire.confirmed == 20_000
    call.received(frame[20_000:] + b"\x00", len(frame) - 20_000 + 1)
    assert await reading == bytes(30_000)
    # The small rest is confirmed with what comes next.
    assert wire.confirmed == 20_000
