"""A key-value entity that does next to nothing."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from bench.subjects.subjects_pb2 import _TALLY as TALLY
from bench.subjects.subjects_pb2 import GetTally, Item, Tallied
from cloudstate.value_entity import ValueEntity, ValueEntityCommandContext

entity = ValueEntity(TALLY, init_state=Tallied, state_type=Tallied, persistence_id="tally")


@entity.command_handler("Add")
def add(state: Tallied, _: Item, ctx: ValueEntityCommandContext) -> Empty:
    """Count the command."""
    state.commands += 1
    ctx.update(state)
    return Empty()


@entity.command_handler("Get")
def get(state: Tallied, _: GetTally) -> Tallied:
    """Tell how many there were."""
    return state
