"""What an HTTP client sees when something fails or the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from runtime_doubles.unread_socket import unread_socket
from structlog.testing import capture_logs

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.errors import (
    DeadlineExceeded,
    LimitExceeded,
    MalformedRequest,
    SequenceConflict,
    StoreUnavailable,
    UnknownService,
    UserFunctionError,
)
from cloudstate_core.failure_code import with_code
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.status import Status
from cloudstate_core.testing.clock import ManualClock

KIND = "application/json"


@pytest.fixture
async def door(open_door: Any, things: Any) -> AsyncIterator[Any]:
    async with open_door(things) as door:
        yield door


@pytest.fixture
async def client(door: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=door.url) as client:
        yield client


@pytest.mark.parametrize(
    ("raised", "http_status", "code"),
    [
        (MalformedRequest("the entity key 'id' is empty"), 400, 3),
        (UnknownService("no"), 404, 12),
        (LimitExceeded("too large"), 413, 8),
        (LimitExceeded("full", retry_after_s=0.2), 429, 8),
        (DeadlineExceeded("too late"), 504, 4),
        (StoreUnavailable("the store is away"), 503, 14),
        (SequenceConflict("7", expected=1, actual=2), 409, 10),
        (UserFunctionError("it broke the protocol", detail="secret"), 500, 13),
    ],
    ids=str,
)
async def test_an_error_is_its_status_as_json(
    door: Any, client: httpx.AsyncClient, raised: Exception, http_status: int, code: int
) -> None:
    door.handler.raises("Get", raised)
    response = await client.get("/things/7")

    assert response.status_code == http_status
    assert response.headers["content-type"] == KIND
    assert response.json()["code"] == code
    assert response.json()["message"] == str(raised)
    assert "secret" not in response.text


async def test_a_refusal_that_may_pass_says_when_to_try_again(
    door: Any, client: httpx.AsyncClient
) -> None:
    door.handler.raises("Get", LimitExceeded("full", retry_after_s=1.5))
    response = await client.get("/things/7")

    assert response.headers["retry-after"] == "2"
    assert response.json()["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500000000s"}
    ]


async def test_an_unforeseen_error_tells_the_client_an_id_and_the_log_the_rest(
    door: Any, client: httpx.AsyncClient
) -> None:
    door.handler.raises("Get", KeyError("secret"))
    with capture_logs() as logs:
        response = await client.get("/things/payload")

    assert response.status_code == 500
    assert response.json()["message"].startswith("internal error, id ")
    (line,) = [entry for entry in logs if entry["event"] == "internal_error"]
    assert response.json()["message"].endswith(line["error_id"])
    assert repr(line["exc_info"]) == "KeyError('secret')"
    assert "secret" not in response.text
    assert "payload" not in repr(line)


async def test_a_reply_that_cannot_be_read_is_an_internal_error(
    door: Any, client: httpx.AsyncClient, model: Any
) -> None:
    async def answer(request: Request) -> Outcome:
        outcome: Outcome = model.replied(b"\xff\xff")
        return outcome

    door.handler.answers["Get"] = answer
    with capture_logs():
        response = await client.get("/things/7")

    assert response.status_code == 500
    assert response.json()["message"].startswith("internal error, id ")


async def test_a_failure_that_was_answered_is_its_description(
    door: Any, client: httpx.AsyncClient
) -> None:
    action = ClientAction()
    action.failure.description = "quantity é"
    door.handler.answers_with("Get", action)
    response = await client.get("/things/7")

    assert (response.status_code, response.text) == (500, "quantity é")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_failure_may_name_its_code(door: Any, client: httpx.AsyncClient) -> None:
    action = ClientAction()
    with_code(action.failure, Status.NOT_FOUND).description = "no such cart"
    door.handler.answers_with("Get", action)
    response = await client.get("/things/7")

    assert (response.status_code, response.text) == (404, "no such cart")


async def test_an_answer_without_reply_is_an_internal_error(
    door: Any, client: httpx.AsyncClient
) -> None:
    door.handler.answers_with("Get", ClientAction())
    response = await client.get("/things/7")

    assert response.status_code == 500
    assert response.json()["message"] == "the user function gave no reply"


async def test_a_deadline_that_passes_ends_the_request_and_not_the_command(
    open_door: Any, things: Any, model: Any
) -> None:
    clock, may_end, ended = ManualClock(), asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        ended.set()
        outcome: Outcome = model.replied(b"")
        return outcome

    async with open_door(things, clock=clock) as door, httpx.AsyncClient() as client:
        door.handler.answers["Get"] = answer
        request = asyncio.create_task(client.get(f"{door.url}/things/7"))
        while not door.handler.requests:
            await asyncio.sleep(0)
        await clock.advance(61)
        response = await request

        assert response.status_code == 504
        assert response.json()["message"] == "the deadline passed before there was an answer"
        may_end.set()
        await ended.wait()


async def test_a_client_that_hangs_up_does_not_undo_its_command(
    open_door: Any, things: Any, model: Any
) -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        ended.set()
        outcome: Outcome = model.replied(b"")
        return outcome

    async with open_door(things) as door:
        door.handler.answers["Get"] = answer
        _, writer = await door.connect()
        writer.write(b"GET /things/7 HTTP/1.1\r\n\r\n")
        while not door.handler.requests:
            await asyncio.sleep(0)
        writer.transport.abort()
        for _ in range(20):
            await asyncio.sleep(0)

        may_end.set()
        await ended.wait()
        while door.port.connections:
            await asyncio.sleep(0)


# --- The end -------------------------------------------------------------------------


async def test_draining_lets_requests_finish_and_closes_idle_connections(
    open_door: Any, things: Any, model: Any
) -> None:
    may_end = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        outcome: Outcome = model.replied(b"")
        return outcome

    async with open_door(things) as door:
        door.handler.answers["Get"] = answer
        idle, idle_writer = await door.connect()
        idle_writer.write(b"GET /nope HTTP/1.1\r\n\r\n")
        await idle.readuntil(b"]}")
        busy, busy_writer = await door.connect()
        busy_writer.write(b"GET /things/7 HTTP/1.1\r\n\r\n")
        while not door.handler.requests:
            await asyncio.sleep(0)

        draining = asyncio.create_task(door.port.drain(30))
        assert await idle.read() == b""
        assert not draining.done()
        may_end.set()

        answered = await busy.read()
        assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close\r\n" in answered
        await draining


async def test_draining_waits_for_clients_that_read_their_answer_slowly(
    open_door: Any, things: Any, model: Any
) -> None:
    text = b"x" * (16 * 1024 * 1024)  # more than the sockets hold
    answered = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        answered.set()
        outcome: Outcome = model.replied(b"\x12\x80\x80\x80\x08" + text)
        return outcome

    async with open_door(things) as door, unread_socket(door.port.address) as client:
        door.handler.answers["Get"] = answer
        await client.send(b"GET /things/7 HTTP/1.1\r\n\r\n")
        await answered.wait()
        draining = asyncio.create_task(door.port.drain(30))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not draining.done()
        assert text in await client.everything()
        await draining


async def test_draining_ends_with_its_time(open_door: Any, things: Any) -> None:
    async def answer(request: Request) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    async with open_door(things) as door:
        door.handler.answers["Get"] = answer
        reader, writer = await door.connect()
        writer.write(b"GET /things/7 HTTP/1.1\r\n\r\n")
        while not door.handler.requests:
            await asyncio.sleep(0)
        await door.port.drain(0.01)

    with suppress(ConnectionResetError):
        assert await reader.read() == b""
