"""Streamed methods over HTTP, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import pytest
from google.api.httpbody_pb2 import HttpBody
from structlog.testing import capture_logs

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.errors import LimitExceeded, UserFunctionUnavailable
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.testing.clock import ManualClock

EVENTS, LINES = "text/event-stream", "application/x-ndjson"
CHAT = "/test.things.Things/Chat"


@pytest.fixture
async def door(open_door: Any, things: Any) -> AsyncIterator[Any]:
    async with open_door(things) as door:
        yield door


@pytest.fixture
async def client(door: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=door.url, timeout=10) as client:
        yield client


def failed(text: str) -> Outcome:
    action = ClientAction()
    action.failure.description = text
    return Outcome(action)


class Waiting:
    """A handler that gives some elements and then waits until it is closed or may go on."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.begun, self.may_end, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._outcomes = outcomes

    async def __call__(self, request: Request) -> AsyncGenerator[Outcome, None]:
        try:
            self.begun.set()
            for outcome in self._outcomes:
                yield outcome
            await self.may_end.wait()
        finally:
            self.closed.set()


def answering(*outcomes: Outcome | Exception) -> Any:
    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    return answers


def body_of(response: bytes) -> tuple[bytes, bool]:
    """The chunks of a response put together, and whether the last one says that it is the last."""
    _, _, rest = response.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return body, True
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body, False


def get(path: str, *headers: str) -> bytes:
    lines = (f"GET {path} HTTP/1.1", "host: x", "connection: close", *headers, "", "")
    return "\r\n".join(lines).encode()


async def answered(door: Any, request: bytes) -> bytes:
    """All that is answered, by a server that is left to close the connection."""
    reader, writer = await door.connect()
    writer.write(request)
    found: bytes = await reader.read()
    return found


# --- To the client -------------------------------------------------------------------


async def test_elements_are_lines(
    door: Any, client: httpx.AsyncClient, model: Any, thing: Any
) -> None:
    texts = ["a", "two\nlines\r\n", "\u2028", ""]
    door.handler.streams["Watch"] = answering(
        *(model.replied(thing(text=text).SerializeToString()) for text in texts)
    )
    response = await client.get("/watch/7?flag=true")

    assert response.status_code == 200
    assert response.headers["content-type"] == LINES
    assert [json.loads(line)["text"] for line in response.content.split(b"\n")[:-1]] == texts
    (request,) = door.handler.requests
    assert thing.FromString(request.payload.value) == thing(id="7", flag=True)
    assert (request.messages, request.deadline_s) == (None, None)


async def test_elements_are_events_for_a_client_that_asks_for_them(
    door: Any, client: httpx.AsyncClient, model: Any, thing: Any
) -> None:
    texts = ["a", "two\nlines"]
    door.handler.streams["Watch"] = answering(
        *(model.replied(thing(text=text).SerializeToString()) for text in texts)
    )
    response = await client.get("/watch/7", headers={"accept": EVENTS})

    assert response.headers["content-type"] == EVENTS
    assert response.headers["cache-control"] == "no-cache"
    events = response.text.split("\n\n")[:-1]
    assert [json.loads(event.removeprefix("data: "))["text"] for event in events] == texts


async def test_ten_thousand_elements_come_in_order(
    door: Any, client: httpx.AsyncClient, model: Any, thing: Any
) -> None:
    numbers = range(10_000)
    door.handler.streams["Watch"] = answering(
        *(model.replied(thing(a_int32=number).SerializeToString()) for number in numbers)
    )
    async with client.stream("GET", "/watch/7") as response:
        found = [json.loads(line)["aInt32"] async for line in response.aiter_lines()]
    assert found == list(numbers)


async def test_every_element_is_sent_when_it_comes(
    door: Any, client: httpx.AsyncClient, model: Any, thing: Any
) -> None:
    handler = Waiting(model.replied(b"", ("X-A", "1"), ("content-type", "no")))
    door.handler.streams["Watch"] = handler
    with capture_logs() as logs:
        async with client.stream("GET", "/watch/7") as response:
            assert response.headers["x-a"] == "1"
            lines = response.aiter_lines()
            assert json.loads(await anext(lines))["id"] == ""
            handler.may_end.set()
            assert [line async for line in lines] == []
    assert [log["event"] for log in logs] == ["reply_header_dropped"]


