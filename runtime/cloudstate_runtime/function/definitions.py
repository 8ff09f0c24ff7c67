"""What a protobuf compiler refuses to write into a descriptor, and a descriptor pool accepts.

A descriptor that was made by a compiler has none of these faults. One that was made by hand may,
and would then fail later, at a request.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import Message

__all__ = ["MAX_NESTING", "Definition", "definition_faults", "definitions_of"]

#: How deep a message may be nested in others.
MAX_NESTING = 32

#: A field of such a name hides what every message can do, from those who want it done.
_TAKEN_NAMES = {name for name in dir(Message) if not name.startswith("_")} | {
    "Extensions",
    "FindInitializationErrors",
}

#: Numbers that protobuf keeps for itself.
_OWN_NUMBERS = range(19_000, 20_000)

_KEY_TYPES = {
    FieldDescriptorProto.TYPE_INT32,
    FieldDescriptorProto.TYPE_INT64,
    FieldDescriptorProto.TYPE_UINT32,
    FieldDescriptorProto.TYPE_UINT64,
    FieldDescriptorProto.TYPE_SINT32,
    FieldDescriptorProto.TYPE_SINT64,
    FieldDescriptorProto.TYPE_FIXED32,
    FieldDescriptorProto.TYPE_FIXED64,
    FieldDescriptorProto.TYPE_SFIXED32,
    FieldDescriptorProto.TYPE_SFIXED64,
    FieldDescriptorProto.TYPE_BOOL,
    FieldDescriptorProto.TYPE_STRING,
}


@dataclass(frozen=True, slots=True)
class Definition:
    """One message of a file.

    Attributes:
        message: The message.
        name: Its full name.
        depth: 1 for a message that is in no other one.
    """

    message: DescriptorProto
    name: str
    depth: int


def definitions_of(file: FileDescriptorProto) -> Iterator[Definition]:
    """Yield every message of a file, those of one level too deep included; without recursion."""
    prefix = f"{file.package}." if file.package else ""
    waiting = [Definition(each, prefix + each.name, 1) for each in file.message_type]
    while waiting:
        current = waiting.pop()
        yield current
        if current.depth <= MAX_NESTING:
            waiting += [
                Definition(each, f"{current.name}.{each.name}", current.depth + 1)
                for each in current.message.nested_type
            ]


def definition_faults(file: FileDescriptorProto) -> Iterator[str]:
    """Name what is wrong with the messages and enums of a file, one sentence each."""
    prefix = f"{file.package}." if file.package else ""
    yield from _enum_faults(prefix, file.enum_type)
    for each in definitions_of(file):
        if each.depth > MAX_NESTING:
            yield f"message {each.name} is nested deeper than {MAX_NESTING} levels"
        yield from _message_faults(each)


def _message_faults(definition: Definition) -> Iterator[str]:
    message, name = definition.message, definition.name
    yield from _enum_faults(f"{name}.", message.enum_type)
    yield from _range_faults(message, name)
    entries = {f".{name}.{n.name}": n for n in message.nested_type if n.options.map_entry}
    used = set()
    for field in message.field:
        if field.name in _TAKEN_NAMES:
            yield f"field {name}.{field.name} has a name that every message needs; rename it"
        if field.number in _OWN_NUMBERS:
            yield f"field {name}.{field.name} has number {field.number}, which is protobuf's own"
        if field.type_name in entries:
            used.add(field.type_name)
            if not _is_map(field, entries[field.type_name]):
                yield f"field {name}.{field.name} is no map, although its type says so"
    for unused in entries.keys() - used:
        yield f"message {unused[1:]} says that it is the entry of a map, and is not"
    if definition.depth == 1 and message.options.map_entry:
        yield f"message {name} says that it is the entry of a map, and is not"


def _is_map(field: FieldDescriptorProto, entry: DescriptorProto) -> bool:
    members = [(each.name, each.number) for each in entry.field]
    return (
        field.label == FieldDescriptorProto.LABEL_REPEATED
        and members == [("key", 1), ("value", 2)]
        and all(each.label == FieldDescriptorProto.LABEL_OPTIONAL for each in entry.field)
        and entry.field[0].type in _KEY_TYPES
        and not entry.nested_type
        and not entry.enum_type
    )


def _range_faults(message: DescriptorProto, name: str) -> Iterator[str]:
    """Name what lies in a range of numbers that belongs to something else."""
    ranges = sorted(
        [(each.start, each.end, "extensions") for each in message.extension_range]
        + [(each.start, each.end, "nothing") for each in message.reserved_range]
    )
    for (_, end, _), (start, *_) in pairwise(ranges):
        if start < end:
            yield f"message {name}: two ranges of numbers contain {start}"
    names = set(message.reserved_name)
    if not ranges and not names:
        return
    for field in message.field:
        if field.name in names:
            yield f"field {name}.{field.name} has a name that is reserved for nothing"
        below = bisect_right(ranges, field.number, key=_start)
        if below and field.number < ranges[below - 1][1]:
            yield (
                f"field {name}.{field.name} has number {field.number}, which is reserved for "
                f"{ranges[below - 1][2]}"
            )


def _start(numbers: tuple[int, int, str]) -> int:
    return numbers[0]


def _enum_faults(prefix: str, enums: Iterable[EnumDescriptorProto]) -> Iterator[str]:
    for enum in enums:
        if enum.options.allow_alias:
            continue
        seen: dict[int, str] = {}
        for each in enum.value:
            other = seen.setdefault(each.number, each.name)
            if other != each.name:
                yield (
                    f"enum {prefix}{enum.name}: {other} and {each.name} have the number "
                    f"{each.number}; set allow_alias or change one"
                )
