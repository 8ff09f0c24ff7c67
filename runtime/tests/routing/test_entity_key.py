from __future__ import annotations

import struct

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from runtime_doubles.deployed import deployed_entity
from runtime_doubles.specs import REPEATED, enum, field, file, message

from cloudstate import legacy_entity_key_pb2
from cloudstate_core.entity import DeployedMethod
from cloudstate_core.entity_key import entity_id_reader
from cloudstate_core.errors import InvalidSpec, MalformedRequest


def method_taking(*fields: FieldDescriptorProto, syntax: str = "proto3") -> DeployedMethod:
    """A method whose request has these fields."""
    key_file = file(
        "keys.proto",
        "keys",
        message("Request", *fields),
        message("Other"),
        syntax=syntax,
        enum_type=[enum("Colour", RED=0, GREEN=1)],
        dependency=["cloudstate/entity_key.proto", "cloudstate/legacy_entity_key.proto"],
    )
    return deployed_entity(key_file, {"Do": (".keys.Request", ".keys.Other")}).methods["Do"]


def key_of(method: DeployedMethod, **values: object) -> str:
    request: Message = method.input_class(**values)
    return entity_id_reader(method)(request.SerializeToString())


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", "joe", "joe"),
        ("string", "a/b c\0\x1b", "a/b c\0\x1b"),
        ("int32", -(2**31), "-2147483648"),
        ("int64", 2**63 - 1, "9223372036854775807"),
        ("uint32", 2**32 - 1, "4294967295"),
        ("uint64", 2**64 - 1, "18446744073709551615"),
        ("sint32", -7, "-7"),
        ("sint64", -7, "-7"),
        ("fixed32", 7, "7"),
        ("fixed64", 7, "7"),
        ("sfixed32", -7, "-7"),
        ("sfixed64", -7, "-7"),
        ("int32", 0, "0"),
        ("bool", True, "true"),
        ("bool", False, "false"),
        ("double", 1.5, "1.5"),
        ("double", -0.1, "-0.1"),
        ("float", 0.1, "0.1"),
        ("float", 16_777_216.0, "16777216.0"),
        ("enum .keys.Colour", 1, "GREEN"),
        ("enum .keys.Colour", 0, "RED"),
        ("enum .keys.Colour", 7, "7"),
    ],
)
def test_the_id_is_the_text_of_the_key(kind: str, value: object, expected: str) -> None:
    assert key_of(method_taking(field("id", 1, kind, key=True)), id=value) == expected


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_text_of_a_float_names_that_float_and_no_other(value: float) -> None:
    text = key_of(method_taking(field("id", 1, "float", key=True)), id=value)

    assert struct.pack("f", float(text)) == struct.pack("f", value)


def test_several_fields_are_joined_in_the_order_of_their_declaration() -> None:
    method = method_taking(
        field("last", 9, key=True),
        field("between", 5),
        field("first", 1, "int32", key=True),
        field("middle", 4, "bool", key=True),
    )

    assert method.key_fields == ("last", "first", "middle")
    assert key_of(method, last="z", between="?", first=1, middle=True) == "z-1-true"


def test_one_empty_part_of_several_is_allowed() -> None:
    method = method_taking(field("a", 1, key=True), field("b", 2, key=True))

    assert key_of(method, b="x") == "-x"
    assert key_of(method, a="x") == "x-"


def test_the_older_option_marks_a_key_as_well() -> None:
    old = field("id", 1)
    old.options.Extensions[legacy_entity_key_pb2.legacy_entity_key] = True

    assert key_of(method_taking(field("no", 2), old), id="joe", no="x") == "joe"


def test_a_field_called_like_a_method_of_messages_is_read_all_the_same() -> None:
    method = method_taking(field("items", 1, key=True), field("keys", 2, key=True))

    assert key_of(method, items="a", keys="b") == "a-b"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_missing_key_is_refused_with_the_names_of_its_fields(count: int) -> None:
    method = method_taking(*[field(f"k{i}", i + 1, key=True) for i in range(count)])

    with pytest.raises(MalformedRequest, match=r"set k0.* of keys\.Request") as caught:
        key_of(method)

    assert all(f"k{i}" in str(caught.value) for i in range(count))


@pytest.mark.parametrize("character", ["a", "é", "€", "𝄞"])
def test_an_id_has_at_most_512_bytes(character: str) -> None:
    method = method_taking(field("id", 1, key=True))
    size = len(character.encode())
    filled = character * (512 // size) + "a" * (512 % size)

    assert key_of(method, id=filled) == filled
    with pytest.raises(MalformedRequest, match="at most 512 bytes, found 513"):
        key_of(method, id=filled + "a")
    with pytest.raises(MalformedRequest, match="at most 512 bytes, found 1000000"):
        key_of(method, id="a" * 1_000_000)


def test_the_joined_id_is_measured() -> None:
    method = method_taking(field("a", 1, key=True), field("b", 2, key=True))

    assert len(key_of(method, a="x" * 255, b="y" * 256)) == 512
    with pytest.raises(MalformedRequest, match="found 513"):
        key_of(method, a="x" * 256, b="y" * 256)


@given(st.text(min_size=1, max_size=128))
def test_every_unicode_text_is_an_id(text: str) -> None:
    assert key_of(STRING_KEY, id=text) == text


@given(st.binary(max_size=64))
def test_whatever_the_bytes_the_answer_is_an_id_or_a_refusal(data: bytes) -> None:
    for method in (STRING_KEY, LENIENT_KEY):
        try:
            entity_id = entity_id_reader(method)(data)
        except MalformedRequest:
            continue
        assert 0 < len(entity_id.encode()) <= 512


@pytest.mark.parametrize("data", [b"\x0a\x05jo", b"\xff\xff", b"\x0a\x02\xff\xfe", b"\x0b"])
def test_bytes_that_are_no_such_request_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedRequest, match=r"not a valid keys\.Request"):
        entity_id_reader(STRING_KEY)(data)


def test_bytes_that_are_no_text_are_refused_even_where_the_syntax_lets_them_pass() -> None:
    with pytest.raises(MalformedRequest, match="id is not valid UTF-8"):
        entity_id_reader(LENIENT_KEY)(b"\x0a\x02\xff\xfe")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (field("id", 1, "bytes", key=True), "id is bytes"),
        (field("id", 1, ".keys.Other", key=True), "id is a message"),
        (field("id", 1, label=REPEATED, key=True), "id is repeated"),
        (field("id", 1, "int32", label=REPEATED, key=True), "id is repeated"),
    ],
    ids=["bytes", "message", "repeated", "repeated numbers"],
)
def test_what_cannot_be_a_key_is_refused_at_discovery(
    key: FieldDescriptorProto, reason: str
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        method_taking(key, field("ok", 2, key=True))

    assert caught.value.faults == (
        f"keys.Service.Do: entity key field {reason}; use a string, an integer, a bool or an enum",
    )


STRING_KEY = method_taking(field("id", 1, key=True))
LENIENT_KEY = method_taking(field("id", 1, key=True), syntax="proto2")
