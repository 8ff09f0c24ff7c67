"""The host alone: commands on open entity streams, beside a server that echoes each message."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
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
from bench.server import Rate, Server
from cloudstate.event_sourced_pb2 import EventSourcedStreamIn

__all__ = ["measure"]

STREAMS = 64
MESSAGES = 300
ROUNDS = 5
PATH = "/cloudstate.eventsourced.EventSourced/handle"


def measure() -> list[Figure]:
    """Send commands over open streams, to the host and to the echo in turn."""
    figures = [
        _measure("", [], budget=">= 60 % of the bidi echo"),
    ]
    if shutil.which("chrt") is not None:
        figures.append(_measure(", `chrt --batch 0`", ["chrt", "--batch", "0"]))
    return figures


def _measure(how: str, prefix: list[str], budget: str = "") -> Figure:
    with (
        _running([*prefix, *_serve()]) as host,
        _running([*prefix, sys.executable, "-m", "bench.echo_servers", "stream"]) as echo,
    ):
        pairs = uvloop.run(_pairs(host, echo))
    measured, echoed = sorted(pairs, key=lambda pair: pair[0].per_s / pair[1].per_s)[
        len(pairs) // 2
    ]
    return Figure(
        f"host, a command a message on {STREAMS} open streams{how}",
        measured.per_s,
        "/s",
        echo=echoed.per_s,
        budget=budget,
        kept=measured.per_s >= 0.6 * echoed.per_s if budget else None,
        note=f"{measured.cpu_us:.0f} us of CPU each, the echo {echoed.cpu_us:.0f} us; "
        "the client in Python is part of both rates",
    )


async def _pairs(host: Server, echo: Server) -> list[tuple[Rate, Rate]]:
    return [(await _rate(host), await _rate(echo)) for _ in range(ROUNDS)]


async def _rate(server: Server) -> Rate:
    """Return the messages answered over all streams."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        method = channel.stream_stream(PATH)
        streams = [method() for _ in range(STREAMS)]
        for number, stream in enumerate(streams):
            await stream.write(_init(number))
        # The host answers no init; the echo does not either.
        await asyncio.gather(*(_ask(s, number, 1) for number, s in enumerate(streams)))
        began_s, cpu_s = time.perf_counter(), server.cpu_s()
        await asyncio.gather(*(_ask(s, number, MESSAGES) for number, s in enumerate(streams)))
        took_s, took_cpu_s = time.perf_counter() - began_s, server.cpu_s() - cpu_s
        for stream in streams:
            stream.cancel()
    messages = STREAMS * MESSAGES
    return Rate(messages / took_s, took_cpu_s / messages * 1e6)


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
def _running(command: list[str]) -> Iterator[Server]:
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
                yield Server(found.group(0), process.pid)
                return
        raise RuntimeError(f"{command[0]} ended before it was ready")
    finally:
        process.terminate()
        process.wait()
