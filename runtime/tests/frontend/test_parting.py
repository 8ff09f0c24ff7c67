"""Connections that end while their clients may still be sending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
from runtime_doubles.unread_socket import UnreadSocket, unread_socket

from cloudstate_runtime.frontend import parting
from cloudstate_runtime.frontend.parting import Parting

MEGABYTE = 1024 * 1024

#: Sent to every client that has said something.
ANSWER = bytes(8 * MEGABYTE)

End = Callable[[asyncio.Transport], object]


class Answering(asyncio.Protocol):
    """Sends one answer, as large as asked for, and ends the connection when it is told to."""

    def __init__(self, end: End) -> None:
        self._end, self._ended = end, cast("object", None)
        self.has_answered = asyncio.Event()
        self.is_closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self.has_answered.is_set():
            self._transport.write(ANSWER[: int(data)])
            self._transport.pause_reading()
            self.has_answered.set()
        elif isinstance(self._ended, Parting):
            self._ended.drop(data)

    def end(self) -> None:
        """End it, while what the client has sent since waits in the socket."""
        self._ended = self._end(self._transport)
        self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed.set()


@asynccontextmanager
async def connected(end: End = Parting) -> AsyncIterator[tuple[UnreadSocket, Answering]]:
    answering = Answering(end)
    server = await asyncio.get_running_loop().create_server(lambda: answering, "127.0.0.1", 0)
    async with server, unread_socket(server.sockets[0].getsockname()) as client:
        yield client, answering
        client.close()
        await answering.is_closed.wait()


async def asked(client: UnreadSocket, answering: Answering, size_bytes: int) -> None:
    await client.send(b"%d" % size_bytes)
    await answering.has_answered.wait()


async def talk_to_the_end(end: End) -> bytes:
    async with connected(end) as (client, answering):
        await asked(client, answering, 5)
        await client.send(b"more")
        answering.end()
        return await client.everything()


async def test_a_client_that_still_sends_reads_its_answer_and_a_clean_end() -> None:
    assert await talk_to_the_end(Parting) == bytes(5)


async def test_a_connection_that_is_just_closed_is_reset_under_such_a_client() -> None:
    # The control: this is what parting is there for.
    with pytest.raises(ConnectionResetError):
        await talk_to_the_end(lambda transport: transport.close())


async def test_a_client_that_closes_ends_the_connection_at_once() -> None:
    async with connected() as (client, answering):
        await asked(client, answering, 5)
        answering.end()
        assert await client.everything() == bytes(5)
        client.close()
        await answering.is_closed.wait()


async def test_a_client_that_never_closes_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parting, "_PATIENCE_S", 0.01)
    async with connected() as (client, answering):
        await asked(client, answering, 5)
        answering.end()
        await answering.is_closed.wait()


async def test_a_client_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parting, "_BIT_TIMEOUT_S", 0.01)
    async with connected() as (client, answering):
        await asked(client, answering, len(ANSWER))
        answering.end()
        await answering.is_closed.wait()


async def test_a_client_that_reads_slowly_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parting, "_PATIENCE_S", 0.0)
    async with connected() as (client, answering):
        await asked(client, answering, len(ANSWER))
        answering.end()
        size_bytes = 0
        while data := await client.some():
            size_bytes += len(data)
            await asyncio.sleep(0)
        assert size_bytes == len(ANSWER)


async def test_a_client_that_sends_too_much_meanwhile_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parting, "_MAX_DROPPED_BYTES", 100)
    async with connected() as (client, answering):
        await asked(client, answering, 5)
        answering.end()
        await client.send(bytes(101))
        await answering.is_closed.wait()


class OneWay(asyncio.Transport):
    """A transport that cannot close one side only, such as that of TLS."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def is_closing(self) -> bool:
        return self.is_closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.is_closed = True


async def test_what_cannot_be_closed_on_one_side_is_closed() -> None:
    transport = OneWay()
    Parting(transport)
    assert transport.is_closed
