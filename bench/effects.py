"""Messages between entities: how fast they are stored, delivered and forgotten."""

from __future__ import annotations

import asyncio
import time

from bench.commands import CONCURRENT, ROUNDS, run_as_served
from bench.embedded import embedded, packed
from bench.figures import Figure
from bench.kv import item
from bench.subjects.relay_entity import SENDER, TALLY, entity
from cloudstate_core.handler import CommandHandler, Request
from cloudstate_core.store import SLICES, StateStore

__all__ = ["measure"]

MESSAGES = 20_000

_POLL_S = 0.002


def measure() -> list[Figure]:
    """Measure messages beside commands that send none, both with every commit on disk."""
    return run_as_served(_measure())


async def _measure() -> list[Figure]:
    async with embedded([entity], "sqlite") as (handler, store):
        plain, plain_cpu_us = await _rate(handler, store, "receiver-")
        sent, sent_cpu_us = await _rate(handler, store, SENDER)
        p50_ms = await _latency(handler, store)
    async with embedded([entity], "memory") as (handler, store):
        in_memory, in_memory_cpu_us = await _rate(handler, store, SENDER)
    return [
        Figure(
            f"messages between entities, {CONCURRENT} senders",
            sent,
            "/s",
            echo=plain,
            note=(
                f"{sent_cpu_us:.0f} us of CPU each, from the sender's command to the end of the "
                f"message: two commands, two commits and its acknowledgement; the echo is a "
                f"command that sends nothing, {plain_cpu_us:.0f} us"
            ),
        ),
        Figure(
            f"messages between entities, {CONCURRENT} senders, memory store",
            in_memory,
            "/s",
            note=f"{in_memory_cpu_us:.0f} us of CPU each",
        ),
        Figure(
            "one message at a time, from the sender's command to its end, p50",
            p50_ms,
            "ms",
        ),
    ]


def _add(user: str) -> Request:
    return Request(str(TALLY.full_name), "Add", packed(item(user)))


async def _rate(handler: CommandHandler, store: StateStore, prefix: str) -> tuple[float, float]:
    """Return the best of some rounds in commands per second, and its CPU per command in us."""
    requests = [_add(f"{prefix}{number}") for number in range(CONCURRENT)]
    await asyncio.gather(*(handler.handle(request) for request in requests))
    best, cpu_us = 0.0, 0.0

    async def repeat(number: int) -> None:
        for _ in range(MESSAGES // CONCURRENT):
            await handler.handle(requests[number])

    count = MESSAGES // CONCURRENT * CONCURRENT
    for _ in range(ROUNDS):
        began_s, cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(repeat(number) for number in range(CONCURRENT)))
        await _all_done(store)
        rate = count / (time.perf_counter() - began_s)
        if rate > best:
            best, cpu_us = rate, (time.process_time() - cpu_s) / count * 1e6
    return best, cpu_us


async def _all_done(store: StateStore, poll_s: float = _POLL_S) -> None:
    while True:
        if not await store.outbox(range(SLICES), limit=1):
            return
        await asyncio.sleep(poll_s)


async def _latency(handler: CommandHandler, store: StateStore) -> float:
    request, times_s = _add(f"{SENDER}alone"), []
    for _ in range(500):
        began_s = time.perf_counter()
        await handler.handle(request)
        await _all_done(store, 0)
        times_s.append(time.perf_counter() - began_s)
    return sorted(times_s)[len(times_s) // 2] * 1000
