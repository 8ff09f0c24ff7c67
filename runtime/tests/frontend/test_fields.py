"""Text from paths and queries, put into fields."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstate_core.errors import MalformedRequest
from cloudstate_runtime.frontend.http.fields import FieldPathError, find_path, set_field

GOOD = [
    ("text", "é\x00 ", "é\x00 "),
    ("text", "", ""),
    ("data", "_-8=", b"\xff\xef"),
    ("data", "/+8", b"\xff\xef"),
    ("data", "", b""),
    ("flag", "true", True),
    ("flag", "FALSE", False),
    ("a_int32", "-2147483648", -(2**31)),
    ("a_int32", "+7", 7),
    ("a_int32", "007", 7),
    ("a_sint32", "2147483647", 2**31 - 1),
    ("a_sfixed32", "-1", -1),
    ("a_int64", "9223372036854775807", 2**63 - 1),
    ("a_sint64", "-9223372036854775808", -(2**63)),
    ("a_uint32", "4294967295", 2**32 - 1),
    ("a_fixed32", "0", 0),
    ("a_uint64", "18446744073709551615", 2**64 - 1),
    ("a_fixed64", "1", 1),
    ("a_double", "1e3", 1000.0),
    ("a_double", "-.5", -0.5),
    ("a_double", "-Infinity", -math.inf),
    ("a_float", "3.4028234e38", pytest.approx(3.4028234e38)),
    ("color", "RED", 1),
    ("color", "2", 2),
    ("color", "77", 77),
    ("note", "", ""),
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_text_becomes_a_value(thing: Any, name: str, text: str, value: Any) -> None:
    message = thing()

    set_field(message, find_path(thing.DESCRIPTOR, [name]), [text])

    assert getattr(message, name) == value


def test_not_a_number_is_a_number(thing: Any) -> None:
    message = thing()

    set_field(message, find_path(thing.DESCRIPTOR, ["a_double"]), ["NaN"])

    assert math.isnan(message.a_double)


BAD = [
    ("data", "a", "expected base64 for 'data', found 'a'"),
    ("data", "a!bc", "expected base64"),
    ("data", "ab\n", "expected base64"),
    ("flag", "1", "expected true or false for 'flag', found '1'"),
    ("flag", "", "expected true or false"),
    ("a_int32", "2147483648", "expected a 32-bit integer for 'a_int32', found '2147483648'"),
    ("a_int32", "1_000", "expected a 32-bit integer"),
    ("a_int32", " 1", "expected a 32-bit integer"),
    ("a_int32", "\u0661", "expected a 32-bit integer"),
    ("a_int32", "1.0", "expected a 32-bit integer"),
    ("a_int32", "", "expected a 32-bit integer"),
    ("a_int64", "9" * 5000, "expected a 64-bit integer for 'a_int64', found '999"),
    ("a_uint32", "-1", "expected an unsigned 32-bit integer"),
    ("a_uint64", "18446744073709551616", "expected an unsigned 64-bit integer"),
    ("a_double", "1e999", "expected a number"),
    ("a_double", "0x1p3", "expected a number"),
    ("a_double", "nan", "expected a number"),
    ("a_float", "1e39", "expected a 32-bit number"),
    ("color", "MAUVE", "expected a value of test.things.Color for 'color', found 'MAUVE'"),
    ("color", "99999999999", "expected a value of test.things.Color"),
    ("inner", "x", "field 'inner' is a message, which only a JSON body can hold"),
    ("at", "2026-01-01T00:00:00Z", "field 'at' is a message"),
]


@pytest.mark.parametrize(("name", "text", "reason"), BAD)
def test_text_that_is_no_value_is_refused(thing: Any, name: str, text: str, reason: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        set_field(thing(), find_path(thing.DESCRIPTOR, [name]), [text])

    assert str(caught.value).startswith(reason)
    assert len(str(caught.value)) < 300


def test_a_repeated_field_takes_several_values(thing: Any) -> None:
    message = thing(numbers=[1])

    set_field(message, find_path(thing.DESCRIPTOR, ["numbers"]), ["2", "3"])

    assert list(message.numbers) == [1, 2, 3]


def test_a_singular_field_takes_one_value(thing: Any) -> None:
    with pytest.raises(MalformedRequest, match="expected one value for 'text', found 2"):
        set_field(thing(), find_path(thing.DESCRIPTOR, ["text"]), ["a", "b"])


def test_a_nested_field_makes_the_messages_around_it(thing: Any) -> None:
    message = thing()

    set_field(message, find_path(thing.DESCRIPTOR, ["inner", "inner", "number"]), ["7"])

    assert message.inner.inner.number == 7


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (["nope"], "no field 'nope' in test.things.Thing"),
        (["inner", "nope"], "no field 'nope' in test.things.Inner"),
        (["text", "a"], "field test.things.Thing.text is not a singular message"),
        (["inners", "text"], "field test.things.Thing.inners is not a singular message"),
        ([""], "no field '' in test.things.Thing"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(
    thing: Any, path: list[str], reason: str
) -> None:
    with pytest.raises(FieldPathError, match=reason):
        find_path(thing.DESCRIPTOR, path)


def test_a_field_has_its_proto_name_and_its_json_name(thing: Any) -> None:
    assert find_path(thing.DESCRIPTOR, ["aInt32"]) == find_path(thing.DESCRIPTOR, ["a_int32"])


@given(data=st.data())
def test_any_text_is_a_value_or_is_refused(thing: Any, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(list(thing.DESCRIPTOR.fields)))
    texts = data.draw(st.lists(st.text(max_size=8), min_size=1, max_size=2))
    message = thing()
    try:
        set_field(message, (field,), texts)
    except MalformedRequest:
        return
    assert thing.FromString(message.SerializeToString()) == message or "nan" in str(message)
