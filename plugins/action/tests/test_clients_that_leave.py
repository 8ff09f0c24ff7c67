"""Clients that hang up on a call with one answer, at both front doors and over both links."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any as AnyType

import grpc
import pytest
from serving_stations import ARCHIVE, Serve, until, word
from station.station_pb2 import Word
from stations import archive, station

from cloudstate_action.context import ActionContext
from cloudstate_runtime.frontend.grpc import GrpcFrontEnd
from cloudstate_runtime.frontend.http import HttpFrontEnd
from cloudstate_runtime.frontend.port import open_port

#: Calls station.Station.Say at an address, and hangs up when the event is set.
Client = Callable[[tuple[str, int], asyncio.Event], Awaitable[None]]


async def grpc_client(address: tuple[str, int], hang_up: asyncio.Event) -> None:
    async with grpc.aio.insecure_channel("{}:{}".format(*address)) as channel:
        call = channel.unary_unary("/station.Station/Say")(word("a").SerializeToString())
        await hang_up.wait()
        call.cancel()


async def grpc_client_that_dies(address: tuple[str, int], hang_up: asyncio.Event) -> None:
    async with grpc.aio.insecure_channel("{}:{}".format(*address)) as channel:
        call = channel.unary_unary("/station.Station/Say")(word("a").SerializeToString())
        asyncio.ensure_future(call.code())  # noqa: RUF006  # begins it
        await hang_up.wait()


async def http_client(address: tuple[str, int], hang_up: asyncio.Event) -> None:
    _, writer = await asyncio.open_connection(*address)
    body = b'{"text": "a"}'
    head = (
        b"POST /station.Station/Say HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n" % len(body)
    )
    writer.write(head + body)
    await hang_up.wait()
    writer.close()


async def http_client_that_is_cut_off(address: tuple[str, int], hang_up: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection(*address)
    del reader
    writer.write(
        b"POST /station.Station/Say HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 2\r\n\r\n{}"
    )
    await hang_up.wait()
    writer.transport.abort()


@pytest.fixture(
    params=[grpc_client, grpc_client_that_dies, http_client, http_client_that_is_cut_off]
)
def client(request: pytest.FixtureRequest) -> Client:
    return request.param  # type: ignore[no-any-return]


@asynccontextmanager
async def calling(
    serving: Serve, client: Client, *actions: AnyType
) -> AsyncIterator[tuple[AnyType, asyncio.Event]]:
    """Serve actions, and have a client call Say that hangs up when the event is set."""
    hang_up = asyncio.Event()
    async with (
        serving(*actions) as served,
        open_port([GrpcFrontEnd(), HttpFrontEnd()], served.runtime, "127.0.0.1", 0) as port,
        asyncio.TaskGroup() as clients,
    ):
        clients.create_task(client(port.address, hang_up))
        yield served, hang_up
        hang_up.set()


async def test_the_handler_is_cancelled_at_the_user_function(
    serving: Serve, client: Client
) -> None:
    seen: list[str] = []

    async def say(asked: Word) -> Word:
        seen.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")
        raise AssertionError

    async with calling(serving, client, station(Say=say)) as (served, hang_up):
        await until(lambda: seen == ["begun"])

        hang_up.set()

        await until(lambda: seen == ["begun", "cancelled"])
        # It is no fault of the user function, and the service goes on.
        assert served.link.reports == []
        assert await served.texts("Echo", "b") == ["B"]


async def test_what_was_answered_is_carried_out_to_its_end(serving: Serve, client: Client) -> None:
    kept: list[str] = []
    at_the_archive, go_on = asyncio.Event(), asyncio.Event()

    def say(asked: Word, ctx: ActionContext) -> Word:
        for text in ("one", "two"):
            ctx.effect(ARCHIVE, "Keep", word(text), synchronous=True)
        return asked

    async def keep(asked: Word) -> Word:
        at_the_archive.set()
        await go_on.wait()
        kept.append(asked.text)
        return asked

    actions = station(Say=say), archive(kept, Keep=keep)
    async with calling(serving, client, *actions) as (_, hang_up):
        await at_the_archive.wait()

        hang_up.set()
        await asyncio.sleep(0)
        go_on.set()

        await until(lambda: kept == ["one", "two"])
