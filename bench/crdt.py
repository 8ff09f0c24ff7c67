"""Durable commands of a replicated entity on one node, in process and through the front door."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from bench.commands import durable_commands, run_as_served, throughput
from bench.embedded import embedded, packed
from bench.figures import Figure
from bench.front_door import USERS, Subject, measure_front_door
from bench.kv import item
from bench.subjects.votes_entity import VOTES, entity
from cloudstate_core.handler import Request

__all__ = ["measure"]

WHAT = "durable replicated command"


def measure() -> list[Figure]:
    """Measure in process first, then the real server beside its echoes."""
    return [*run_as_served(_in_process()), *measure_front_door(_SUBJECT)]


async def _in_process() -> list[Figure]:
    async with embedded([entity], "memory") as (handler, _):
        in_memory, _ = await throughput(handler, _cast)
    async with embedded([entity], "sqlite") as (handler, _):
        return await durable_commands(handler, _cast, WHAT, in_memory)


def _cast(user: str) -> Request:
    return Request(str(VOTES.full_name), "Cast", packed(item(user)))


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
