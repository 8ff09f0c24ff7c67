"""An event-sourced entity that sends on what it gets, if its id says so."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from bench.subjects.subjects_pb2 import _TALLY as TALLY
from bench.subjects.subjects_pb2 import GetTally, Item, Tallied
from cloudstate.event_sourced_context import EventSourcedCommandContext
from cloudstate.event_sourced_entity import EventSourcedEntity

#: An entity whose id begins with this sends to the one whose id is the rest.
SENDER = "sender-"

entity = EventSourcedEntity(TALLY, init_state=Tallied, persistence_id="relay")


@entity.command_handler("Add")
def add(item: Item, ctx: EventSourcedCommandContext) -> Empty:
    """Keep an item, and send it on."""
    ctx.emit(item)
    if item.user_id.startswith(SENDER):
        receiver = item.user_id.removeprefix(SENDER)
        ctx.effect(
            TALLY.full_name,
            "Add",
            Item(user_id=receiver, product_id=item.product_id, name=item.name, quantity=1),
        )
    return Empty()


@entity.command_handler("Get")
def get(state: Tallied, _: GetTally) -> Tallied:
    """Tell how many there were."""
    return state


@entity.event_handler(Item)
def added(state: Tallied, _: Item) -> None:
    """Count an item."""
    state.commands += 1
