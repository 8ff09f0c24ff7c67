"""Durable commands of a replicated entity on one node, in process and through the front door."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from bench.commands import CONCURRENT, durable_commands, run_as_served, throughput
from bench.embedded import embedded, packed
from bench.figures import Figure
from bench.front_door import USERS, Subject, measure_front_door
from bench.kv import item
from bench.subjects.ballots_entity import entity as ballots
from bench.subjects.subjects_pb2 import Item
from bench.subjects.votes_entity import VOTES, entity
from cloudstate_core.handler import CommandHandler, Request

__all__ = ["measure"]

WHAT = "durable replicated command"
COUNTERS = 1_000


def measure() -> list[Figure]:
    """Measure in process first, then the real server beside its echoes."""
    return [*run_as_served(_in_process()), *measure_front_door(_SUBJECT)]


async def _in_process() -> list[Figure]:
    async with embedded([entity], "memory") as (handler, _):
        in_memory, _ = await throughput(handler, _cast)
    async with embedded([entity], "sqlite") as (handler, _):
        figures = await durable_commands(handler, _cast, WHAT, in_memory)
        hot, hot_cpu_us = await throughput(handler, lambda _: _cast("hot"))
    async with embedded([ballots], "sqlite") as (handler, _):
        await _fill(handler)
        large, large_cpu_us = await throughput(handler, _cast_in_map)
    at_one = f"in-process {WHAT}, {CONCURRENT} concurrent at one"
    return [
        *figures,
        Figure(
            f"{at_one} counter",
            hot,
            "/s",
            echo=figures[0].value,
            note=f"{hot_cpu_us:.0f} us of CPU each; the echo has a counter for each caller",
        ),
        Figure(
            f"{at_one} map of {COUNTERS:,} counters",
            large,
            "/s",
            echo=hot,
            note=f"{large_cpu_us:.0f} us of CPU each; the echo is one counter",
        ),
    ]


async def _fill(handler: CommandHandler) -> None:
    """Put counters into the map; those of the callers come to them."""
    for number in range(COUNTERS - CONCURRENT):
        await handler.handle(_cast_in_map(f"other-{number}"))


def _cast(user: str) -> Request:
    return Request(str(VOTES.full_name), "Cast", packed(item(user)))


def _cast_in_map(product: str) -> Request:
    ballot = Item(user_id="map", product_id=product, name="Socks", quantity=1)
    return Request(str(VOTES.full_name), "Cast", packed(ballot))


def _stored(address: str) -> int:
    stored = 0
    for number in range(USERS):
        url = f"http://{address}/votes/user-{number}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            stored += int(json.load(answer)["commands"])
    return stored


_SUBJECT = Subject(
    what=WHAT,
    entities=("bench.subjects.votes_entity:entity",),
    folder=Path(__file__).resolve().parents[1],
    grpc_path=f"/{VOTES.full_name}/Cast",
    message=item,
    http_path="/votes/{user}/cast",
    http_body='{"productId":"socks","name":"Socks","quantity":1}',
    carried_out=_stored,
)
