"""Values inside `google.protobuf.Any`, as every Cloudstate language writes them.

* A protobuf message: `type.googleapis.com/<full name>` and its bytes.
* A primitive: `p.cloudstate.io/<type>` and a message that holds it in field 1. A default value is
  zero bytes, so that equal values have equal bytes.
* JSON: `json.cloudstate.io/<name>` and a message that holds the text in field 1.

Equal values always give equal bytes (Cloudstate protocol, "stability"): messages are serialized
deterministically and JSON has sorted keys and no white space.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from weakref import finalize

from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

__all__ = [
    "JSON_PREFIX",
    "MESSAGE_PREFIX",
    "PRIMITIVE_PREFIX",
    "AnyError",
    "Json",
    "TypeResolver",
    "decode",
    "encode",
    "encode_into",
    "encode_json",
    "encode_primitive",
    "is_of_type",
    "message_class_in",
    "pack_into",
    "pack_message",
    "type_name",
]

MESSAGE_PREFIX = "type.googleapis.com/"
PRIMITIVE_PREFIX = "p.cloudstate.io/"
JSON_PREFIX = "json.cloudstate.io/"

#: What a handler may get or give: a message, a primitive, or JSON.
Primitive = str | bytes | int | float | bool

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_INT32_RANGE = range(-(2**31), 2**31)
_INT64_RANGE = range(-(2**63), 2**63)


class AnyError(ValueError):
    """A value cannot be packed, or an `Any` cannot be read."""


@dataclass(frozen=True, slots=True)
class Json:
    """A JSON value with the name that tells what it is.

    Attributes:
        name: What follows `json.cloudstate.io/`.
        value: Anything `json.dumps` takes; `allow_nan` is off.
    """

    name: str
    value: object


class TypeResolver(Protocol):
    """Finds the class of a message type."""

    def __call__(self, full_name: str, /) -> type[Message]:
        """Return the class, or raise KeyError."""
        ...


def message_class_in(pool: DescriptorPool) -> TypeResolver:
    """Return a resolver that knows the messages of `pool` and no others."""

    def resolve(full_name: str, /) -> type[Message]:
        return GetMessageClass(pool.FindMessageTypeByName(full_name))

    return resolve


_default_resolver = message_class_in(descriptor_pool.Default())


# By the identity of the message's class. Asking a message for its name takes as long as writing a
# small one, and so does asking a weak dictionary. There are as many classes as an application has
# message types; one that is thrown away takes its entry with it.
_type_urls: dict[int, str] = {}


def type_name(type_url: str) -> str:
    """Return what follows the first slash; the whole text if there is none."""
    return type_url.partition("/")[2] or type_url


def is_of_type(found: str, expected: str) -> bool:
    """Return whether two type URLs name the same type.

    The part before the slash only says where a type's definition might be had; it does not tell
    types apart.
    """
    return found == expected or found.partition("/")[2] == expected.partition("/")[2] != ""


def pack_message(message: Message) -> Any:
    """Pack a protobuf message."""
    packed = Any()
    pack_into(packed, message)
    return packed


def pack_into(packed: Any, message: Message) -> None:
    """Pack a protobuf message where its `Any` stands, which saves a copy."""
    type_url = _type_urls.get(id(type(message)))
    packed.type_url = type_url if type_url is not None else _remembered_type_url(message)
    packed.value = message.SerializeToString(deterministic=True)


def _remembered_type_url(message: Message) -> str:
    message_class = type(message)
    type_url = _type_urls[id(message_class)] = MESSAGE_PREFIX + message.DESCRIPTOR.full_name
    finalize(message_class, _type_urls.pop, id(message_class)).atexit = False
    return type_url


def encode(value: object) -> Any:
    """Pack a message, a primitive or `Json`; an `Any` is copied as it is.

    `int` becomes int64 and `float` becomes double; `encode_primitive` chooses another type.

    Raises:
        AnyError: If `value` is of another type or out of range.
    """
    match value:
        case Any():
            packed = Any()
            packed.CopyFrom(value)
            return packed
        case Message():
            return pack_message(value)
        case Json():
            return encode_json(value)
        case bool():
            return encode_primitive("bool", value)
        case str():
            return encode_primitive("string", value)
        case bytes():
            return encode_primitive("bytes", value)
        case int():
            return encode_primitive("int64", value)
        case float():
            return encode_primitive("double", value)
        case _:
            raise AnyError(
                "expected a protobuf message, str, bytes, int, float, bool or Json, found "
                f"{type(value).__name__}"
            )


def encode_into(packed: Any, value: object) -> None:
    """Pack what `encode` packs, where its `Any` stands.

    Raises:
        AnyError: If `value` is of another type or out of range. `packed` is as it was.
    """
    if isinstance(value, Message) and not isinstance(value, Any):
        pack_into(packed, value)
    else:
        packed.CopyFrom(encode(value))


def decode(packed: Any, resolve: TypeResolver = _default_resolver) -> Message | Primitive | Json:
    """Unpack what `encode` packed, in any language.

    Args:
        packed: The `Any`. Its host is ignored unless it is one of Cloudstate's.
        resolve: Finds message classes. Defaults to every generated module that is imported.

    Raises:
        AnyError: If the type is unknown or the bytes are not of that type.
    """
    url = packed.type_url
    if url.startswith(PRIMITIVE_PREFIX):
        return _decode_primitive(url[len(PRIMITIVE_PREFIX) :], packed.value)
    if url.startswith(JSON_PREFIX):
        return Json(url[len(JSON_PREFIX) :], _decode_json(packed.value))
    try:
        message_class = resolve(type_name(url))
    except KeyError:
        raise AnyError(f"unknown type {url!r}: import its generated module") from None
    try:
        return message_class.FromString(packed.value)
    except DecodeError as error:
        raise AnyError(f"not a valid {type_name(url)!r}: {error}") from error


def encode_json(value: Json) -> Any:
    """Pack JSON: keys sorted, no white space, no NaN.

    Raises:
        AnyError: If it is no JSON.
    """
    try:
        text = json.dumps(
            value.value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise AnyError(f"not JSON: {error}") from error
    return Any(type_url=JSON_PREFIX + value.name, value=_length_delimited(_utf8(text)))


def _decode_json(data: bytes) -> object:
    try:
        # Bytes would be taken for UTF-16 or UTF-32 if they look like it.
        text = (_field_one(data, _LENGTH) or b"null").decode()
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise AnyError(f"not JSON: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not allowed")


def encode_primitive(type_: str, value: Primitive) -> Any:
    """Pack a primitive of a chosen protobuf scalar type.

    Args:
        type_: One of string, bytes, int32, int64, float, double, bool.
        value: A value of that type.

    Raises:
        AnyError: If there is no such type or the value is not of it.
    """
    codec = _CODECS.get(type_)
    if codec is None:
        raise AnyError(f"unknown primitive type {type_!r}: expected one of {', '.join(_CODECS)}")
    # A default value is no bytes at all; minus zero is not the default.
    empty = not value and str(value) != "-0.0"
    try:
        data = codec.write(value)
    except (TypeError, AttributeError, struct.error, OverflowError) as error:
        raise AnyError(f"expected a value of type {type_}, found {value!r}: {error}") from error
    return Any(type_url=PRIMITIVE_PREFIX + type_, value=b"" if empty else data)


def _decode_primitive(type_: str, data: bytes) -> Primitive:
    codec = _CODECS.get(type_)
    if codec is None:
        raise AnyError(f"unknown primitive type {type_!r}: expected one of {', '.join(_CODECS)}")
    raw = _field_one(data, codec.wire_type)
    if raw is None:
        return codec.default
    try:
        return codec.read(raw)
    except (ValueError, struct.error) as error:
        raise AnyError(f"not a valid {type_}: {error}") from error


def _utf8(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("not text")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise AnyError(f"not encodable as UTF-8: {error.reason}") from error


def _length_delimited(data: bytes) -> bytes:
    return b"\x0a" + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _integer(allowed: range, value: object) -> bytes:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("not an integer")
    if value not in allowed:
        raise OverflowError(f"not between {allowed[0]} and {allowed[-1]}")
    return b"\x08" + _varint(value)


def _boolean(value: object) -> bytes:
    if not isinstance(value, bool):
        raise TypeError("not a bool")
    return b"\x08" + _varint(value)


def _raw_bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("not bytes")
    return _length_delimited(value)


def _signed(bits: int) -> Callable[[bytes], int]:
    # A negative int32 is written as a 64-bit varint; the low bits are the number.
    def read(raw: bytes) -> int:
        number = int.from_bytes(raw, "little") & ((1 << bits) - 1)
        return number - (1 << bits) if number >> (bits - 1) else number

    return read


def _real(format_: str) -> Callable[[bytes], float]:
    def read(raw: bytes) -> float:
        number: float = struct.unpack(format_, raw)[0]
        return number

    return read


@dataclass(frozen=True, slots=True)
class _Codec:
    wire_type: int
    default: Primitive
    write: Callable[[object], bytes]
    read: Callable[[bytes], Primitive]


_CODECS: dict[str, _Codec] = {
    "string": _Codec(_LENGTH, "", lambda v: _length_delimited(_utf8(v)), bytes.decode),
    "bytes": _Codec(_LENGTH, b"", _raw_bytes, bytes),
    "int32": _Codec(_VARINT, 0, lambda v: _integer(_INT32_RANGE, v), _signed(32)),
    "int64": _Codec(_VARINT, 0, lambda v: _integer(_INT64_RANGE, v), _signed(64)),
    "float": _Codec(_FIXED32, 0.0, lambda v: b"\x0d" + struct.pack("<f", v), _real("<f")),
    "double": _Codec(_FIXED64, 0.0, lambda v: b"\x09" + struct.pack("<d", v), _real("<d")),
    "bool": _Codec(_VARINT, False, _boolean, any),
}


def _field_one(data: bytes, wire_type: int) -> bytes | None:
    """Return the last occurrence of field 1, skipping every other field; None if absent.

    A varint comes back as little-endian bytes.
    """
    found, at = None, 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        if tag >> 3 == 0:
            raise AnyError("there is no field number 0")
        raw, at = _read_field(data, at, tag & 7)
        if tag >> 3 == 1:
            if tag & 7 != wire_type:
                raise AnyError(f"field 1: expected wire type {wire_type}, found {tag & 7}")
            found = raw
    return found


def _read_field(data: bytes, at: int, wire_type: int) -> tuple[bytes, int]:
    match wire_type:
        case 0:
            number, end = _read_varint(data, at)
            return number.to_bytes(8, "little"), end
        case 1:
            end = at + 8
        case 2:
            size, at = _read_varint(data, at)
            end = at + size
        case 5:
            end = at + 4
        case _:
            raise AnyError(f"unknown wire type {wire_type}")
    if end > len(data):
        raise AnyError("truncated")
    return data[at:end], end


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data):
            raise AnyError("truncated")
        if shift > 63:
            raise AnyError("a varint is longer than 64 bits")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & (2**64 - 1), at
        shift += 7
