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
    FieldDescriptorProto,
    FileDescriptorProto,
)

from cloudstate import entity_key_pb2, entity_pb2, eventing_pb2, legacy_entity_key_pb2

__all__ = ["KNOWN_FILES", "differences", "package_fault"]

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
_RESERVED_PACKAGES = frozenset({"google.protobuf", "google.api", "cloudstate"})

#: Options of many kinds live here, of which the runtime needs a few.
_OPTIONS_FOLDER, _OPTIONS_PACKAGE = "google/api/", "google.api"

#: What releases of protobuf changed while they invented editions. A file that needs the runtime's
#: form of it and has another one is refused when it is used.
_UNSETTLED_MESSAGES = frozenset({"FeatureSet", "FeatureSetDefaults"})
_UNSETTLED_FIELDS = frozenset({"edition"})

#: The number that `cloudstate.entity_key` had before it became 1080.
_FORMER_KEY_NUMBER = 50_002


def package_fault(file: FileDescriptorProto) -> Iterator[str]:
    """Say that a file which is not known defines things where it must not."""
    if file.package == _OPTIONS_PACKAGE and file.name.startswith(_OPTIONS_FOLDER):
        return  # one of the many that are published beside those we know
    if file.package in _RESERVED_PACKAGES:
        yield (
            f"file {file.name!r} defines things in package {file.package!r}, which is "
            "Cloudstate's or protobuf's own; use another package"
        )


def differences(theirs: FileDescriptorProto) -> Iterator[str]:
    """Name what a user function's copy of a known file defines otherwise than the runtime's.

    Releases differ in what they know, in options and in comments, so only what both define is
    compared: names, numbers, types and labels of fields, numbers of the values of enums, and
    extensions. What only theirs defines is not used.
    """
    ours = KNOWN_FILES[theirs.name]
    if theirs.package != ours.package:
        yield f"{theirs.name}: expected package {ours.package!r}, found {theirs.package!r}"
        return
    yield from _messages(theirs.name, theirs.message_type, ours.message_type)
    yield from _enums(theirs.name, theirs.enum_type, ours.enum_type)
    yield from _extensions(theirs, ours)


def _messages(
    where: str, theirs: Iterable[DescriptorProto], ours: Iterable[DescriptorProto]
) -> Iterator[str]:
    known = {message.name: message for message in ours}
    for message in theirs:
        own = known.get(message.name)
        if own is None or message.name in _UNSETTLED_MESSAGES:
            continue
        place = f"{where}: {message.name}"
        by_name = {field.name: field for field in own.field}
        by_number = {field.number: field for field in own.field}
        for field in message.field:
            if field.name in _UNSETTLED_FIELDS:
                continue
            same = by_name.get(field.name) or by_number.get(field.number)
            if same is not None and _meaning(field) != _meaning(same):
                yield f"{place}.{field.name} is not the field of that file"
        yield from _messages(place, message.nested_type, own.nested_type)
        yield from _enums(place, message.enum_type, own.enum_type)


def _meaning(field: FieldDescriptorProto) -> tuple[object, ...]:
    return field.name, field.number, field.type, field.label, field.type_name, field.extendee


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


def _extensions(theirs: FileDescriptorProto, ours: FileDescriptorProto) -> Iterator[str]:
    known = {extension.name: extension for extension in ours.extension}
    for extension in theirs.extension:
        own = known.get(extension.name)
        if own is None or _meaning(extension) == _meaning(own):
            continue
        if extension.name == "entity_key" and extension.number == _FORMER_KEY_NUMBER:
            continue  # the runtime knows that number as the legacy entity key
        yield f"{theirs.name}: {extension.name} is not the extension of that file"
