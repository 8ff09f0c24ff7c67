"""A replicated map of counters that does next to nothing with them."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from bench.subjects.subjects_pb2 import _VOTES as VOTES
from bench.subjects.subjects_pb2 import GetTally, Item, Tallied
from cloudstate.crdt_entity import CrdtEntity, GCounter, ORMap

entity = CrdtEntity(VOTES, default=ORMap, persistence_id="ballots")


@entity.command_handler("Cast")
def cast(counters: ORMap, item: Item) -> Empty:
    """Count the command with those for the same product."""
    counters.get_or_create(item.product_id, GCounter).increment()
    return Empty()


@entity.command_handler("Count")
def count(counters: ORMap, _: GetTally) -> Tallied:
    """Tell how many there were."""
    return Tallied(commands=sum(each.value for each in counters.values()))
