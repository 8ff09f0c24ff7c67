"""HTTP/2 as no decent client speaks it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runtime_doubles.http2_client import (
    HEADERS,
    PREFACE,
    SETTINGS,
    client_of,
    connections,
    frame,
    with_headers,
)

from cloudstate_core.frontend import Limits
from cloudstate_core.testing.clock import ManualClock


async def test_a_decent_call_is_answered(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        stream_id = client.call(HEADERS, b"\x00\x00\x00\x00\x01x")

        assert await client.answer(stream_id) == {
            ":status": "200",
            "content-type": "application/grpc",
            "grpc-status": "0",
        }
        assert client.data(stream_id) == b"\x00\x00\x00\x00\x01x"


MALFORMED = [
    (HEADERS, None, "3", "expected one message, found 0"),
    (HEADERS, b"", "3", "expected one message, found 0"),
    (HEADERS, b"\x00", "3", "the request ended in the middle of a message"),
    (HEADERS, b"\x00\x00\x00\x00\x05abc", "3", "the request ended in the middle of a message"),
    (HEADERS, b"\x00\x00\x00\x00\x00" * 2, "3", "expected one message, found 2"),
    (HEADERS, b"\x01\x00\x00\x00\x00", "3", "a message is packed, but no grpc-encoding says how"),
    (HEADERS, b"\x00\xff\xff\xff\xff", "8", "expected a message of at most 4194304 bytes, found"),
    (
        with_headers(grpc_encoding="gzip"),
        b"\x01\x00\x00\x00\x03abc",
        "3",
        "a message is not gzip",
    ),
    (with_headers(grpc_encoding="br"), b"", "12", "expected grpc-encoding 'gzip' or none"),
    (with_headers(grpc_timeout="soon"), None, "3", "expected a grpc-timeout such as '10S'"),
    (with_headers(grpc_timeout="0n"), None, "4", "the deadline passed before"),
    (with_headers(path="/nope"), b"", "12", "service 'nope' is not served here"),
    (with_headers(path=None), b"", "12", "service '' is not served here"),
    (with_headers(x_a="a\r\nb"), b"\x00" * 5, "3", "illegal characters in header 'x-a'"),
    (with_headers(x_a_bin="!"), b"\x00" * 5, "3", "header 'x-a-bin' is not base64"),
    (
        with_headers(x_a="a" * 20_000),
        b"\x00" * 5,
        "8",
        "expected at most 16384 bytes of headers, found 20",
    ),
    (with_headers(x_a="a" * 60_000), b"\x00" * 5, "8", "expected at most 16384 bytes of headers"),
]


@pytest.mark.parametrize(("headers", "data", "status", "text"), MALFORMED)
async def test_a_malformed_call_is_refused_with_the_reason(
    open_door: Any,
    things: Any,
    headers: list[tuple[str, str]],
    data: bytes | None,
    status: str,
    text: str,
) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        answer = await client.answer(client.call(headers, data))
        assert answer[":status"] == "200"
        assert answer["grpc-status"] == status
        assert answer["grpc-message"].startswith(text)
        assert door.handler.requests == []

        # The connection is as good as before.
        again = await client.answer(client.call(HEADERS, b"\x00" * 5))
        assert again["grpc-status"] == "0"


@pytest.mark.parametrize(
    "headers",
    [
        with_headers(method="GET"),
        with_headers(content_type="application/json"),
        with_headers(content_type="application/grpc-web"),
        with_headers(content_type=None),
    ],
)
async def test_what_is_not_grpc_is_an_unsupported_type(
    open_door: Any, things: Any, headers: list[tuple[str, str]]
) -> None:
    async with open_door(things) as door:
        client = await client_of(door)

        assert await client.answer(client.call(headers, b"")) == {":status": "415"}


@pytest.mark.parametrize("kind", ["application/grpc+proto", "application/grpc; x=y"])
async def test_grpc_has_more_than_one_name(open_door: Any, things: Any, kind: str) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        answer = await client.answer(client.call(with_headers(content_type=kind), b"\x00" * 5))

        assert answer["grpc-status"] == "0"


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        frame(0, 1, 1, b"x"),  # data of a stream that was never opened
        frame(1, 5, 2, b""),  # a stream of the server's
        frame(1, 5, 1, b"\xff\xff\xff\xff"),  # headers that are none
        frame(9, 4, 1, b"x"),  # a continuation of nothing
        frame(8, 0, 0, b"\x00\x00\x00\x00"),  # a window that grows by nothing
        frame(8, 0, 0, b"\x7f\xff\xff\xff"),  # a window that grows too large
        frame(4, 0, 0, b"\x00"),  # half a setting
        frame(4, 0, 0, b"\x00\x05\x00\x00\x00\x01"),  # frames of one byte
        frame(6, 0, 0, b"x"),  # a ping of the wrong size
        frame(3, 0, 7, b"\x00\x00\x00\x00"),  # the end of a stream that never began
        b"\xff\xff\xff" + bytes(6),  # a frame larger than allowed
    ],
)
async def test_frames_that_break_the_protocol_close_the_connection(
    open_door: Any, things: Any, data: bytes
) -> None:
    async with open_door(things) as door:
        answer = await door.exchange(PREFACE + SETTINGS + data)
        assert b"Traceback" not in answer

        other = await client_of(door)
        assert (await other.answer(other.call(HEADERS, b"\x00" * 5)))["grpc-status"] == "0"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.builds(
            frame,
            st.integers(0, 12),
            st.integers(0, 255),
            st.sampled_from([0, 1, 2, 3, 2**31 - 1]),
            st.binary(max_size=40),
        ),
        max_size=6,
    )
)
def test_any_frames_leave_the_server_alive(open_door: Any, things: Any, frames: Any) -> None:
    async def check() -> None:
        async with open_door(things) as door:
            await door.exchange(PREFACE + SETTINGS + b"".join(frames))
            client = await client_of(door)
            answer = await client.answer(client.call(HEADERS, b"\x00" * 5))
            assert answer["grpc-status"] == "0"

    asyncio.run(check())


@pytest.mark.parametrize(
    "flood",
    [
        frame(6, 0, 0, bytes(8)) * 5000,
        SETTINGS * 5000,
        frame(8, 0, 0, b"\x00\x00\x00\x01") * 5000,
        frame(2, 0, 1, bytes(5)) * 5000,
    ],
    ids=["pings", "settings", "windows", "priorities"],
)
async def test_a_flood_of_frames_that_are_no_calls_is_cut_off(
    open_door: Any, things: Any, flood: bytes
) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        client.flush()
        client._writer.write(flood)

        assert ErrorCodes.ENHANCE_YOUR_CALM in await client.until_closed()


async def test_calls_that_are_cancelled_at_once_are_cut_off(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        for _ in range(1100):
            stream_id = client.h2.get_next_available_stream_id()
            client.h2.send_headers(stream_id, HEADERS)
            client.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
            client.flush()

        assert ErrorCodes.ENHANCE_YOUR_CALM in await client.until_closed()
        assert door.handler.requests == []


async def test_a_client_with_real_calls_may_cancel_as_many(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        for _ in range(30):
            for _ in range(100):
                stream_id = client.h2.get_next_available_stream_id()
                client.h2.send_headers(stream_id, HEADERS)
                client.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
                client.flush()
            answer = await client.answer(client.call(HEADERS, b"\x00" * 5))
            assert answer["grpc-status"] == "0"


async def test_more_streams_than_allowed_close_the_connection(open_door: Any, things: Any) -> None:
    async with open_door(things, limits=Limits(max_streams_per_connection=2)) as door:
        client = await client_of(door)
        for _ in range(3):
            client.call(HEADERS, None, end=False)

        assert await client.until_closed() != []


async def test_headers_of_many_times_the_limit_close_the_connection(
    open_door: Any, things: Any
) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        client.call(with_headers(x_a="a" * 80_000), None)

        assert await client.until_closed() == [ErrorCodes.ENHANCE_YOUR_CALM]
        assert door.handler.requests == []
        another = await client_of(door)
        assert (await another.answer(another.call(HEADERS, b"\x00" * 5)))["grpc-status"] == "0"


async def test_headers_without_end_close_the_connection(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        client.flush()
        client._writer.write(frame(1, 1, 1, b"\x82"))
        for _ in range(200):
            client._writer.write(frame(9, 0, 1, b"\x82" * 10_000))

        assert await client.until_closed() != []


async def test_a_client_that_never_sends_settings_is_closed(open_door: Any, things: Any) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door:
        reader, writer = await door.connect()
        writer.write(PREFACE)
        await reader.read(1)
        await clock.advance(10.2)

        await reader.read()
        while door.port.connections:
            await asyncio.sleep(0)


async def test_a_request_that_never_ends_is_ended(open_door: Any, things: Any) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door:
        client = await client_of(door)
        stream_id = client.call(with_headers(grpc_timeout="5S"), b"\x00\x00", end=False)
        await client.receive()
        while not any(c.calls for c in connections(door)):
            await asyncio.sleep(0)
        await clock.advance(5.2)

        assert (await client.answer(stream_id))["grpc-status"] == "4"


async def test_a_client_that_does_not_read_its_answer_is_not_waited_for(
    open_door: Any, things: Any
) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door:
        client = await client_of(door)
        payload = bytes(200_000)
        message = b"\x00" + len(payload).to_bytes(4, "big") + payload
        stream_id = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream_id, HEADERS)
        client.flush()
        sent = 0
        while sent < len(message):
            size = min(16_384, client.h2.local_flow_control_window(stream_id), len(message) - sent)
            if size:
                client.h2.send_data(stream_id, message[sent : sent + size])
                sent += size
                client.flush()
            else:
                await client.receive()
        client.h2.end_stream(stream_id)
        client.flush()

        # It never opens its window again. The answer stops after 65,535 bytes.
        while len(client.data(stream_id)) < 65_535:
            await client.receive()
        await clock.advance(61)
        answer = await client.answer(stream_id)

        assert answer["grpc-status"] == "4"
        (_, acceptor), *_ = door.port._front_ends
        while acceptor.tasks:
            await asyncio.sleep(0)


async def test_a_client_that_opens_its_window_gets_the_rest(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        client.h2.increment_flow_control_window(1_000_000)
        stream_id = client.call(HEADERS, b"\x00\x00\x00\x00\x01x", end=True)
        await client.answer(stream_id)

        async def large(request: Any) -> Any:
            from cloudstate.entity_pb2 import ClientAction
            from cloudstate_core.handler import Outcome

            action = ClientAction()
            action.reply.payload.value = bytes(300_000)
            return Outcome(action)

        door.handler.answers["Get"] = large
        stream_id = client.call(HEADERS, b"\x00" * 5)
        while len(client.data(stream_id)) < 65_535:
            await client.receive()
        client.h2.increment_flow_control_window(400_000, stream_id)
        client.flush()

        assert (await client.answer(stream_id))["grpc-status"] == "0"
        assert len(client.data(stream_id)) == 300_005


async def test_a_client_that_says_goodbye_is_closed(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        client.flush()
        await client.receive()
        client.h2.close_connection()
        client.flush()

        await client.until_closed()
        while door.port.connections:
            await asyncio.sleep(0)


async def test_streams_beyond_the_last_one_of_a_draining_server_are_refused(
    open_door: Any, things: Any
) -> None:
    async with open_door(things) as door:
        client = await client_of(door)
        first = client.call(HEADERS, b"\x00", end=False)
        while not door.port.connections or not any(c.calls for c in connections(door)):
            await client.receive()
        draining = asyncio.create_task(door.port.drain(30))
        while not all(c.farewell.has_begun for c in connections(door)):
            await asyncio.sleep(0)
        # It had begun one when it heard of the farewell, so that is taken: a client says that it
        # has heard before it sends what waits.
        on_its_way, later = (client.h2.get_next_available_stream_id() + n for n in (0, 2))
        client.h2.send_headers(on_its_way, HEADERS)
        client.h2.send_data(on_its_way, b"\x00" * 5, end_stream=True)
        client._writer.write(frame(6, 1, 0, b"GOAWAY ?") + client.h2.data_to_send())
        # It begins another one all the same.
        while not all(c.farewell.takes_no_more for c in connections(door)):
            await asyncio.sleep(0)
        client.h2.send_headers(later, HEADERS, end_stream=True)
        client.h2.send_data(first, b"\x00" * 4, end_stream=True)
        client._writer.write(client.h2.data_to_send())

        received = b""
        while data := await client._reader.read(65536):
            received += data
        client._writer.close()
        await draining

        no_error = bytes(4)
        assert frame(7, 0, 0, (2**31 - 1).to_bytes(4, "big") + no_error) in received
        assert frame(7, 0, 0, on_its_way.to_bytes(4, "big") + no_error) in received
        assert frame(3, 0, later, int(ErrorCodes.REFUSED_STREAM).to_bytes(4, "big")) in received
        assert len(door.handler.requests) == 2
