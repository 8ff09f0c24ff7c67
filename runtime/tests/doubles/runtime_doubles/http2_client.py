"""An HTTP/2 client that can be made to do what it should not."""

from __future__ import annotations

import asyncio
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from cloudstate_runtime.frontend.grpc.connection import GrpcConnection

__all__ = [
    "HEADERS",
    "PREFACE",
    "SETTINGS",
    "Client",
    "client_of",
    "connections",
    "frame",
    "with_headers",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.things.Things/Get"),
    (":authority", "x"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def with_headers(**changed: str | None) -> list[tuple[str, str]]:
    """The usual headers; `content_type="x"` changes one, None leaves it out."""
    changes = {name.replace("_", "-"): value for name, value in changed.items()}
    result = []
    for name, value in HEADERS:
        new = changes.pop(name.removeprefix(":"), value)
        if new is not None:
            result.append((name, new))
    return result + [(name, value) for name, value in changes.items() if value is not None]


class Client:
    """An HTTP/2 client that can be made to do what it should not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.h2 = H2Connection(
            H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.h2.initiate_connection()
        self.events: list[Event] = []

    def flush(self) -> None:
        self._writer.write(self.h2.data_to_send())

    def call(self, headers: list[tuple[str, str]], data: bytes | None, *, end: bool = True) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, headers, end_stream=end and data is None)
        if data is not None:
            self.h2.send_data(stream_id, data, end_stream=end)
        self.flush()
        return stream_id

    async def receive(self) -> bool:
        """Take what has come; False if the server closed."""
        try:
            data = await self._reader.read(65536)
        except ConnectionResetError:
            return False
        try:
            self.events += self.h2.receive_data(data)
        except ProtocolError:
            return False
        self.flush()
        return bool(data)

    async def until_closed(self) -> list[ErrorCodes | int | None]:
        """The reasons for which the server closed, when it has."""
        while await self.receive():
            pass
        return [e.error_code for e in self.events if isinstance(e, ConnectionTerminated)]

    async def answer(self, stream_id: int) -> dict[str, str]:
        """All headers and trailers of an answer, when it is complete."""
        while True:
            mine = [e for e in self.events if getattr(e, "stream_id", None) == stream_id]
            if any(isinstance(e, StreamEnded | StreamReset) for e in mine):
                break
            assert await self.receive(), "the server closed"
        return {
            (name if isinstance(name, str) else name.decode()): (
                value if isinstance(value, str) else value.decode()
            )
            for e in mine
            if isinstance(e, ResponseReceived | TrailersReceived)
            for name, value in e.headers
        }

    def data(self, stream_id: int) -> bytes:
        return b"".join(
            e.data or b""
            for e in self.events
            if isinstance(e, DataReceived) and e.stream_id == stream_id
        )


async def client_of(door: Any) -> Client:
    return Client(*await door.connect())


def connections(door: Any) -> set[GrpcConnection]:
    (_, acceptor), *_ = door.port._front_ends
    found: set[GrpcConnection] = acceptor._connections
    return found
