"""Counters that every node may change, for the tests of three nodes.

`cloudstate run tally:entity` serves them. Those whose names begin with "map" count in a map of many
counters, which is so long that its changes are stored by themselves.
"""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cloudstate import entity_key_pb2
from cloudstate.crdt_entity import (
    CrdtCommandContext,
    CrdtEntity,
    GCounter,
    ORMap,
    WriteConsistency,
)

SERVICE = "tally.Tally"


def _described() -> FileDescriptorProto:
    file = FileDescriptorProto(name="tally.proto", package="tally", syntax="proto3")
    file.dependency.append("cloudstate/entity_key.proto")
    amount = file.message_type.add(name="Amount")
    fields = [
        ("id", FieldDescriptorProto.TYPE_STRING),
        ("value", FieldDescriptorProto.TYPE_INT64),
        ("all", FieldDescriptorProto.TYPE_BOOL),
    ]
    for number, (name, type_) in enumerate(fields, 1):
        field = amount.field.add(name=name, number=number, type=type_)
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
        if name == "id":
            field.options.Extensions[entity_key_pb2.entity_key] = True
    service = file.service.add(name="Tally")
    for name in ("Add", "Total"):
        service.method.add(name=name, input_type=".tally.Amount", output_type=".tally.Amount")
    return file


def _declared() -> type[Message]:
    pool = Default()
    try:
        pool.FindFileByName("tally.proto")
    except KeyError:
        pool.Add(_described())
    return GetMessageClass(pool.FindMessageTypeByName("tally.Amount"))


Amount = _declared()

#: How many counters a map has.
_COUNTERS = 100


def beginning(entity_id: str) -> type[GCounter | ORMap[str, GCounter]]:
    """Return what an entity is before anybody has counted."""
    return ORMap if entity_id.startswith("map") else GCounter


entity = CrdtEntity(Default().FindServiceByName(SERVICE), default=beginning)


@entity.command_handler("Add")
def add(
    tally: GCounter | ORMap[str, GCounter], amount: Amount, context: CrdtCommandContext
) -> Amount:
    if isinstance(tally, ORMap):
        key = f"counter number {context.command_id % _COUNTERS} of {_COUNTERS}"
        tally.get_or_create(key, GCounter).increment(amount.value)
    else:
        tally.increment(amount.value)
    if amount.all:
        context.write_consistency = WriteConsistency.ALL
    return Amount(id=amount.id, value=counted(tally))


@entity.command_handler("Total")
def total(tally: GCounter | ORMap[str, GCounter], amount: Amount) -> Amount:
    return Amount(id=amount.id, value=counted(tally))


def counted(tally: GCounter | ORMap[str, GCounter]) -> int:
    """Return how far the entity has counted."""
    if isinstance(tally, ORMap):
        return sum(counter.value for counter in tally.values())
    return tally.value
