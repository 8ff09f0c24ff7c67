"""Files that every user function shares with the runtime, and whose meaning is not its to change.

They are the well-known types of protobuf, the HTTP annotations, and Cloudstate's own files.
Whatever a user function sends under one of these names, the runtime uses its own copy, after
checking that both mean the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import ModuleType

from google.api import annotations_pb2, http_pb2, httpbody_pb2
from google.protobuf import (
    any_pb2,
    api_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
)

from cloudstate import entity_key_pb2, entity_pb2, eventing_pb2, legacy_entity_key_pb2

__all__ = ["KNOWN_FILES", "RESERVED_PACKAGES", "differences"]

_MODULES: tuple[ModuleType, ...] = (
    any_pb2,
    api_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
    annotations_pb2,
    http_pb2,
    httpbody_pb2,
    entity_pb2,
    entity_key_pb2,
    eventing_pb2,
    legacy_entity_key_pb2,
)


def _proto_of(module: ModuleType) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(proto)
    return proto


#: The runtime's own copies, by file name.
KNOWN_FILES: dict[str, FileDescriptorProto] = {
    module.DESCRIPTOR.name: _proto_of(module) for module in _MODULES
}

#: Packages in which a user function may define nothing of its own.
RESERVED_PACKAGES = frozenset({"google.protobuf", "google.api", "cloudstate"})


def differences(theirs: FileDescriptorProto) -> Iterator[str]:
    """Name what a user function's copy of a known file defines otherwise than the runtime's.

    Releases differ in what they know, in options and in comments, so only what both define is
    compared: the number, type and label of each field, and the number of each enum value.
    """
    ours = KNOWN_FILES[theirs.name]
    if theirs.package != ours.package:
        yield f"{theirs.name}: expected package {ours.package!r}, found {theirs.package!r}"
        return
    yield from _messages(theirs.name, theirs.message_type, ours.message_type)
    yield from _enums(theirs.name, theirs.enum_type, ours.enum_type)


def _messages(
    where: str, theirs: Iterable[DescriptorProto], ours: Iterable[DescriptorProto]
) -> Iterator[str]:
    known = {message.name: message for message in ours}
    for message in theirs:
        place = f"{where}: {message.name}"
        if message.name not in known:
            yield f"{place} is not part of that file"
            continue
        own = known[message.name]
        fields = {field.name: field for field in own.field}
        for field in message.field:
            same = fields.get(field.name)
            if same is not None and (field.number, field.type, field.label) != (
                same.number,
                same.type,
                same.label,
            ):
                yield f"{place}.{field.name} is not the field of that file"
        yield from _messages(place, message.nested_type, own.nested_type)
        yield from _enums(place, message.enum_type, own.enum_type)


def _enums(
    where: str, theirs: Iterable[EnumDescriptorProto], ours: Iterable[EnumDescriptorProto]
) -> Iterator[str]:
    known = {enum.name: enum for enum in ours}
    for enum in theirs:
        if enum.name not in known:
            continue
        numbers = {value.name: value.number for value in known[enum.name].value}
        for value in enum.value:
            if numbers.get(value.name, value.number) != value.number:
                yield f"{where}: {enum.name}.{value.name} is not the value of that file"
