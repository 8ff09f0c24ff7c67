"""An action that does next to nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty

from bench.subjects.subjects_pb2 import _COUNTER as COUNTER
from bench.subjects.subjects_pb2 import Item, Tallied
from cloudstate.action_protocol_entity import Action

action = Action(COUNTER)
taken = Tallied()


@action.unary_handler("Take")
def take(_: Item) -> Empty:
    """Count the call."""
    taken.commands += 1
    return Empty()


@action.unary_handler("Taken")
def tell(_: Empty) -> Tallied:
    """Tell how many there were."""
    return taken


@action.stream_out_handler("Repeat")
async def repeat(item: Item) -> AsyncIterator[Item]:
    """Answer with the item again and again."""
    for _ in range(item.quantity):
        yield item
