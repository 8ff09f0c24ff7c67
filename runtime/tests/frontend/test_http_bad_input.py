"""HTTP as no decent client speaks it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cloudstate_core.errors import MalformedRequest
from cloudstate_core.frontend import Limits

MEGABYTE = 1024 * 1024


@pytest.fixture
async def door(open_door: Any, things: Any) -> AsyncIterator[Any]:
    async with open_door(things) as door:
        yield door


@pytest.fixture
async def client(door: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=door.url) as client:
        yield client


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer[9:12])


def reason_of(answer: bytes) -> str:
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert set(body) == {"code", "message", "details"}
    message: str = body["message"]
    return message


BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "the body is not JSON"),
    (b"{", 400, "the body is not JSON"),
    (b'{"text": "\xff"}', 400, "the body is not UTF-8 at byte 10"),
    (b'{"text": "\xed\xa0\x80"}', 400, "the body is not UTF-8"),
    (b"\xff\xfe{\x00}\x00", 400, "the body is not UTF-8"),
    (b'{"id": "1", "id": "2"}', 400, "the key 'id' occurs twice in one object"),
    (b'{"a_int32": 1, "aInt32": 2}', 400, "occurs under both of its names"),
    (b'{"nope": 1}', 400, 'has no field named "nope"'),
    (b'{"a_int32": "x"}', 400, "not a test.things.Thing"),
    (b"[" * 65 + b"]" * 65, 413, "the JSON body is nested more than 64 levels deep"),
    (b"[" * 100_000 + b"]" * 100_000, 413, "the JSON body "),
    (b'{"loose":' * 65 + b"1" + b"}" * 65, 413, "nested more than 64 levels deep"),
    (b"[" + b"1," * 100_000 + b"1]", 413, "the JSON body holds more than 100000 values"),
    (b'{"text": "' + b"x" * 5 * MEGABYTE + b'"}', 413, "expected at most 4194304 bytes of body"),
]


@pytest.mark.parametrize(("body", "status", "reason"), BODIES, ids=range(len(BODIES)))
async def test_a_bad_body_is_refused_with_the_reason(
    door: Any, client: httpx.AsyncClient, body: bytes, status: int, reason: str
) -> None:
    response = await client.post(
        "/things", content=body, headers={"content-type": "application/json"}
    )

    assert response.status_code == status
    assert reason in response.json()["message"]
    assert response.json()["code"] == {400: 3, 413: 8}[status]
    assert "Traceback" not in response.text
    assert door.handler.requests == []


@pytest.mark.parametrize(
    ("size", "status"), [(4 * MEGABYTE, 200), (4 * MEGABYTE + 1, 413), (20 * MEGABYTE, 413)]
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_are_limited_however_they_are_sent(
    door: Any, client: httpx.AsyncClient, size: int, status: int, chunked: bool
) -> None:
    body = b'{"text":"' + b"x" * (size - 11) + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    response = await client.post("/things", content=chunks() if chunked else body)
    assert response.status_code == status
    assert len(door.handler.requests) == (status == 200)


async def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(door: Any) -> None:
    reader, writer = await door.connect()
    writer.write(
        b"POST /things HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n"
    )

    assert status_of(await reader.read()) == 413


async def test_a_body_that_nobody_reads_is_limited_too(door: Any) -> None:
    reader, writer = await door.connect()
    writer.write(b"GET /things/7 HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"

    sent = 0
    with suppress(OSError):
        while sent < 50 * MEGABYTE and not writer.is_closing():
            writer.write(bytes(MEGABYTE))
            await writer.drain()
            sent += MEGABYTE
    assert sent < 50 * MEGABYTE


@pytest.mark.parametrize("size", [5 * MEGABYTE, 200 * MEGABYTE])
async def test_a_gzip_bomb_is_not_unpacked(door: Any, client: httpx.AsyncClient, size: int) -> None:
    bomb = gzip.compress(bytes(size))
    response = await client.post("/things", content=bomb, headers={"content-encoding": "gzip"})

    assert response.status_code == 413
    assert response.json()["message"] == "expected at most 4194304 bytes of body, found more"


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("br", b"{}", "expected content-encoding 'gzip' or none, found 'br'"),
        ("gzip, gzip", b"{}", "expected content-encoding 'gzip' or none"),
        ("gzip", b"{}", "the body is not gzip"),
        ("gzip", gzip.compress(b"{}")[:-1], "the body is not one whole gzip stream"),
        ("gzip", gzip.compress(b"{}") * 2, "the body is not one whole gzip stream"),
    ],
)
async def test_a_body_that_is_not_packed_as_it_says_is_refused(
    client: httpx.AsyncClient, encoding: str, body: bytes, reason: str
) -> None:
    response = await client.post("/things", content=body, headers={"content-encoding": encoding})

    assert response.status_code == 400
    assert response.json()["message"].startswith(reason)


async def test_a_form_is_not_json(client: httpx.AsyncClient) -> None:
    response = await client.post("/things", data={"id": "7"})

    assert response.status_code == 400
    assert response.json()["message"] == (
        "expected content-type 'application/json', found 'application/x-www-form-urlencoded'"
    )


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("/things/7?nope=1", 400, "unknown query parameter 'nope'"),
        ("/things/7?a_int32=x", 400, "expected a 32-bit integer"),
        ("/things/%zz", 400, "broken escape '%zz'"),
        ("/things/%FF", 400, "an escape is not UTF-8"),
        (
            "/things/7?" + "&".join(["texts=x"] * 257),
            413,
            "at most 256 query parameters, found 257",
        ),
        ("/things/7?text=" + "x" * 9000, 414, "a path with query of at most 8192 bytes"),
        ("/" + "x" * 9000, 414, "a path with query of at most 8192 bytes"),
        ("/things/\xff", 400, "the request is not HTTP/1.1 that can be read"),
        ("things", 400, "the request is not HTTP/1.1 that can be read"),
    ],
)
async def test_a_bad_target_is_refused_with_the_reason(
    door: Any, target: str, status: int, reason: str
) -> None:
    line = f"GET {target} HTTP/1.1\r\n".encode("latin-1")
    answer = await door.exchange(line + b"Connection: close\r\n\r\n")

    assert status_of(answer) == status
    assert reason in reason_of(answer)
    assert door.handler.requests == []


async def test_as_much_as_the_limit_passes(door: Any) -> None:
    query = b"&".join([b"texts=x"] * 256)
    answer = await door.exchange(
        b"GET /things/7?" + query + b" HTTP/1.1\r\nX: " + b"y" * 16_000 + b"\r\n\r\n"
    )

    assert status_of(answer) == 200


@pytest.mark.parametrize(
    "headers",
    [
        b"X: " + b"y" * 17_000 + b"\r\n\r\n",
        b"".join(b"X%d: y\r\n" % number for number in range(5000)),
        b"X: " + b"y" * 1_000_000,
        b"y" * 1_000_000,
    ],
    ids=["one long", "many", "one without end", "a name without end"],
)
async def test_headers_are_limited(door: Any, headers: bytes) -> None:
    reader, writer = await door.connect()
    writer.write(b"GET /things/7 HTTP/1.1\r\n")
    for start in range(0, len(headers), 10_000):
        writer.write(headers[start : start + 10_000])
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""

    # What is still on its way may cost the client the reason, but nothing is served.
    assert not answer or status_of(answer) == 431
    assert door.handler.requests == []


async def test_trailers_are_limited(door: Any) -> None:
    reader, writer = await door.connect()
    writer.write(b"POST /things HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    for number in range(50_000):
        writer.write(b"X%d: y\r\n" % number)
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""

    assert not answer or status_of(answer) == 431
    assert door.handler.requests == []


async def test_chunks_with_endless_extensions_are_cut_off(door: Any) -> None:
    reader, writer = await door.connect()
    writer.write(b"POST /things HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    with suppress(OSError):
        for _ in range(1000):
            writer.write(b"1;" + b"x" * 10_000 + b"\r\n \r\n")
            await writer.drain()
        await reader.read()
    while door.port.connections:
        await asyncio.sleep(0)


SMUGGLED = [
    b"POST /things HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    b"POST /things HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    b"POST /things HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /things HTTP/1.1\r\nContent-Length: 2x\r\n\r\n{}",
    b"POST /things HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"POST /things HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
    b"POST /things HTTP/1.1\r\nX : a\r\n\r\n",
    b"POST /things HTTP/1.1\r\nX: a\x00b\r\n\r\n",
    b"POST /things HTTP/9.9\r\n\r\n",
    b"BREW /things HTTP/1.1\r\n\r\n",
    b"get /things HTTP/1.1\r\n\r\n",
    b"\r\n\r\n\r\nnonsense\r\n\r\n",
    b"hello\r\n",
]


@pytest.mark.parametrize("data", SMUGGLED, ids=range(len(SMUGGLED)))
async def test_what_could_be_read_in_two_ways_is_refused(door: Any, data: bytes) -> None:
    answer = await door.exchange(data)

    assert not answer or status_of(answer) == 400
    assert door.handler.requests == []


async def test_a_broken_request_does_not_jump_the_queue(door: Any, things: Any, model: Any) -> None:
    may_end = asyncio.Event()

    async def answer(request: Any) -> Any:
        await may_end.wait()
        return model.replied(b"")

    door.handler.answers["Get"] = answer
    reader, writer = await door.connect()
    writer.write(b"GET /things/7 HTTP/1.1\r\n\r\n")
    while not door.handler.requests:
        await asyncio.sleep(0)
    writer.write(b"nonsense\r\n\r\n")

    # The answer to the first request is not out; another one would be taken for it.
    assert await reader.read() == b""
    may_end.set()


async def test_a_head_that_never_ends_is_not_waited_for(open_door: Any, things: Any) -> None:
    async with open_door(things, limits=Limits(handshake_timeout_s=0.05)) as door:
        reader, writer = await door.connect()
        writer.write(b"GET /things/7 HTTP/1.1\r\nX: ")

        answer = await reader.read()
        assert status_of(answer) == 408
        assert reason_of(answer) == "the headers did not arrive in time"


async def test_a_body_that_never_ends_is_not_waited_for(open_door: Any, things: Any) -> None:
    async with open_door(things, limits=Limits(default_deadline_s=0.05)) as door:
        reader, writer = await door.connect()
        writer.write(b"POST /things HTTP/1.1\r\nContent-Length: 5\r\n\r\n{")

        answer = await reader.read()
        assert status_of(answer) == 408
        assert reason_of(answer) == "the body did not arrive in time"
        assert door.handler.requests == []


async def test_a_client_that_leaves_within_its_body_is_forgotten(door: Any) -> None:
    answer = await door.exchange(b"POST /things HTTP/1.1\r\nContent-Length: 5\r\n\r\n{")

    assert answer == b""
    assert door.port.connections == 0
    assert door.handler.requests == []


async def test_an_empty_key_is_what_the_handler_says(door: Any, client: httpx.AsyncClient) -> None:
    door.handler.raises("Get", MalformedRequest("the entity key 'id' is empty"))

    response = await client.get("/things/")

    assert response.status_code == 400
    assert response.json()["message"] == "the entity key 'id' is empty"


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.sampled_from(
            [b"GET ", b"POST ", b"/things", b"/7", b"?", b"%", b" HTTP/1.1", b"\r\n", b"\n", b":"]
        )
        | st.sampled_from(
            [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"{}", b"5\r\n", b"0\r\n\r\n"]
        )
        | st.binary(max_size=8),
        max_size=20,
    )
)
def test_any_bytes_leave_the_server_alive_and_without_a_word_of_its_own(
    open_door: Any, things: Any, pieces: list[bytes]
) -> None:
    async def check() -> None:
        async with open_door(things) as door:
            answer = await door.exchange(b"".join(pieces))
            assert b"Traceback" not in answer
            assert b"HTTP/1.1 5" not in answer
            alive = await door.exchange(b"GET /things/7 HTTP/1.1\r\n\r\n")
            assert status_of(alive) == 200

    with capture_logs() as logs:
        asyncio.run(check())
    assert [entry for entry in logs if entry["log_level"] in {"error", "critical"}] == []
