"""HTTP requests for which there is no room: refused by their heads, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from cloudstate_core.clock import Clock
from cloudstate_core.door import Door
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.interceptor import Interceptor
from cloudstate_runtime.admission import Admission

LIMITS = Limits(max_commands_in_flight=1, adaptive_admission=False)


class Watched(Interceptor):
    """The admission, and how many requests it was handed, refused ones included."""

    name: ClassVar[str] = "watched"
    order: ClassVar[int] = 0

    def __init__(self, *, is_door: bool = True) -> None:
        self.handed: list[str] = []
        self._is_door = is_door

    def wrap(self, handler: CommandHandler, clock: Clock, limits: Limits) -> CommandHandler:
        admission = Admission().wrap(handler, clock, limits)
        handle = admission.handle

        async def noted(request: Request) -> Outcome:
            self.handed.append(request.command)
            return await handle(request)

        if not self._is_door:
            return cast("CommandHandler", SimpleNamespace(handle=noted, stream=admission.stream))
        admission.handle = noted  # type: ignore[method-assign]
        assert isinstance(admission, Door)
        return admission


class Full:
    """A front door with room for one request, which is taken.

    Attributes:
        leave: Makes room.
        late: Commands that were refused only when they had been read.
    """

    def __init__(self, door: Any, watched: Watched, leave: asyncio.Event) -> None:
        self.door, self._watched, self.leave = door, watched, leave

    @property
    def late(self) -> list[str]:
        return self._watched.handed[1:]


@pytest.fixture
async def full(open_door: Any, things: Any, model: Any) -> AsyncIterator[Full]:
    async with opened(open_door, things, model) as full:
        yield full


@asynccontextmanager
async def opened(
    open_door: Any,
    things: Any,
    model: Any,
    limits: Limits = LIMITS,
    watched: Watched | None = None,
) -> AsyncIterator[Full]:
    watched = watched or Watched()
    leave, is_taken = asyncio.Event(), asyncio.Event()

    async def wait(request: Request) -> Outcome:
        is_taken.set()
        await leave.wait()
        outcome: Outcome = model.replied(b"")
        return outcome

    async with open_door(things, limits=limits, interceptor=watched) as door:
        door.handler.answers["Texts"] = wait
        _, writer = await door.connect()
        writer.write(request("GET", "/things/1/texts"))
        await is_taken.wait()
        yield Full(door, watched, leave)
        leave.set()


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", *headers]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return (
        int(head[0].split()[1]),
        headers,
        await reader.readexactly(int(headers.get("content-length", 0))),
    )


GET, PUT = request("GET", "/things/7"), request("PUT", "/things/7", b'{"text": "a"}')


@pytest.mark.parametrize("sent", [GET, PUT], ids=["without a body", "with a body"])
async def test_a_request_without_room_is_refused_before_anybody_has_read_it(
    full: Full, sent: bytes
) -> None:
    reader, writer = await full.door.connect()
    writer.write(sent)

    status, headers, body = await response(reader)

    assert (status, headers["retry-after"]) == (429, "1")
    assert headers["content-type"] == "application/json"
    told = json.loads(body)
    assert (told["code"], told["message"]) == (8, "too many requests at once: at most 1 are served")
    assert told["details"][0]["retryDelay"] == "0.500000000s"
    assert full.late == []


async def test_a_body_that_nobody_could_read_is_not_looked_at(full: Full) -> None:
    reader, writer = await full.door.connect()
    writer.write(request("PUT", "/things/7", b"{{{"))

    assert (await response(reader))[0] == 429


async def test_the_connection_is_as_good_as_before(full: Full) -> None:
    reader, writer = await full.door.connect()
    for _ in range(3):
        writer.write(PUT)
        assert (await response(reader))[0] == 429
    full.leave.set()
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        while True:
            writer.write(PUT)
            status, _, body = await response(reader)
            if status == 200:
                break

    assert json.loads(body)["text"] == "a"


async def test_a_body_in_pieces_is_read_to_its_end(full: Full) -> None:
    reader, writer = await full.door.connect()
    chunked = b"".join(
        (
            b"PUT /things/7 HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n",
            b"transfer-encoding: chunked\r\n\r\n",
            b'4\r\n{"te\r\n',
            b'9\r\nxt": "a"}\r\n0\r\n\r\n',
        )
    )
    for sent in (PUT, chunked):
        for part in (sent[:40], sent[40:-5], sent[-5:]):
            writer.write(part)
            await writer.drain()
            for _ in range(20):
                await asyncio.sleep(0)  # the server may read it by itself
        assert (await response(reader))[0] == 429
    assert full.late == []


async def test_requests_in_a_row_are_refused_one_by_one(full: Full) -> None:
    reader, writer = await full.door.connect()
    writer.write(GET + PUT + request("GET", "/nowhere") + PUT)

    assert [(await response(reader))[0] for _ in range(4)] == [429, 429, 404, 429]


async def test_a_request_behind_one_that_runs_waits_for_its_answer(full: Full) -> None:
    reader, writer = await full.door.connect()
    full.leave.set()
    writer.write(request("GET", "/things/1/texts") + GET)

    assert (await response(reader))[0] == 200
    assert (await response(reader))[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("GET", "/nowhere"), 404),
        (request("OPTIONS", "/things/7"), 204),
        (request("PATCH", "/things/7"), 405),
        (request("GET", "/", b"", "k-network-probe: queue"), 200),
    ],
)
async def test_what_is_no_command_is_answered_as_ever(full: Full, sent: bytes, status: int) -> None:
    reader, writer = await full.door.connect()
    writer.write(sent)

    assert (await response(reader))[0] == status


@pytest.mark.parametrize(
    "sent",
    [
        request("HEAD", "/things/7"),
        request("PUT", "/things/7", b"{}", "expect: 100-continue"),
        request("POST", "/collect", b"{}"),
    ],
    ids=["no body wanted", "asks before it sends", "a stream"],
)
async def test_what_is_not_refused_by_its_head_is_refused_in_the_end(
    full: Full, sent: bytes
) -> None:
    reader, writer = await full.door.connect()
    writer.write(sent)

    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1\r\n" in head


@pytest.mark.parametrize(
    "sent",
    [request("GET", "/things/7", b"", "connection: close"), b"GET /things/7 HTTP/1.0\r\n\r\n"],
    ids=["asks for it", "of an older version"],
)
async def test_a_client_that_keeps_no_connection_is_sent_its_end(full: Full, sent: bytes) -> None:
    reader, writer = await full.door.connect()
    writer.write(sent)

    status, headers, _ = await response(reader)

    assert (status, headers["connection"]) == (429, "close")
    assert await reader.read() == b""


async def test_a_body_that_is_too_large_is_refused_for_that(
    open_door: Any, things: Any, model: Any
) -> None:
    limits = Limits(max_commands_in_flight=1, adaptive_admission=False, max_request_bytes=1_000)
    async with opened(open_door, things, model, limits) as full:
        reader, writer = await full.door.connect()
        writer.write(request("PUT", "/things/7", b"x" * 1_001))

        status, headers, _ = await response(reader)

        assert (status, headers["connection"]) == (413, "close")
        assert await reader.read() == b""


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(full: Full) -> None:
    _, writer = await full.door.connect()
    writer.write(PUT[:-5])
    await writer.drain()
    writer.close()

    reader, writer = await full.door.connect()
    writer.write(PUT)
    assert (await response(reader))[0] == 429


async def test_of_many_that_come_at_once_as_many_are_read_as_there_is_room_for(
    open_door: Any, things: Any, model: Any
) -> None:
    limits = Limits(max_commands_in_flight=4, adaptive_admission=False)
    async with opened(open_door, things, model, limits) as full:
        connections = [await full.door.connect() for _ in range(40)]
        for _, writer in connections:
            writer.write(request("GET", "/things/7/texts"))
        async with asyncio.timeout(10):
            refused = [asyncio.create_task(response(reader)) for reader, _ in connections]
            while sum(task.done() for task in refused) < 37:
                await asyncio.sleep(0.002)

        assert {task.result()[0] for task in refused if task.done()} == {429}
        # Nearly all of them were refused by their heads.
        assert len(full.late) < 20


async def test_the_control_without_a_door_reads_each_request_before_it_is_refused(
    open_door: Any, things: Any, model: Any
) -> None:
    async with opened(open_door, things, model, watched=Watched(is_door=False)) as full:
        reader, writer = await full.door.connect()
        for _ in range(3):
            writer.write(PUT)
            assert (await response(reader))[0] == 429

        assert full.late == ["Put", "Put", "Put"]
