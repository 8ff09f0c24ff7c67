"""Calls of an action through the front door, and how many elements a second it streams."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from pathlib import Path

from bench.echo_servers import ELEMENTS
from bench.figures import Figure
from bench.front_door import (
    Subject,
    echo,
    finished,
    grpc_body,
    h2load,
    load_generators_are_here,
    measure_front_door,
    median_pair,
    served,
)
from bench.kv import item
from bench.server import Server
from bench.subjects.counter_action import COUNTER

__all__ = ["measure"]

ROUNDS = 3
STREAMS = 8
CALLS = 64


def measure() -> list[Figure]:
    """Measure calls of one message, and then streams of many."""
    if not load_generators_are_here():
        return []
    return [*measure_front_door(_SUBJECT), *_streams()]


def _streams() -> list[Figure]:
    with (
        tempfile.TemporaryDirectory() as folder,
        served(_SUBJECT, Path(folder) / "data") as server,
        echo("elements") as echoing,
    ):
        message = item("user-1", quantity=ELEMENTS)
        body = grpc_body(Path(folder) / "body", message)
        # Counted by their bytes: h2load does not look into what it gets.
        expected_bytes = CALLS * ELEMENTS * (5 + message.ByteSize())
        _elements(server, body, expected_bytes)
        rounds = [
            [_elements(each, body, expected_bytes) for each in (server, echoing)]
            for _ in range(ROUNDS)
        ]
    rate, echo_rate = median_pair([(ours[0], bare[0]) for ours, bare in rounds])
    cpu_us, echo_cpu_us = (min(each[side][1] for each in rounds) for side in (0, 1))
    return [
        Figure(
            f"gRPC elements of an action that streams, {STREAMS} streams",
            rate,
            "/s",
            echo=echo_rate,
            note=f"{cpu_us:.0f} us of CPU each, the echo {echo_cpu_us:.0f} us; "
            f"{ELEMENTS:,} elements a call",
        )
    ]


def _elements(server: Server, body: Path, expected_bytes: int) -> tuple[float, float]:
    """Return the elements per second, and the server's CPU time for each in us."""
    before_s = server.cpu_s()
    loaded = finished(h2load(f"{server.address}/{COUNTER.full_name}/Repeat", body, CALLS, STREAMS))
    cpu_us = (server.cpu_s() - before_s) / (CALLS * ELEMENTS) * 1e6
    if loaded.data_bytes != expected_bytes:
        raise RuntimeError(
            f"expected {expected_bytes} bytes of elements, found {loaded.data_bytes}"
        )
    return loaded.per_s * ELEMENTS, cpu_us


def _taken(address: str) -> int:
    with urllib.request.urlopen(f"http://{address}/counter", timeout=30) as answer:
        return int(json.load(answer)["commands"])


_SUBJECT = Subject(
    what="call of an action",
    entities=("bench.subjects.counter_action:action",),
    folder=Path(__file__).resolve().parents[1],
    grpc_path=f"/{COUNTER.full_name}/Take",
    message=item,
    http_path="/counter/{user}/take",
    http_body='{"productId":"socks","name":"Socks","quantity":1}',
    carried_out=_taken,
)
