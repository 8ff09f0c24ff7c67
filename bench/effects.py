"""Messages between entities: how fast they are stored, delivered and forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from google.protobuf.empty_pb2 import Empty

from bench.commands import CONCURRENT, ROUNDS, run_as_served
from bench.embedded import SERVICE, add_item, cart_item, embedded
from bench.figures import Figure
from cloudstate.event_sourced_context import EventSourcedCommandContext
from cloudstate.event_sourced_entity import EventSourcedEntity
from cloudstate_core.handler import CommandHandler
from cloudstate_core.store import SLICES, StateStore

__all__ = ["measure"]

MESSAGES = 20_000

#: Entities whose id begins with this pass on what they get.
_SENDER = "sender-"

_POLL_S = 0.002


def measure() -> list[Figure]:
    """Measure messages beside commands that send none, both with every commit on disk."""
    return run_as_served(_measure())


async def _measure() -> list[Figure]:
    async with _carts("sqlite") as (handler, store):
        plain, plain_cpu_us = await _rate(handler, store, "receiver-")
        sent, sent_cpu_us = await _rate(handler, store, _SENDER)
        p50_ms = await _latency(handler, store)
    async with _carts("memory") as (handler, store):
        in_memory, in_memory_cpu_us = await _rate(handler, store, _SENDER)
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


@asynccontextmanager
async def _carts(store_name: str) -> AsyncIterator[tuple[CommandHandler, StateStore]]:
    async with embedded([_relaying_cart()], store_name) as opened:
        yield opened


def _relaying_cart() -> EventSourcedEntity:
    """Return a cart that sends what is added to a sender's to the receiver of the same name."""
    from shoppingcart.domain_pb2 import ItemAdded, LineItem  # beside the example
    from shoppingcart.shoppingcart_pb2 import DESCRIPTOR, AddLineItem  # as above

    cart = EventSourcedEntity(DESCRIPTOR.services_by_name["ShoppingCart"], init_state=_Cart)

    @cart.command_handler("AddItem")
    def add(item: AddLineItem, ctx: EventSourcedCommandContext) -> Empty:
        ctx.emit(ItemAdded(item=LineItem(productId=item.product_id, name=item.name, quantity=1)))
        if item.user_id.startswith(_SENDER):
            receiver = item.user_id.removeprefix(_SENDER)
            ctx.effect(SERVICE, "AddItem", cart_item(receiver))
        return Empty()

    @cart.event_handler(ItemAdded)
    def added(state: _Cart, event: ItemAdded) -> None:
        state.items += 1

    return cart


class _Cart:
    """What is in a cart.

    Attributes:
        items: How many items.
    """

    def __init__(self) -> None:
        self.items = 0


async def _rate(handler: CommandHandler, store: StateStore, prefix: str) -> tuple[float, float]:
    """Return the best of some rounds in commands per second, and its CPU per command in us."""
    requests = [add_item(f"{prefix}{number}") for number in range(CONCURRENT)]
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
    request, times_s = add_item(f"{_SENDER}alone"), []
    for _ in range(500):
        began_s = time.perf_counter()
        await handler.handle(request)
        await _all_done(store, 0)
        times_s.append(time.perf_counter() - began_s)
    return sorted(times_s)[len(times_s) // 2] * 1000
