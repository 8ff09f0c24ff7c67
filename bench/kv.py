"""Durable commands of a key-value entity: in this process, and through the front door."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from bench.commands import durable_commands, run_as_served, throughput
from bench.embedded import embedded, packed
from bench.figures import Figure
from bench.front_door import USERS, Subject, measure_front_door
from bench.subjects.subjects_pb2 import Item
from bench.subjects.tally_entity import TALLY, entity
from cloudstate_core.handler import Request

__all__ = ["item", "measure"]

WHAT = "durable key-value command"


def measure() -> list[Figure]:
    """Measure in process first, then the real server beside its echoes."""
    return [*run_as_served(_in_process()), *measure_front_door(_SUBJECT)]


async def _in_process() -> list[Figure]:
    async with embedded([entity], "memory") as (handler, _):
        in_memory, _ = await throughput(handler, _add)
    async with embedded([entity], "sqlite") as (handler, _):
        return await durable_commands(handler, _add, WHAT, in_memory)


def item(user: str, quantity: int = 1) -> Item:
    """Return what is sent."""
    return Item(user_id=user, product_id="socks", name="Socks", quantity=quantity)


def _add(user: str) -> Request:
    return Request(str(TALLY.full_name), "Add", packed(item(user)))


def _stored(address: str) -> int:
    stored = 0
    for number in range(USERS):
        url = f"http://{address}/tallies/user-{number}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            stored += int(json.load(answer)["commands"])
    return stored


_SUBJECT = Subject(
    what=WHAT,
    entities=("bench.subjects.tally_entity:entity",),
    folder=Path(__file__).resolve().parents[1],
    grpc_path=f"/{TALLY.full_name}/Add",
    message=item,
    http_path="/tallies/{user}/add",
    http_body='{"productId":"socks","name":"Socks","quantity":1}',
    carried_out=_stored,
)
