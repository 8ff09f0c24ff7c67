"""In-process durable commands: throughput, latency, replay."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TypeAlias

import uvloop
from google.protobuf.any_pb2 import Any

from bench.embedded import SERVICE, add_item, embedded_cart, packed
from bench.figures import Figure
from cloudstate_core.handler import CommandHandler, Request
from cloudstate_core.host.event_loop import spare_what_stays
from cloudstate_core.store import AppendEvents, Commit, EntityKey, StateStore
from cloudstate_runtime.cli.process import THREAD_SWITCH_INTERVAL_S

__all__ = ["durable_commands", "measure", "run_as_served", "throughput"]

CONCURRENT = 64
COMMANDS = 40_000
ROUNDS = 3
REPLAYED_EVENTS = 100_000

#: The command of a user.
MakeRequest: TypeAlias = Callable[[str], Request]


def measure() -> list[Figure]:
    """Measure with every commit on disk, and once in memory to see what the disk costs."""
    return run_as_served(_measure())


def run_as_served(measuring: Coroutine[None, None, list[Figure]]) -> list[Figure]:
    """Measure in a process that is set up as `cloudstate run` sets up its own."""
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL_S)
    spare_what_stays()
    return uvloop.run(measuring)


async def _measure() -> list[Figure]:
    async with embedded_cart("memory") as (handler, _):
        in_memory, _ = await throughput(handler, add_item)
    async with embedded_cart("sqlite") as (handler, store):
        figures = await durable_commands(handler, add_item, "durable command", in_memory)
        replayed, replay_cpu_us = await _replay(handler, store)
    figures.append(
        Figure(
            f"replay of {REPLAYED_EVENTS:,} small events",
            replayed,
            "events/s",
            budget=">= 200,000/s",
            kept=replayed >= 200_000,
            note=f"{replay_cpu_us:.1f} us of CPU each, the shopping cart's own work among them",
        )
    )
    return figures


async def durable_commands(
    handler: CommandHandler, make: MakeRequest, what: str, in_memory: float
) -> list[Figure]:
    """Measure many commands at once, and one after the other."""
    durable, cpu_us = await throughput(handler, make)
    p50_ms = await _latency(handler, make("alone"))
    return [
        Figure(
            f"in-process {what}, {CONCURRENT} concurrent",
            durable,
            "/s",
            echo=in_memory,
            budget=">= 12,000/s",
            kept=durable >= 12_000,
            note=f"{cpu_us:.0f} us of CPU each; the echo is the same on the memory store",
        ),
        Figure(
            f"in-process {what}, one at a time, p50",
            p50_ms,
            "ms",
            budget="<= 0.5 ms",
            kept=p50_ms <= 0.5,
        ),
    ]


async def throughput(handler: CommandHandler, make: MakeRequest) -> tuple[float, float]:
    """Return the best of some rounds in commands per second, and its CPU per command in us."""
    requests = [make(f"user-{number}") for number in range(CONCURRENT)]
    await asyncio.gather(*(handler.handle(request) for request in requests))
    best, cpu_us = 0.0, 0.0
    for _ in range(ROUNDS):
        began_s, cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_repeat(handler, request) for request in requests))
        rate = COMMANDS / (time.perf_counter() - began_s)
        if rate > best:
            best, cpu_us = rate, (time.process_time() - cpu_s) / COMMANDS * 1e6
    return best, cpu_us


async def _repeat(handler: CommandHandler, request: Request) -> None:
    for _ in range(COMMANDS // CONCURRENT):
        await handler.handle(request)


async def _latency(handler: CommandHandler, request: Request) -> float:
    times_s = []
    for _ in range(2_000):
        began_s = time.perf_counter()
        await handler.handle(request)
        times_s.append(time.perf_counter() - began_s)
    return sorted(times_s)[len(times_s) // 2] * 1000


async def _replay(handler: CommandHandler, store: StateStore) -> tuple[float, float]:
    """Return the events per second, and the CPU time of each in us."""
    from shoppingcart.domain_pb2 import ItemAdded, LineItem  # beside the example

    event = ItemAdded(item=LineItem(productId="socks", name="Socks", quantity=1))
    key = EntityKey("shopping-cart", "long")
    epoch = await store.claim(range(1024))
    for start in range(0, REPLAYED_EVENTS, 1_000):
        writes = (AppendEvents(start, [packed(event)] * 1_000),)
        await store.commit(Commit(key, epoch, writes))
    began_s, cpu_s = time.perf_counter(), time.process_time()
    await handler.handle(Request(SERVICE, "GetCart", _get_cart("long")))
    cpu_us = (time.process_time() - cpu_s) / REPLAYED_EVENTS * 1e6
    return REPLAYED_EVENTS / (time.perf_counter() - began_s), cpu_us


def _get_cart(user: str) -> Any:
    from shoppingcart.shoppingcart_pb2 import GetShoppingCart  # as above

    return packed(GetShoppingCart(user_id=user))
