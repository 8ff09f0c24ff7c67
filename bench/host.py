"""The host alone: commands on open entity streams, beside a server that echoes each message."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc.aio
import uvloop

from bench.embedded import EXAMPLE, SERVICE, add_item
from bench.figures import Figure
from bench.placing import pinned
from cloudstate.event_sourced_pb2 import EventSourcedStreamIn

__all__ = ["measure"]

STREAMS = 64
MESSAGES = 300
ROUNDS = 5
PATH = "/cloudstate.eventsourced.EventSourced/handle"


def measure() -> list[Figure]:
    """Send commands over open streams, to the host and to the echo in turn."""
    with (
        _running([*_serve()]) as host,
        _running([sys.executable, "-m", "bench.echo_servers", "stream"]) as echo,
    ):
        pairs = uvloop.run(_pairs(host, echo))
    measured, echoed = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
    return [
        Figure(
            f"host, a command a message on {STREAMS} open streams",
            measured,
            "/s",
            echo=echoed,
            budget=">= 60 % of the bidi echo",
            kept=measured >= 0.6 * echoed,
            note="each emits an event; the client in Python is part of both figures",
        )
    ]


async def _pairs(host: str, echo: str) -> list[tuple[float, float]]:
    return [(await _rate(host), await _rate(echo)) for _ in range(ROUNDS)]


async def _rate(address: str) -> float:
    """Return messages answered per second over all streams."""
    async with grpc.aio.insecure_channel(address) as channel:
        method = channel.stream_stream(PATH)
        streams = [method() for _ in range(STREAMS)]
        for number, stream in enumerate(streams):
            await stream.write(_init(number))
        # The host answers no init; the echo does.
        await asyncio.gather(*(_ask(s, number, 1) for number, s in enumerate(streams)))
        began_s = time.perf_counter()
        await asyncio.gather(*(_ask(s, number, MESSAGES) for number, s in enumerate(streams)))
        rate = STREAMS * MESSAGES / (time.perf_counter() - began_s)
        for stream in streams:
            stream.cancel()
    return rate


async def _ask(stream: grpc.aio.StreamStreamCall[bytes, bytes], number: int, times: int) -> None:
    command = EventSourcedStreamIn()
    command.command.entity_id = f"user-{number}"
    command.command.id = 1
    command.command.name = "AddItem"
    command.command.payload.CopyFrom(add_item(f"user-{number}").payload)
    message = command.SerializeToString()
    for _ in range(times):
        await stream.write(message)
        await stream.read()


def _init(number: int) -> bytes:
    message = EventSourcedStreamIn()
    message.init.service_name = SERVICE
    message.init.entity_id = f"user-{number}"
    return message.SerializeToString()


def _serve() -> Iterator[str]:
    yield str(Path(sys.executable).with_name("cloudstate"))
    yield from ("serve", "shoppingcart.shopping_cart_entity:entity", "--port=0")


@contextmanager
def _running(command: list[str]) -> Iterator[str]:
    process = subprocess.Popen(
        [*pinned(0), *command],
        cwd=EXAMPLE if "serve" in command else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"127\.0\.0\.1:\d+", line)
            if found is not None:
                yield found.group(0)
                return
        raise RuntimeError(f"{command[0]} ended before it was ready")
    finally:
        process.terminate()
        process.wait()
