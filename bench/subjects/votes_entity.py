"""A replicated entity that does next to nothing."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from bench.subjects.subjects_pb2 import _VOTES as VOTES
from bench.subjects.subjects_pb2 import GetTally, Item, Tallied
from cloudstate.crdt_entity import CrdtEntity, GCounter

entity = CrdtEntity(VOTES, default=GCounter, persistence_id="votes")


@entity.command_handler("Cast")
def cast(counter: GCounter, _: Item) -> Empty:
    """Count the command."""
    counter.increment()
    return Empty()


@entity.command_handler("Count")
def count(counter: GCounter, _: GetTally) -> Tallied:
    """Tell how many there were."""
    return Tallied(commands=counter.value)
