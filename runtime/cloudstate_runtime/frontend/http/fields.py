"""Text from a path or a query, put into the fields of a request message, with no I/O.

Scalars are written as the proto3 JSON mapping writes them, without the quotes: numbers in decimal,
bytes in base64 (either alphabet, padding optional), an enum as name or number.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Sequence

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from cloudstate_core.errors import MalformedRequest

__all__ = ["FieldPathError", "field_named", "find_path", "read_scalar", "set_field"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?|NaN|-?Infinity")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")

Scalar = str | bytes | int | float | bool


class FieldPathError(LookupError):
    """A message has no such field. The text says which part is missing, and of what."""


def field_named(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    """Return the field of that proto name or JSON name, or None."""
    found = descriptor.fields_by_name.get(name)
    if found is None:
        found = next((field for field in descriptor.fields if field.json_name == name), None)
    return found


def find_path(descriptor: Descriptor, path: Sequence[str]) -> tuple[FieldDescriptor, ...]:
    """Follow a dotted path of names through singular messages.

    Raises:
        FieldPathError: If a part does not exist or cannot be entered.
    """
    fields: list[FieldDescriptor] = []
    for name in path:
        if fields:
            descriptor = _entered(fields[-1])
        field = field_named(descriptor, name)
        if field is None:
            raise FieldPathError(f"no field {name!r} in {descriptor.full_name}")
        fields.append(field)
    return tuple(fields)


def _entered(field: FieldDescriptor) -> Descriptor:
    if field.message_type is None or field.is_repeated:
        raise FieldPathError(f"field {field.full_name} is not a singular message")
    return field.message_type


def set_field(message: Message, path: tuple[FieldDescriptor, ...], texts: Sequence[str]) -> None:
    """Set the field at the end of `path`, and every message on the way.

    Args:
        message: The request.
        path: What `find_path` returned.
        texts: One text, or any number of them for a repeated field, to which they are added.

    Raises:
        MalformedRequest: If a text is not a value of the field's type, or a singular field gets
            several.
    """
    *outer, field = path
    for step in outer:
        message = getattr(message, step.name)
    values = [read_scalar(field, text) for text in texts]
    if field.is_repeated:
        getattr(message, field.name).extend(values)
    elif len(values) == 1:
        setattr(message, field.name, values[0])
    else:
        raise MalformedRequest(f"expected one value for {field.name!r}, found {len(values)}")


def read_scalar(field: FieldDescriptor, text: str) -> Scalar:
    """Return the value that `text` stands for.

    Raises:
        MalformedRequest: If it stands for none of the field's type.
    """
    reader = _READERS.get(field.type)
    if reader is None:
        raise MalformedRequest(
            f"field {field.name!r} is a message, which only a JSON body can hold"
        )
    try:
        return reader(field, text)
    except (ValueError, OverflowError):
        raise MalformedRequest(
            f"expected {_expected(field)} for {field.name!r}, found {text[:80]!r}"
        ) from None


def _expected(field: FieldDescriptor) -> str:
    return f"a value of {field.enum_type.full_name}" if field.enum_type else _NAMES[field.type]


def _read_string(field: FieldDescriptor, text: str) -> str:
    return text


def _read_bytes(field: FieldDescriptor, text: str) -> bytes:
    if not _BASE64.fullmatch(text):
        raise ValueError(text)
    digits = text.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error


def _read_bool(field: FieldDescriptor, text: str) -> bool:
    match text.lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ValueError(text)


def _read_real(field: FieldDescriptor, text: str) -> float:
    if not _REAL.fullmatch(text):
        raise ValueError(text)
    number = float(text)
    if math.isinf(number) and "Infinity" not in text:
        raise OverflowError(text)
    return number


def _read_float(field: FieldDescriptor, text: str) -> float:
    number = _read_real(field, text)
    if math.isfinite(number) and abs(number) > _LARGEST_FLOAT:
        raise OverflowError(text)
    return number


#: Above this a number does not round to any finite 32-bit float.
_LARGEST_FLOAT = 3.4028235677973366e38


def _read_enum(field: FieldDescriptor, text: str) -> int:
    enum = field.enum_type
    assert enum is not None  # the table below says so
    value = enum.values_by_name.get(text)
    if value is not None:
        return int(value.number)
    number = _integer(text, -(2**31), 2**31)
    # An open enum takes any number; a closed one only its own.
    if enum.is_closed and number not in enum.values_by_number:
        raise ValueError(text)
    return number


def _integer(text: str, low: int, high: int) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    number = int(text)
    if not low <= number < high:
        raise OverflowError(text)
    return number


def _integers(low: int, high: int) -> Callable[[FieldDescriptor, str], int]:
    def read(field: FieldDescriptor, text: str) -> int:
        return _integer(text, low, high)

    return read


_int32, _int64 = _integers(-(2**31), 2**31), _integers(-(2**63), 2**63)
_uint32, _uint64 = _integers(0, 2**32), _integers(0, 2**64)

_READERS: dict[int, Callable[[FieldDescriptor, str], Scalar]] = {
    FieldDescriptor.TYPE_STRING: _read_string,
    FieldDescriptor.TYPE_BYTES: _read_bytes,
    FieldDescriptor.TYPE_BOOL: _read_bool,
    FieldDescriptor.TYPE_DOUBLE: _read_real,
    FieldDescriptor.TYPE_FLOAT: _read_float,
    FieldDescriptor.TYPE_ENUM: _read_enum,
    FieldDescriptor.TYPE_INT32: _int32,
    FieldDescriptor.TYPE_SINT32: _int32,
    FieldDescriptor.TYPE_SFIXED32: _int32,
    FieldDescriptor.TYPE_INT64: _int64,
    FieldDescriptor.TYPE_SINT64: _int64,
    FieldDescriptor.TYPE_SFIXED64: _int64,
    FieldDescriptor.TYPE_UINT32: _uint32,
    FieldDescriptor.TYPE_FIXED32: _uint32,
    FieldDescriptor.TYPE_UINT64: _uint64,
    FieldDescriptor.TYPE_FIXED64: _uint64,
}

_NAMES: dict[int, str] = {
    FieldDescriptor.TYPE_BYTES: "base64",
    FieldDescriptor.TYPE_BOOL: "true or false",
    FieldDescriptor.TYPE_DOUBLE: "a number",
    FieldDescriptor.TYPE_FLOAT: "a 32-bit number",
    FieldDescriptor.TYPE_INT32: "a 32-bit integer",
    FieldDescriptor.TYPE_SINT32: "a 32-bit integer",
    FieldDescriptor.TYPE_SFIXED32: "a 32-bit integer",
    FieldDescriptor.TYPE_INT64: "a 64-bit integer",
    FieldDescriptor.TYPE_SINT64: "a 64-bit integer",
    FieldDescriptor.TYPE_SFIXED64: "a 64-bit integer",
    FieldDescriptor.TYPE_UINT32: "an unsigned 32-bit integer",
    FieldDescriptor.TYPE_FIXED32: "an unsigned 32-bit integer",
    FieldDescriptor.TYPE_UINT64: "an unsigned 64-bit integer",
    FieldDescriptor.TYPE_FIXED64: "an unsigned 64-bit integer",
}