@pytest.mark.parametrize("accept", [EVENTS, LINES])
async def test_a_stream_of_nothing_is_an_empty_body(
    door: Any, client: httpx.AsyncClient, accept: str
) -> None:
    door.handler.streams["Watch"] = answering(Outcome(ClientAction()))
    response = await client.get("/watch/7", headers={"accept": accept})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == accept


async def test_bodies_of_the_user_function_follow_each_other(
    door: Any, client: httpx.AsyncClient, model: Any
) -> None:
    parts = HttpBody(content_type="text/csv", data=b"a,b\n"), HttpBody(data=b"1,2\n")
    door.handler.streams["Download"] = answering(
        *(model.replied(part.SerializeToString()) for part in parts)
    )
    response = await client.get("/downloads/7", headers={"accept": EVENTS})
    assert response.headers["content-type"] == "text/csv"
    assert response.content == b"a,b\n1,2\n"

    door.handler.streams["Download"] = answering(model.replied(parts[1].SerializeToString()))
    response = await client.get("/downloads/7")
    assert response.headers["content-type"] == "application/octet-stream"


async def test_a_connection_serves_on_after_a_stream(
    door: Any, client: httpx.AsyncClient, model: Any
) -> None:
    for _ in range(3):
        assert (await client.get("/watch/7")).status_code == 200
        assert (await client.get("/things/7")).json()["id"] == "7"
    assert door.port.connections == 1


async def test_a_client_that_asks_for_the_headers_gets_those_of_the_first_element(
    door: Any, client: httpx.AsyncClient, model: Any
) -> None:
    handler = Waiting(model.replied(b"", ("x-a", "1")))
    door.handler.streams["Watch"] = handler
    response = await client.head("/watch/7")
    assert (response.status_code, response.headers["x-a"]) == (200, "1")
    assert handler.closed.is_set()


# --- What goes wrong -----------------------------------------------------------------


@pytest.mark.parametrize("accept", [EVENTS, LINES])
async def test_what_fails_before_the_first_element_is_answered_as_ever(
    door: Any, client: httpx.AsyncClient, accept: str
) -> None:
    headers = {"accept": accept}
    door.handler.streams["Watch"] = answering(failed("no socks"))
    response = await client.get("/watch/7", headers=headers)
    assert (response.status_code, response.text) == (500, "no socks")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"

    door.handler.streams["Watch"] = answering(LimitExceeded("full", retry_after_s=1))
    response = await client.get("/watch/7", headers=headers)
    assert (response.status_code, response.json()["code"]) == (429, 8)
    assert response.headers["retry-after"] == "1"

    response = await client.get("/watch/7?nope=1", headers=headers)
    assert response.status_code == 400


ERRORS = [
    (failed("no socks"), 2, "no socks"),
    (UserFunctionUnavailable("the user function cannot be reached"), 14, "the user function can"),
]


@pytest.mark.parametrize(("error", "code", "text"), ERRORS)
async def test_what_fails_later_is_the_last_event(
    door: Any, client: httpx.AsyncClient, model: Any, error: Any, code: int, text: str
) -> None:
    door.handler.streams["Watch"] = answering(model.replied(b""), error)
    response = await client.get("/watch/7", headers={"accept": EVENTS})

    first, last, end = response.text.split("\n\n")
    assert (first[:6], end) == ("data: ", "")
    name, data = last.split("\n")
    assert name == "event: error"
    status = json.loads(data.removeprefix("data: "))
    assert (status["code"], status["message"][: len(text)]) == (code, text)
    assert (await client.get("/things/7")).status_code == 200


@pytest.mark.parametrize(("error", "code", "text"), ERRORS)
async def test_what_fails_later_is_the_last_line_of_a_body_without_end(
    door: Any, model: Any, error: Any, code: int, text: str
) -> None:
    door.handler.streams["Watch"] = answering(model.replied(b""), error)
    body, is_complete = body_of(await answered(door, get("/watch/7")))

    first, last, end = body.split(b"\n")
    assert (json.loads(first)["id"], end) == ("", b"")
    status = json.loads(last)["error"]
    assert (status["code"], status["message"][: len(text)]) == (code, text)
    assert not is_complete


