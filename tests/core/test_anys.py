from __future__ import annotations

import contextlib
import json
import math
import struct

import pytest
from google.protobuf import descriptor_pb2, wrappers_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.struct_pb2 import Struct
from hypothesis import example, given
from hypothesis import strategies as st

from cloudstate.entity_pb2 import Command, Metadata
from cloudstate_core.anys import (
    AnyError,
    Json,
    decode,
    encode,
    encode_primitive,
    message_class_in,
    pack_message,
    type_name,
)

#: For each primitive type, the message of protobuf's own that has the same bytes.
WRAPPERS = {
    "string": wrappers_pb2.StringValue,
    "bytes": wrappers_pb2.BytesValue,
    "int32": wrappers_pb2.Int32Value,
    "int64": wrappers_pb2.Int64Value,
    "float": wrappers_pb2.FloatValue,
    "double": wrappers_pb2.DoubleValue,
    "bool": wrappers_pb2.BoolValue,
}
PRIMITIVES = (
    st.tuples(st.just("string"), st.text())
    | st.tuples(st.just("bytes"), st.binary())
    | st.tuples(st.just("int32"), st.integers(-(2**31), 2**31 - 1))
    | st.tuples(st.just("int64"), st.integers(-(2**63), 2**63 - 1))
    | st.tuples(st.just("float"), st.floats(width=32))
    | st.tuples(st.just("double"), st.floats())
    | st.tuples(st.just("bool"), st.booleans())
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
TYPE_URLS = st.sampled_from(
    [
        *(f"p.cloudstate.io/{name}" for name in WRAPPERS),
        "json.cloudstate.io/cart",
        "type.googleapis.com/cloudstate.Command",
        "type.googleapis.com/google.protobuf.Struct",
    ]
)


def same(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        both_nan = math.isnan(left) and math.isnan(right)
        return both_nan or struct.pack("d", left) == struct.pack("d", right)
    return type(left) is type(right) and left == right


@given(PRIMITIVES)
@example(("int32", -1))
@example(("double", -0.0))
@example(("float", math.inf))
def test_a_primitive_comes_back_and_has_the_bytes_protobuf_gives_it(
    typed: tuple[str, str | bytes | int | float | bool],
) -> None:
    type_, value = typed

    packed = encode_primitive(type_, value)

    assert packed.type_url == f"p.cloudstate.io/{type_}"
    assert same(decode(packed), value)
    if not (isinstance(value, float) and math.isnan(value)):
        assert packed.value == WRAPPERS[type_](value=value).SerializeToString()


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("string", ""),
        ("bytes", b""),
        ("int32", 0),
        ("int64", 0),
        ("float", 0.0),
        ("double", 0.0),
        ("bool", False),
    ],
)
def test_a_default_value_is_no_bytes_at_all(type_: str, value: str | bytes | float) -> None:
    packed = encode_primitive(type_, value)

    assert packed.value == b""
    assert same(decode(packed), value)
    # Other languages write the field all the same.
    written = {"string": b"\x0a\x00", "bytes": b"\x0a\x00", "float": b"\x0d" + bytes(4)}
    written |= {"double": b"\x09" + bytes(8)}
    packed.value = written.get(type_, b"\x08\x00")
    assert same(decode(packed), value)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("text", "p.cloudstate.io/string"),
        (b"bytes", "p.cloudstate.io/bytes"),
        (5, "p.cloudstate.io/int64"),
        (0.5, "p.cloudstate.io/double"),
        (True, "p.cloudstate.io/bool"),
        (Json("cart", {"a": 1}), "json.cloudstate.io/cart"),
        (Command(id=1), "type.googleapis.com/cloudstate.Command"),
        (Any(type_url="x/y", value=b"z"), "x/y"),
    ],
)
def test_the_type_of_a_value_chooses_its_url(value: object, url: str) -> None:
    assert encode(value).type_url == url


def test_an_any_is_copied_and_not_wrapped() -> None:
    original = Any(type_url="x/y", value=b"z")

    packed = encode(original)
    original.value = b"changed"

    assert packed == Any(type_url="x/y", value=b"z")


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("int32", 2**31, "not between -2147483648 and 2147483647"),
        ("int32", -(2**31) - 1, "not between"),
        ("int64", 2**63, "not between"),
        ("int64", True, "not an integer"),
        ("int64", 1.0, "not an integer"),
        ("int64", None, "not an integer"),
        ("bool", 1, "not a bool"),
        ("bool", 0, "not a bool"),
        ("bytes", "text", "not bytes"),
        ("bytes", "", "not bytes"),
        ("string", b"bytes", "not text"),
        ("string", None, "not text"),
        ("string", "\ud800", "not encodable as UTF-8"),
        ("float", "1", "expected a value of type float"),
        ("float", 1e300, "expected a value of type float"),
        ("float", None, "expected a value of type float"),
        ("double", 10**400, "expected a value of type double"),
        ("uint8", 1, "unknown primitive type 'uint8': expected one of string, bytes"),
    ],
)
def test_a_value_of_another_type_is_refused(type_: str, value: object, expected: str) -> None:
    with pytest.raises(AnyError, match=expected):
        encode_primitive(type_, value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, object(), [1], {"a": 1}, 2**64, "\udfff"])
def test_what_has_no_place_in_an_any_is_refused(value: object) -> None:
    with pytest.raises(AnyError):
        encode(value)


def test_other_fields_are_skipped_and_the_last_field_one_counts() -> None:
    other = b"\x10\x05" + b"\x1a\x02hi" + b"\x25" + bytes(4) + b"\x29" + bytes(8)
    one, two = b"\x08\x01", b"\x08\x02"

    packed = Any(type_url="p.cloudstate.io/int32", value=other + one + other + two + other)

    assert decode(packed) == 2


