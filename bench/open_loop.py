"""A client that calls at a rate of its own, however slow the answers are.

python -m bench.open_loop ADDRESS PATH BODIES_FOLDER RECORD [--rate PER_S | --concurrent N] ...

Writes what became of the calls into a file, as JSON. A client that waits for its answers before it
sends more, as most load generators do, cannot overload a server. This one speaks just enough HTTP/2
to be several times faster than the server, with frames that are made beforehand.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import hpack
import uvloop

CONNECTIONS = 64
STREAMS = 128  # what the server allows on one connection

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WINDOW = 2**31 - 1
_TICK_S = 0.001
_OK, _EXHAUSTED, _LATE = 0, 8, -1


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return a frame of HTTP/2."""
    return (
        struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload
    )


@dataclass(slots=True)
class Call:
    """One call: when it was due, how often it was tried, when this try ends."""

    due_s: float
    tries: int
    began_s: float
    ends_s: float
    is_over: bool = False


@dataclass
class Record:
    """What became of the calls.

    Attributes:
        calls: For each answered try: when it was due, how long it took, its status.
        late_s: By how much the client itself was late.
    """

    calls: list[tuple[float, float, int]] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One connection, with up to `STREAMS` calls at a time."""

    def __init__(self, load: Load) -> None:
        self.open: dict[int, Call] = {}
        self._load = load
        self._next_id = 1
        self._rest = b""
        self._outgoing: list[bytes] = []
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._statuses: dict[bytes, int] = {}
        self._block = self._repeated = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        settings = struct.pack(">HI", 4, _WINDOW)
        transport.write(
            _PREFACE
            + frame(4, 0, 0, settings)
            + frame(8, 0, 0, struct.pack(">I", _WINDOW - 65_535))
        )
        self._block = self._encoder.encode(self._load.headers)
        self._repeated = self._encoder.encode(self._load.headers)

    def call(self, call: Call, body: bytes) -> None:
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self.open[stream_id] = call
        block = self._block if stream_id == 1 else self._repeated
        self._outgoing.append(frame(1, 4, stream_id, block) + frame(0, 1, stream_id, body))

    def give_up(self, now_s: float) -> None:
        """Give up the calls whose time is over; their streams end when the server sees it too."""
        for call in self.open.values():  # in the order in which they were sent
            if call.ends_s > now_s:
                break
            if not call.is_over:
                call.is_over = True
                self._load.ended(call, _LATE)

    def flush(self) -> None:
        if self._outgoing:
            self._transport.write(b"".join(self._outgoing))
            self._outgoing.clear()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        position, end = 0, len(data)
        while position + 9 <= end:
            size = int.from_bytes(data[position : position + 3], "big")
            if position + 9 + size > end:
                break
            self._received(data[position : position + 9 + size])
            position += 9 + size
        self._rest = data[position:]

    def _received(self, received: bytes) -> None:
        kind, flags, stream_id = struct.unpack(">BBI", received[3:9])
        if kind == 1:
            status = self._status(received[9:])
            if flags & 1 and stream_id in self.open:
                call = self.open.pop(stream_id)
                if not call.is_over:
                    self._load.ended(call, status)
        elif kind == 4 and not flags & 1:
            self._transport.write(frame(4, 1, 0, b""))
        elif kind == 6 and not flags & 1:
            self._transport.write(frame(6, 1, 0, received[9:]))
        elif kind == 7:
            self._load.fault = f"the server ended a connection: {received!r}"

    def _status(self, block: bytes) -> int:
        known = self._statuses.get(block)
        if known is None:
            before = len(self._decoder.header_table.dynamic_entries)
            headers = dict(self._decoder.decode(block))
            known = int(headers.get("grpc-status", _OK))
            if not before and not self._decoder.header_table.dynamic_entries:
                self._statuses[block] = known  # it means the same the next time
        return known


class Load:
    """Calls over some connections, and keeps the record.

    Args:
        given: What was asked for on the command line.
        bodies: Messages, taken in turn.
    """

    def __init__(self, given: argparse.Namespace, bodies: list[bytes]) -> None:
        self.headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", given.path),
            (":authority", given.address),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", f"{given.timeout * 1000:.0f}m"),
            ("user-agent", "open-loop"),
        ]
        self.record = Record()
        self.fault = ""
        self._given = given
        self._bodies = bodies
        self._random = Random(given.seed)
        self._waiting: deque[Call] = deque()
        self._again: list[tuple[float, int]] = []
        self._connections: list[Connection] = []
        self._sent = self._in_flight = 0

    async def run(self) -> None:
        host, port = self._given.address.split(":")
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, connection = await loop.create_connection(lambda: Connection(self), host, int(port))
            self._connections.append(connection)
        await asyncio.sleep(0.2)
        began_s = now_s = time.monotonic()
        next_due_s, ticked_s = began_s, began_s
        while now_s < began_s + self._given.seconds:
            next_due_s = self._let_come(next_due_s, now_s)
            self._send(now_s)
            self.record.late_s.append(now_s - ticked_s)
            ticked_s = now_s + _TICK_S
            await asyncio.sleep(_TICK_S)
            now_s = time.monotonic()

    def _let_come(self, next_due_s: float, now_s: float) -> float:
        """Let the calls come that are due; return when the next one is."""
        given = self._given
        if given.concurrent:
            for _ in range(given.concurrent - self._in_flight - len(self._waiting)):
                self._waiting.append(Call(now_s, 0, now_s, now_s + given.timeout))
            return now_s
        while next_due_s <= now_s:
            self._waiting.append(Call(next_due_s, 0, next_due_s, next_due_s + given.timeout))
            next_due_s += self._random.expovariate(given.rate)
        while self._again and self._again[0][0] <= now_s:
            due_s, tries = heapq.heappop(self._again)
            self._waiting.append(Call(due_s, tries, due_s, due_s + given.timeout))
        return next_due_s

    def _send(self, now_s: float) -> None:
        while self._waiting and self._waiting[0].ends_s <= now_s:
            self.ended(self._waiting.popleft(), _LATE, was_sent=False)
        for connection in self._connections:
            connection.give_up(now_s)
        count = len(self._connections)
        skipped = 0
        while self._waiting and skipped < count:
            connection = self._connections[self._sent % count]
            if len(connection.open) < STREAMS:
                connection.call(
                    self._waiting.popleft(), self._bodies[self._sent % len(self._bodies)]
                )
                self._in_flight += 1
                skipped = 0
            else:
                skipped += 1
            self._sent += 1
        for connection in self._connections:
            connection.flush()

    def ended(self, call: Call, status: int, *, was_sent: bool = True) -> None:
        now_s = time.monotonic()
        self._in_flight -= was_sent
        self.record.calls.append((call.due_s, now_s - call.due_s, status))
        if status != _OK and call.tries < self._given.retries:
            wait_s = self._given.retry_after * (0.5 + self._random.random())
            heapq.heappush(self._again, (now_s + wait_s, call.tries + 1))
        if self._given.concurrent and was_sent and status != _LATE:
            self._waiting.append(Call(now_s, 0, now_s, now_s + self._given.timeout))
            if len(self._waiting) == 1:
                asyncio.get_running_loop().call_soon(self._send, now_s)


def main() -> None:
    """Run one load and print what became of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.open_loop")
    parser.add_argument("address")
    parser.add_argument("path")
    parser.add_argument("bodies", type=Path)
    parser.add_argument("record", type=Path)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--concurrent", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--timeout", type=float, default=1.0)
    parser.add_argument("--retries", type=int, default=0)
    parser.add_argument("--retry-after", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    load = Load(given, [file.read_bytes() for file in sorted(given.bodies.iterdir())])
    uvloop.run(load.run())
    if load.fault:
        raise SystemExit(load.fault)
    record = load.record
    given.record.write_text(json.dumps({"calls": record.calls, "late_s": record.late_s}))


if __name__ == "__main__":
    main()
