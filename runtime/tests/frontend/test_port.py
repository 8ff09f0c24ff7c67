"""One port: who gets a connection, and which ones nobody gets."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloudstate_core.errors import ConfigurationError
from cloudstate_core.frontend import Acceptor, FrontEnd, FrontEndHost, Limits
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.frontend.port import open_port


class Recording(FrontEnd):
    """Recognises what starts with its greeting, and keeps the connections."""

    def __init__(self, name: str, order: int, greeting: bytes) -> None:
        self.name, self.order = name, order  # type: ignore[misc]
        self.greeting = greeting
        self.accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.asked: list[bytes] = []
        self.drained_s: float | None = None

    def recognises(self, first_bytes: bytes) -> bool | None:
        self.asked.append(first_bytes)
        if first_bytes.startswith(self.greeting):
            return True
        return None if self.greeting.startswith(first_bytes) else False

    @asynccontextmanager
    async def open(self, host: FrontEndHost) -> AsyncIterator[Acceptor]:
        yield self
        while not self.accepted.empty():
            self.accepted.get_nowait().close()

    async def accept(self, connection: socket.socket) -> None:
        await self.accepted.put(connection)

    async def drain(self, grace_s: float) -> None:
        self.drained_s = grace_s


class Failing(Recording):
    async def accept(self, connection: socket.socket) -> None:
        raise RuntimeError("cannot take it")


@pytest.fixture
def first() -> Recording:
    return Recording("first", 1, b"PRI")


@pytest.fixture
def second() -> Recording:
    return Recording("second", 2, b"P")


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other side closes, however it does that."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_front_ends_are_asked_in_order_until_one_recognises_the_bytes(
    open_door: Any, first: Recording, second: Recording
) -> None:
    async with open_door(front_ends=[second, first]) as door:
        _, to_first = await door.connect()
        to_first.write(b"PRI * HTTP")
        connection = await first.accepted.get()
        _, to_second = await door.connect()
        to_second.write(b"POST /")
        other = await second.accepted.get()

        # Nothing was taken out of either connection.
        assert connection.recv(100) == b"PRI * HTTP"
        assert other.recv(100) == b"POST /"
        for each in (connection, other, to_first, to_second):
            each.close()


async def test_bytes_that_come_one_by_one_are_waited_for_without_spinning(
    open_door: Any, first: Recording, second: Recording
) -> None:
    async with open_door(front_ends=[first, second]) as door:
        _, writer = await door.connect()
        for byte in (b"P", b"R", b"I"):
            writer.write(byte)
            while not first.asked or not first.asked[-1].endswith(byte):
                await asyncio.sleep(0)
        connection = await first.accepted.get()

        # Asked once for each arrival, however often the loop went round meanwhile.
        assert first.asked == [b"P", b"PR", b"PRI"]
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        connection.close()
        writer.close()


async def test_a_later_front_end_waits_for_the_answer_of_an_earlier_one(
    open_door: Any, first: Recording, second: Recording
) -> None:
    async with open_door(front_ends=[first, second]) as door:
        _, writer = await door.connect()
        writer.write(b"P")
        while not first.asked:
            await asyncio.sleep(0)
        assert second.asked == []

        writer.write(b"U")
        (await second.accepted.get()).close()
        writer.close()


@pytest.mark.parametrize("data", [b"\x16\x03\x01", b"x", b"\x00" * 5000, b""])
async def test_a_connection_of_nobody_is_closed(
    open_door: Any, first: Recording, data: bytes
) -> None:
    async with open_door(front_ends=[first]) as door:
        assert await door.exchange(data) == b""
        assert first.accepted.empty()


async def test_a_connection_that_ends_before_it_can_be_told_is_closed(
    open_door: Any, first: Recording
) -> None:
    async with open_door(front_ends=[first]) as door:
        assert await door.exchange(b"PR") == b""
        assert door.port.connections == 0


async def test_a_connection_that_says_nothing_is_closed_in_time(
    open_door: Any, first: Recording
) -> None:
    clock = ManualClock()
    async with open_door(front_ends=[first], clock=clock) as door:
        silent, _ = await door.connect()
        hesitant, writer = await door.connect()
        writer.write(b"PR")
        while clock.waiting < 2 or not first.asked:
            await asyncio.sleep(0)

        await clock.advance(9.9)
        assert door.port.connections == 2
        await clock.advance(0.2)

        assert await ended(silent) == await ended(hesitant) == b""
        assert door.port.connections == 0
        writer.close()


async def test_a_front_end_that_fails_costs_its_connection_and_no_more(open_door: Any) -> None:
    failing = Failing("failing", 1, b"P")
    async with open_door(front_ends=[failing]) as door:
        assert await door.exchange(b"PRI") == b""
        assert await door.exchange(b"PRI") == b""
        assert door.port.connections == 0


async def test_connections_above_the_limit_are_closed_and_room_is_found_again(
    open_door: Any, first: Recording
) -> None:
    async with open_door(front_ends=[first], limits=Limits(max_connections=2)) as door:
        kept = []
        for _ in range(2):
            _, writer = await door.connect()
            writer.write(b"PRI")
            kept.append((writer, await first.accepted.get()))
        reader, refused = await door.connect()
        assert await ended(reader) == b""
        assert door.port.connections == 2

        kept[0][1].close()
        _, writer = await door.connect()
        writer.write(b"PRI")
        (await first.accepted.get()).close()
        for each, connection in kept:
            connection.close()
            each.close()
        refused.close()
        writer.close()


async def test_a_connection_counts_until_its_transport_closes(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        reader, writer = await door.connect()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.read(1)
        assert door.port.connections == 1

        writer.close()
        while door.port.connections:
            await asyncio.sleep(0)


async def test_half_open_connections_do_not_keep_others_out(open_door: Any, things: Any) -> None:
    async with open_door(things) as door:
        half_open = [await door.connect() for _ in range(300)]

        answer = await door.exchange(b"GET /things/7 HTTP/1.1\r\nConnection: close\r\n\r\n")

        assert answer.startswith(b"HTTP/1.1 200 ")
        assert door.port.connections >= 300
        for _, writer in half_open:
            writer.close()


async def test_draining_closes_the_port_and_drains_every_front_end(
    open_door: Any, first: Recording, second: Recording
) -> None:
    async with open_door(front_ends=[first, second]) as door:
        waiting, _ = await door.connect()

        await door.port.drain(3.0)

        assert (first.drained_s, second.drained_s) == (3.0, 3.0)
        assert await ended(waiting) == b""
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await door.connect()
        await door.port.drain(0.0)


class OutOfDescriptors:
    """A listening socket of a process that has no descriptor left."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.is_exhausted = True
        self.tried = 0

    def accept(self) -> Any:
        self.tried += 1
        if self.is_exhausted:
            raise OSError(errno.EMFILE, "too many open files")
        return self._listener.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