async def test_a_body_of_the_user_function_that_fails_has_no_end(door: Any, model: Any) -> None:
    part = HttpBody(data=b"half")
    door.handler.streams["Download"] = answering(
        model.replied(part.SerializeToString()), failed("no")
    )
    assert body_of(await answered(door, get("/downloads/7"))) == (b"half", False)


async def test_an_element_that_cannot_be_read_ends_the_stream(
    door: Any, client: httpx.AsyncClient, model: Any
) -> None:
    door.handler.streams["Watch"] = answering(model.replied(b""), model.replied(b"\xff"))
    with capture_logs() as logs:
        response = await client.get("/watch/7", headers={"accept": EVENTS})
    assert '"code":13' in response.text
    assert [log["event"] for log in logs] == ["internal_error"]


@pytest.mark.parametrize("accept", [EVENTS, LINES])
async def test_a_client_that_disconnects_closes_its_stream_at_once(
    door: Any, model: Any, accept: str
) -> None:
    handler = Waiting(model.replied(b""))
    door.handler.streams["Watch"] = handler
    _, writer = await door.connect()
    writer.write(get("/watch/7", f"accept: {accept}"))
    await handler.begun.wait()
    assert not handler.closed.is_set()
    writer.close()
    await handler.closed.wait()


async def test_a_client_that_does_not_read_is_not_written_for(
    door: Any, model: Any, thing: Any
) -> None:
    taken, closed = 0, asyncio.Event()
    element = model.replied(thing(data=bytes(10_000)).SerializeToString())

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        nonlocal taken
        try:
            while True:
                taken += 1
                yield element
        finally:
            closed.set()

    door.handler.streams["Watch"] = answers
    reader, writer = await door.connect()
    writer.transport.pause_reading()
    writer.write(get("/watch/7"))
    before = -1
    while taken != before or not taken:  # until the buffers of the kernel are full
        before = taken
        for _ in range(200):
            await asyncio.sleep(0)
    assert taken < 2_000

    # It goes on where it stopped.
    writer.transport.resume_reading()
    while taken < before + 100:
        await reader.read(1 << 20)
    writer.close()
    await closed.wait()


async def test_a_silent_stream_of_events_has_a_heartbeat(
    open_door: Any, things: Any, model: Any
) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door:
        handler = Waiting(model.replied(b""))
        door.handler.streams["Watch"] = handler
        reader, writer = await door.connect()
        writer.write(get("/watch/7", f"accept: {EVENTS}"))
        await reader.readuntil(b"}\n\n\r\n")
        await clock.advance(15)  # an element was sent meanwhile
        await clock.advance(15)
        assert await reader.readuntil(b"\n\n\r\n") == b"3\r\n:\n\n\r\n"
        await clock.advance(15)
        assert await reader.readuntil(b"\n\n\r\n") == b"3\r\n:\n\n\r\n"
        handler.may_end.set()
        assert await reader.read() == b"0\r\n\r\n"


async def test_streams_may_finish_while_the_server_drains(door: Any, model: Any) -> None:
    handler = Waiting(model.replied(b""))
    door.handler.streams["Watch"] = handler
    answer = asyncio.create_task(answered(door, get("/watch/7")))
    await handler.begun.wait()
    draining = asyncio.create_task(door.port.drain(30))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not draining.done()
    handler.may_end.set()
    _, is_complete = body_of(await answer)
    assert is_complete
    await draining


async def test_streams_that_outlast_the_grace_are_told_why(door: Any, model: Any) -> None:
    begun, fresh = Waiting(model.replied(b"")), Waiting()
    door.handler.streams = {"Watch": begun, "Collect": fresh}
    events = asyncio.create_task(answered(door, get("/watch/7", f"accept: {EVENTS}")))
    lines = asyncio.create_task(answered(door, get("/watch/7")))
    post = b"POST /collect HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    single = asyncio.create_task(answered(door, post))
    while len(door.handler.requests) < 3:
        await asyncio.sleep(0.001)
    await door.port.drain(0.1)

    body, is_complete = body_of(await events)
    assert b'event: error\ndata: {"code":14,' in body
    assert is_complete
    body, is_complete = body_of(await lines)
    assert b'{"error":{"code":14,' in body
    assert not is_complete
    assert (await single).startswith(b"HTTP/1.1 503 ")
    assert begun.closed.is_set()
    assert fresh.closed.is_set()
