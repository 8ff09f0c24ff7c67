"""Bodies of requests that are streams of messages, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import pytest

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import Outcome, Request

LINES = "application/x-ndjson"
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


def answering(*outcomes: Outcome | Exception) -> Any:
    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    return answers


async def test_a_body_of_lines_is_a_stream_of_messages(
    door: Any, client: httpx.AsyncClient, thing: Any
) -> None:
    found = []

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        async for message in request.messages or ():
            assert message.type_url == "type.googleapis.com/test.things.Thing"
            found.append(thing.FromString(message.value).text)
        yield Outcome(reply(b""))

    door.handler.streams["Collect"] = answers
    body = b'{"text":"a"}\n\n  \r\n{"text":"b\\nc"}\r\n{"text":"d"}'
    response = await client.post("/collect", content=body, headers={"content-type": LINES})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert found == ["a", "b\nc", "d"]


def reply(payload: bytes) -> ClientAction:
    action = ClientAction()
    action.reply.payload.value = payload
    return action


async def test_a_body_of_json_is_one_message(door: Any, client: httpx.AsyncClient) -> None:
    response = await client.post("/collect", json={"text": "a"})
    assert response.json()["text"] == "a"
    response = await client.post(CHAT, json={"text": "a"})
    assert response.headers["content-type"] == LINES
    assert json.loads(response.text)["text"] == "a"


async def test_both_may_stream(door: Any, client: httpx.AsyncClient) -> None:
    body = b"".join(b'{"aInt32":%d}\n' % number for number in range(10_000))
    response = await client.post(CHAT, content=body, headers={"content-type": LINES})
    lines = response.content.split(b"\n")[:-1]
    assert [json.loads(line)["aInt32"] for line in lines] == list(range(10_000))


async def test_question_and_answer_may_take_turns(door: Any) -> None:
    reader, writer = await door.connect()
    writer.write(
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: {LINES}\r\n"
        "transfer-encoding: chunked\r\n\r\n".encode()
    )
    for number in range(5):
        line = b'{"aInt32":%d}\n' % number
        writer.write(b"%x\r\n%b\r\n" % (len(line), line))
        assert b'"aInt32":%d,' % number in await reader.readuntil(b"}\n\r\n")
    writer.write(b"0\r\n\r\n")
    assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b'{"text":"a"}\n{"text":\n', 400, "line 2: "),
        (b'{"text":"a"}\n{"nope":1}', 400, "line 2: "),
        (b"[" * 100 + b"\n", 413, "line 1: "),
        (b'{"text":"' + bytes([97]) * 1000 + b'"}\n', 413, "line 1: expected at most 1000 bytes"),
        (b"\n" + b" " * 1001, 413, "line 2: expected at most 1000 bytes, found more"),
    ],
)
async def test_a_line_that_is_no_message_is_refused_with_its_number(
    open_door: Any, things: Any, body: bytes, status: int, text: str
) -> None:
    limits = Limits(max_request_bytes=1000)
    async with (
        open_door(things, limits=limits) as door,
        httpx.AsyncClient(base_url=door.url) as client,
    ):
        response = await client.post("/collect", content=body, headers={"content-type": LINES})
        assert response.status_code == status
        assert response.json()["message"].startswith(text)


async def test_a_body_of_lines_may_be_larger_than_any_message(
    open_door: Any, things: Any, thing: Any
) -> None:
    limits = Limits(max_request_bytes=1000)
    async with (
        open_door(things, limits=limits) as door,
        httpx.AsyncClient(base_url=door.url, timeout=20) as client,
    ):

        async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
            count = len([message async for message in request.messages or ()])
            yield Outcome(reply(thing(a_int32=count).SerializeToString()))

        door.handler.streams["Collect"] = answers
        body = b'{"text":"a"}\n' * 100_000
        response = await client.post("/collect", content=body, headers={"content-type": LINES})
        assert response.json()["aInt32"] == 100_000


async def test_a_handler_that_does_not_read_lets_the_client_wait(door: Any) -> None:
    may_read = asyncio.Event()
    count = 0

    async def answers(request: Request) -> AsyncGenerator[Outcome, None]:
        nonlocal count
        await may_read.wait()
        async for _ in request.messages or ():
            count += 1
        yield Outcome(reply(b""))

    door.handler.streams["Collect"] = answers
    _, writer = await door.connect()
    chunk = b'{"text":"a"}\n' * 10_000
    lines = 1000
    writer.write(
        f"POST /collect HTTP/1.1\r\nhost: x\r\ncontent-type: {LINES}\r\n"
        f"content-length: {lines * len(chunk)}\r\n\r\n".encode()
    )

    async def send() -> None:
        for _ in range(lines):
            writer.write(chunk)
            await writer.drain()

    sending = asyncio.create_task(send())
    while not door.handler.requests:
        await asyncio.sleep(0.001)
    done, _ = await asyncio.wait((sending,), timeout=0.3)
    assert not done  # 130 MB are more than what the kernel keeps
    may_read.set()
    while count < 20_000:
        await asyncio.sleep(0.001)
    sending.cancel()
    writer.transport.abort()


async def test_packed_lines_are_refused(client: httpx.AsyncClient) -> None:
    headers = {"content-type": LINES, "content-encoding": "gzip"}
    response = await client.post("/collect", content=b"x", headers=headers)
    assert response.status_code == 400
    assert response.json()["message"] == (
        "expected no content-encoding for a body of lines, found 'gzip'"
    )


async def test_lines_are_no_body_of_a_method_that_takes_one_message(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/things", content=b"{}", headers={"content-type": LINES})
    assert response.status_code == 400


async def test_a_body_of_lines_may_take_its_time_and_not_stop(open_door: Any, things: Any) -> None:
    limits = Limits(default_deadline_s=0.3)
    async with open_door(things, limits=limits) as door:
        reader, writer = await door.connect()
        writer.write(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: {LINES}\r\n"
            "transfer-encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(8):
            writer.write(b"3\r\n{}\n\r\n")
            await reader.readuntil(b"}\n\r\n")
            await asyncio.sleep(0.1)  # the patience of a connection is in real time
        assert await reader.read() == b""  # silence is the end


@pytest.mark.parametrize("outcomes", [(), (Outcome(ClientAction()),)])
async def test_a_client_that_streams_and_gets_no_answer_is_told(
    door: Any, client: httpx.AsyncClient, outcomes: Any
) -> None:
    door.handler.streams["Collect"] = answering(*outcomes)
    response = await client.post("/collect", json={})
    assert response.status_code == 500
    assert response.json()["message"] == "the user function gave no reply"


async def test_a_failure_of_a_method_that_answers_once_is_answered_as_ever(
    door: Any, client: httpx.AsyncClient
) -> None:
    door.handler.streams["Collect"] = answering(failed("no"))
    response = await client.post("/collect", json={})
    assert (response.status_code, response.text) == (500, "no")
