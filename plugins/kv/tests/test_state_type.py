from __future__ import annotations

from dataclasses import dataclass
from typing import Any as AnyType

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from pinboard.pinboard_pb2 import Note, Text

from cloudstate_core.anys import AnyError, Json, encode, encode_primitive
from cloudstate_core.errors import RegistrationError
from cloudstate_kv.state_type import state_type_of


@dataclass
class Profile:
    name: str
    age: int = 0


@dataclass
class Nest:
    inner: Nest | None = None


def nested(depth: int) -> Nest:
    nest = Nest()
    for _ in range(depth):
        nest = Nest(nest)
    return nest


@pytest.mark.parametrize(
    ("declared", "value", "type_url"),
    [
        (Note, Note(text="a"), "type.googleapis.com/pinboard.Note"),
        (str, "a", "p.cloudstate.io/string"),
        (str, "", "p.cloudstate.io/string"),
        (bytes, b"a", "p.cloudstate.io/bytes"),
        (int, -3, "p.cloudstate.io/int64"),
        (float, 1.5, "p.cloudstate.io/double"),
        (bool, False, "p.cloudstate.io/bool"),
        (Json, Json("any", [1, None]), "json.cloudstate.io/any"),
        (Profile, Profile("joe", 3), "json.cloudstate.io/Profile"),
        (dict, {"a": 1}, "json.cloudstate.io/object"),
        (dict[str, Profile], {"a": Profile("joe")}, "json.cloudstate.io/object"),
        (list[int], [1, 2], "json.cloudstate.io/object"),
    ],
    ids=str,
)
def test_a_value_comes_back_as_it_was(declared: AnyType, value: object, type_url: str) -> None:
    state_type = state_type_of(declared, "here")
    packed = state_type.pack(value)

    assert packed.type_url == type_url
    assert state_type.unpack(packed) == value
    assert state_type.unpack(packed) is not value or not isinstance(value, Message | dict | list)


def test_an_int_is_a_float_where_one_is_expected() -> None:
    read = state_type_of(float, "here").unpack(state_type_of(float, "here").pack(2))

    assert (read, type(read)) == (2.0, float)


@pytest.mark.parametrize(
    ("declared", "stored", "expected"),
    [
        (Note, Any(type_url="x/pinboard.Note", value=b""), Note()),
        (int, encode_primitive("int32", 3), 3),
        (float, encode_primitive("float", 0.5), 0.5),
        (Profile, encode(Json("com.example.Profile", {"name": "joe"})), Profile("joe")),
        (list, Any(type_url="json.cloudstate.io/x", value=b"\x0a\x02[]"), []),
    ],
    ids=str,
)
def test_what_others_have_stored_is_read(declared: AnyType, stored: Any, expected: object) -> None:
    assert state_type_of(declared, "here").unpack(stored) == expected


@pytest.mark.parametrize(
    ("declared", "value", "why"),
    [
        (Note, Text(), "expected a state of type pinboard.Note, found Text"),
        (str, 3, "expected a state of type str, found int"),
        (int, True, "expected a state of type int, found bool"),
        (int, "3", "expected a state of type int, found str"),
        (int, 2**63, "expected a value of type int64, found 9223372036854775808"),
        (float, True, "expected a state of type float, found bool"),
        (bool, 1, "expected a state of type bool, found int"),
        (bytes, "a", "expected a state of type bytes, found str"),
        (str, "\ud800", "not encodable as UTF-8"),
        (Json, {"a": 1}, "expected a state of type Json, found dict"),
        (Json, Json("x", {1}), "not JSON"),
        (Profile, {"name": "joe"}, "state: expected Profile, found dict"),
        (Profile, Profile("joe", "3"), "state.age: expected int, found '3'"),  # type: ignore[arg-type]
        (list[int], [1, "2"], "state[1]: expected int, found '2'"),
        (dict, [], "state: expected a dict, found list"),
        (Nest, nested(5_000), "state: too deeply nested"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_of_another_type_is_refused(declared: AnyType, value: object, why: str) -> None:
    state_type = state_type_of(declared, "here")

    with pytest.raises(AnyError) as caught:
        state_type.pack(value)
    assert str(caught.value).startswith(why)
    with pytest.raises(AnyError, match="found None"):
        state_type.pack(None)


@pytest.mark.parametrize(
    ("declared", "stored", "why"),
    [
        (Note, encode(Text()), "expected a stored state of type 'type.googleapis.com/pinboard.No"),
        (Note, encode("a"), "expected a stored state of type"),
        (Note, Any(type_url=encode(Note()).type_url, value=b"\xff"), "not a valid 'pinboard.Note'"),
        (str, encode(b"a"), "expected a stored state of type 'p.cloudstate.io/string', found 'p.c"),
        (int, encode(1.0), "expected a stored state of type 'p.cloudstate.io/int64', found 'p.cl"),
        (int, Any(type_url="x/int64"), "expected a stored state of type"),
        (str, Any(type_url="p.cloudstate.io/string", value=b"\x0a\x01\xff"), "not a valid string"),
        (Json, encode("a"), "expected a stored state of type 'json.cloudstate.io/...', found"),
        (Profile, encode(Note()), "expected a stored state of type 'json.cloudstate.io/...', fou"),
        (Profile, Any(type_url="json.cloudstate.io/Profile", value=b"\x0a\x01{"), "not JSON"),
        (Profile, encode(Json("Profile", [])), "state: expected an object with the fields of Prof"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_stored_of_another_type_is_refused(
    declared: AnyType, stored: Any, why: str
) -> None:
    with pytest.raises(AnyError) as caught:
        state_type_of(declared, "here").unpack(stored)

    assert str(caught.value).startswith(why)


@pytest.mark.parametrize(
    "declared", [Any, Message, object, set, 3, "Note", tuple[int, ...], int | None, Profile("joe")]
)
def test_what_cannot_be_stored_is_refused_when_it_is_declared(declared: object) -> None:
    with pytest.raises(RegistrationError) as caught:
        state_type_of(declared, "here")

    assert str(caught.value).startswith("here: expected state_type to be a generated message class")
