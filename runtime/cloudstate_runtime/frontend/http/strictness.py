"""What `json_format` lets pass although it should not, found in the parsed document, with no I/O.

It takes one field under both of its names, base64 with any junk in it, and an empty list or text
for a message. Each of them means something else to another reader of the same document, which is
how a value gets past whoever checks it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from cloudstate_core.errors import MalformedRequest

__all__ = ["OWN_FORM", "Strictness"]

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")

#: Their JSON is not an object with their fields as keys.
OWN_FORM = frozenset(
    f"google.protobuf.{name}"
    for name in (
        "Any",
        "BoolValue",
        "BytesValue",
        "DoubleValue",
        "Duration",
        "FieldMask",
        "FloatValue",
        "Int32Value",
        "Int64Value",
        "ListValue",
        "StringValue",
        "Struct",
        "Timestamp",
        "UInt32Value",
        "UInt64Value",
        "Value",
    )
)


class Strictness:
    """Checks documents for one type of message, and for those inside of it.

    Args:
        descriptor: The type.
        known: The types that are known already, by full name; for types that hold themselves.
    """

    def __init__(self, descriptor: Descriptor, known: dict[str, Strictness] | None = None) -> None:
        known = {} if known is None else known
        known[descriptor.full_name] = self
        self._type_name: str = descriptor.full_name
        self._has_own_form = self._type_name in OWN_FORM
        self._names: dict[str, str] = {}
        self._inside: dict[str, Strictness] = {}
        self._bytes: set[str] = set()
        self._repeated: set[str] = set()
        if not self._has_own_form:
            for field in descriptor.fields:
                self._add(field, known)
        self._special = self._inside.keys() | self._bytes

    def _add(self, field: FieldDescriptor, known: dict[str, Strictness]) -> None:
        names = {field.name, field.json_name}
        self._names |= dict.fromkeys(names, field.name)
        inside = field.message_type
        if inside is not None and not inside.GetOptions().map_entry:
            strictness = known.get(inside.full_name) or Strictness(inside, known)
            self._inside |= dict.fromkeys(names, strictness)
        if field.type == FieldDescriptor.TYPE_BYTES:
            self._bytes |= names
        if field.is_repeated:
            self._repeated |= names

    def check(self, value: object) -> None:
        """Refuse a value that is no object, or holds what would be read in more than one way.

        Raises:
            MalformedRequest: With the reason.
        """
        if self._has_own_form:
            return
        if not isinstance(value, dict):
            raise MalformedRequest(
                f"expected a JSON object for {self._type_name}, found {_kind(value)}"
            )
        self._check_names(value)
        for name in value.keys() & self._special:
            self._check_inside(name, value[name])

    def _check_names(self, value: Mapping[str, object]) -> None:
        found = {self._names.get(name, name) for name in value}
        if len(found) != len(value):
            raise MalformedRequest(f"a field of {self._type_name} occurs under both of its names")

    def _check_inside(self, name: str, value: object) -> None:
        strictness = self._inside.get(name)
        values = value if isinstance(value, list) and name in self._repeated else (value,)
        for each in values:
            if each is None:
                continue  # stands for "not set", or is refused later
            if strictness is not None:
                strictness.check(each)
            elif isinstance(each, str) and not _BASE64.fullmatch(each):
                raise MalformedRequest(f"field {name!r} is not base64")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "a number"