@pytest.mark.parametrize(
    ("type_", "data", "expected"),
    [
        ("int32", b"\x0a\x00", "field 1: expected wire type 0, found 2"),
        ("string", b"\x08\x00", "field 1: expected wire type 2, found 0"),
        ("string", b"\x0a\x05hi", "truncated"),
        ("string", b"\x0a\x01\xff", "not a valid string"),
        ("int64", b"\x08", "truncated"),
        ("int64", b"\x08" + b"\xff" * 10 + b"\x01", "longer than 64 bits"),
        ("double", b"\x09\x00", "truncated"),
        ("int32", b"\x0b", "unknown wire type 3"),
        ("int32", b"\x00\x00", "field number 0"),
        ("decimal", b"", "unknown primitive type 'decimal'"),
    ],
)
def test_bytes_of_another_type_are_refused(type_: str, data: bytes, expected: str) -> None:
    with pytest.raises(AnyError, match=expected):
        decode(Any(type_url=f"p.cloudstate.io/{type_}", value=data))


@given(JSON_VALUES)
def test_json_comes_back_and_has_the_bytes_of_a_string(value: object) -> None:
    packed = encode(Json("cart", value))
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert decode(packed) == Json("cart", value)
    assert packed.value == encode_primitive("string", text).value


def test_equal_json_has_equal_bytes_in_any_order_of_keys() -> None:
    left, right = Json("x", {"a": 1, "b": [2]}), Json("x", {"b": [2], "a": 1})

    assert encode(left) == encode(right)
    assert encode(left).value == b'\x0a\x0f{"a":1,"b":[2]}'


def nested(depth: int) -> list[object]:
    inner: list[object] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, {1, 2}, {"a": 1, 2: 3}, "\ud800", nested(100_000)]
)
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(AnyError):
        encode(Json("x", value))


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"NaN",
        b"[-Infinity]",
        b"\xff",
        b"[" * 100_000,
        '"x"'.encode("utf-16"),
        b"1" * 9999,
    ],
)
def test_text_that_is_not_json_is_refused(text: bytes) -> None:
    body = wrappers_pb2.BytesValue(value=text).SerializeToString()

    with pytest.raises(AnyError, match="not JSON"):
        decode(Any(type_url="json.cloudstate.io/x", value=body))


def test_json_without_a_field_is_null() -> None:
    assert decode(Any(type_url="json.cloudstate.io/x")) == Json("x", None)
    assert decode(Any(type_url="json.cloudstate.io/x", value=b"\x0a\x00")) == Json("x", None)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("type.googleapis.com/a.B", "a.B"),
        ("example.com/path/a.B", "path/a.B"),
        ("a.B", "a.B"),
        ("/a.B", "a.B"),
        ("", ""),
    ],
)
def test_the_type_name_follows_the_first_slash(url: str, name: str) -> None:
    assert type_name(url) == name


@pytest.mark.parametrize("host", ["type.googleapis.com/", "example.com/", "/", ""])
def test_the_host_of_a_message_type_is_ignored(host: str) -> None:
    command = Command(id=3)

    assert (
        decode(Any(type_url=f"{host}cloudstate.Command", value=command.SerializeToString()))
        == command
    )


@pytest.mark.parametrize("name", ["no.such.Type", "", "a/b", "\0", "ünïcode", ".", "cloudstate"])
def test_an_unknown_type_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(AnyError, match="unknown type"):
        decode(Any(type_url=f"type.googleapis.com/{name}"))


def test_bytes_that_are_not_of_the_message_are_refused() -> None:
    with pytest.raises(AnyError, match=r"not a valid 'cloudstate\.Command'"):
        decode(Any(type_url="type.googleapis.com/cloudstate.Command", value=b"\xff\xff"))


def test_a_resolver_knows_its_own_pool_and_no_other() -> None:
    pool = DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="own.proto", package="own", syntax="proto3")
    file.message_type.add(name="Thing").field.add(name="size", number=1, type=5, label=1)
    pool.Add(file)
    resolve = message_class_in(pool)

    thing = decode(Any(type_url="x/own.Thing", value=b"\x08\x07"), resolve)

    assert thing.size == 7  # type: ignore[union-attr]
    with pytest.raises(AnyError, match="unknown type"):
        decode(Any(type_url="x/cloudstate.Command"), resolve)
    with pytest.raises(AnyError, match="unknown type"):
        decode(Any(type_url="x/own.Thing"))


def test_messages_with_maps_have_the_same_bytes_in_any_order() -> None:
    left, right = Struct(), Struct()
    left.update({str(number): number for number in range(50)})
    right.update({str(number): number for number in reversed(range(50))})

    assert pack_message(left).value == pack_message(right).value


def test_a_message_comes_back() -> None:
    metadata = Metadata()
    metadata.entries.add(key="k", string_value="v")

    assert decode(encode(metadata)) == metadata


@given(TYPE_URLS, st.binary(max_size=64))
def test_any_bytes_are_read_or_refused_and_nothing_else(url: str, data: bytes) -> None:
    try:
        value = decode(Any(type_url=url, value=data))
    except AnyError:
        pass
    else:
        assert encode(value).type_url.partition("/")[0] == url.partition("/")[0]


@given(st.text(), st.binary(max_size=16))
def test_any_url_is_read_or_refused_and_nothing_else(url: str, data: bytes) -> None:
    with contextlib.suppress(AnyError):
        decode(Any(type_url=url, value=data))
