"""Whether every text in a set of descriptors is text.

A `FileDescriptorSet` is read without a look at its texts, so a name may come out as bytes. There is
a second form of the message here, the same but that its texts are checked while it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    Edition,
    EnumDescriptorProto,
    FeatureSet,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

__all__ = ["holds_only_text"]

_PACKAGE = "strict"


def holds_only_text(data: bytes) -> bool:
    """Return whether all texts in a readable, serialized `FileDescriptorSet` are UTF-8."""
    try:
        _strict_class().FromString(data)
    except DecodeError:
        return False
    return True


@cache
def _strict_class() -> type[Message]:
    file = FileDescriptorProto()
    descriptor_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "strict_descriptor.proto", _PACKAGE
    # Texts are checked from this edition on, unless a file says otherwise.
    file.syntax, file.edition = "editions", Edition.EDITION_2023
    file.ClearField("options")
    _adapt_messages(file.message_type)
    _adapt_enums(file.enum_type)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.FileDescriptorSet"))


def _adapt_messages(messages: Iterable[DescriptorProto]) -> None:
    for message in messages:
        message.ClearField("options")
        for field in message.field:
            _adapt_field(field)
        for extensible in message.extension_range:
            extensible.ClearField("options")
        _adapt_enums(message.enum_type)
        _adapt_messages(message.nested_type)


def _adapt_field(field: FieldDescriptorProto) -> None:
    field.ClearField("options")
    if field.label == FieldDescriptorProto.LABEL_REQUIRED:
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
    if field.HasField("type_name"):
        field.type_name = field.type_name.replace(".google.protobuf.", f".{_PACKAGE}.", 1)


def _adapt_enums(enums: Iterable[EnumDescriptorProto]) -> None:
    for enum in enums:
        enum.ClearField("options")
        # Some have no value 0, which is a closed enum's privilege.
        enum.options.features.enum_type = FeatureSet.CLOSED
        for value in enum.value:
            value.ClearField("options")