async def test_a_process_without_descriptors_accepts_again_when_it_has_some(
    open_door: Any, first: Recording
) -> None:
    clock = ManualClock()
    async with open_door(front_ends=[first], clock=clock) as door:
        door.port._listener = listener = OutOfDescriptors(door.port._listener)
        _, writer = await door.connect()
        writer.write(b"PRI")
        while not listener.tried:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert listener.tried == 1  # it does not spin

        listener.is_exhausted = False
        await clock.advance(0.1)

        (await first.accepted.get()).close()


async def test_an_ephemeral_port_is_reported(open_door: Any, first: Recording) -> None:
    async with open_door(front_ends=[first]) as door:
        host, port = door.port.address
        assert host == "127.0.0.1"
        assert port > 0


async def test_an_address_in_use_is_one_clear_line_and_opens_nothing(
    open_door: Any, first: Recording
) -> None:
    async with open_door(front_ends=[first]) as door:
        _, port = door.port.address
        with pytest.raises(ConfigurationError) as caught:
            async with open_port([first], door.host, "127.0.0.1", port):
                pass

    assert str(caught.value) == (
        f"cannot listen on '127.0.0.1:{port}': the address is in use; stop the process that uses "
        "it, or set another port"
    )


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("192.0.2.1", 0, "cannot listen on '192.0.2.1:0': .* set host and port to an address of"),
        ("no.such.host.invalid", 0, "cannot listen on 'no.such.host.invalid:0': "),
        ("a" * 300, 0, "cannot listen on 'aaa"),
        ("127.0.0.1", 70_000, "cannot listen on '127.0.0.1:70000': "),
    ],
)
async def test_an_address_that_cannot_be_had_is_one_clear_line(
    open_door: Any, first: Recording, host: str, port: int, reason: str
) -> None:
    async with open_door(front_ends=[first]) as door:
        with pytest.raises(ConfigurationError, match=reason) as caught:
            async with open_port([first], door.host, host, port):
                pass

    assert "\n" not in str(caught.value)


async def test_an_ipv6_address_can_be_listened_on(model: Any, first: Recording) -> None:
    host = model.FakeHost(model.FakeHandler(), model.FakeServed())
    try:
        async with open_port([first], host, "::1", 0) as port:
            assert port.address[0] == "::1"
    except ConfigurationError:
        pytest.skip("this machine has no IPv6")
