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
from bench.server import Rate, Server
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
            (_elements(server, body, expected_bytes), _elements(echoing, body, expected_bytes))
            for _ in range(ROUNDS)
        ]
    measured, echoed = median_pair(rounds)
    return [
        Figure(
            f"gRPC elements of an action that streams, {STREAMS} streams",
            measured.per_s,
            "/s",
            echo=echoed.per_s,
            note=f"{measured.cpu_us:.0f} us of CPU each, the echo {echoed.cpu_us:.0f} us; "
            f"{ELEMENTS:,} elements a call",
        )
    ]


def _elements(server: Server, body: Path, expected_bytes: int) -> Rate:
    before_s = server.cpu_s()
    loaded = finished(h2load(f"{server.address}/{COUNTER.full_name}/Repeat", body, CALLS, STREAMS))
    cpu_us = (server.cpu_s() - before_s) / (CALLS * ELEMENTS) * 1e6
    if loaded.data_bytes != expected_bytes:
        raise RuntimeError(
            f"expected {expected_bytes} bytes of elements, found {loaded.data_bytes}"
        )
    return Rate(loaded.per_s * ELEMENTS, cpu_us)


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
