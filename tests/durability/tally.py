"""Counters that every node may change, for the tests of three nodes.

`cloudstate run tally:entity` serves them.
"""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cloudstate import entity_key_pb2
from cloudstate.crdt_entity import CrdtCommandContext, CrdtEntity, GCounter, WriteConsistency

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

entity = CrdtEntity(Default().FindServiceByName(SERVICE), default=GCounter)


@entity.command_handler("Add")
def add(counter: GCounter, amount: Amount, context: CrdtCommandContext):
    counter.increment(amount.value)
    if amount.all:
        context.write_consistency = WriteConsistency.ALL
    return Amount(id=amount.id, value=counter.value)


@entity.command_handler("Total")
def total(counter: GCounter, amount: Amount):
    return Amount(id=amount.id, value=counter.value)
