"""JSON to messages and back, by protobuf's own rules and a few stricter ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import example, given
from hypothesis import strategies as st

from cloudstate_core.errors import MalformedRequest
from cloudstate_core.frontend import Deployment
from cloudstate_runtime.frontend.http.codec import MessageCodec
from cloudstate_runtime.frontend.http.json_format_codec import JsonFormatCodec


@pytest.fixture(scope="module")
def codec(thing: Any, things: Deployment) -> MessageCodec:
    return JsonFormatCodec(64).bind(thing, things.pool)


def parsed(codec: MessageCodec, thing: Any, document: str | bytes) -> Any:
    message = thing()
    codec.parse(document.encode() if isinstance(document, str) else document, message)
    return message


def test_names_are_those_of_the_proto_or_of_json(codec: MessageCodec, thing: Any) -> None:
    assert parsed(codec, thing, '{"aInt32": 1}') == parsed(codec, thing, '{"a_int32": 1}')


def test_an_any_is_looked_up_in_the_pool_of_the_service(codec: MessageCodec, thing: Any) -> None:
    document = (
        '{"anything": {"@type": "type.googleapis.com/test.things.Inner", "text": "x", '
        '"number": "1"}}'
    )

    message = parsed(codec, thing, document)

    assert json.loads(codec.format(message))["anything"]["text"] == "x"


BAD = [
    (b"", "the body is not JSON: Expecting value: line 1 column 1 (char 0)"),
    (b"{", "the body is not JSON: "),
    (b"{}x", "the body is not JSON: Extra data"),
    (b"\xef\xbb\xbf{}", "the body is not JSON: Unexpected UTF-8 BOM"),
    (b'{"text": "\xff"}', "the body is not UTF-8 at byte 10"),
    ('{"text": "x"}'.encode("utf-16"), "the body is not UTF-8 at byte 0"),
    (b"[" * 100_000, "the body is not readable JSON: nested too deeply"),
    (b'{"text": NaN}', "the body is not JSON: NaN is not a JSON value"),
    (b'{"a_double": Infinity}', "the body is not JSON: Infinity is not a JSON value"),
    (b'{"a_int64": ' + b"1" * 5000 + b"}", "the body is not readable JSON: Exceeds the limit"),
    (b"[]", "expected a JSON object for test.things.Thing, found a list"),
    (b'"x"', "expected a JSON object for test.things.Thing, found a string"),
    (b"null", "expected a JSON object for test.things.Thing, found null"),
    (b"true", "expected a JSON object for test.things.Thing, found true or false"),
    (b"1", "expected a JSON object for test.things.Thing, found a number"),
    (b'{"inner": []}', "expected a JSON object for test.things.Inner, found a list"),
    (b'{"inner": {"inner": ""}}', "expected a JSON object for test.things.Inner, found a string"),
    (b'{"inners": [{}, ""]}', "expected a JSON object for test.things.Inner, found a string"),
    (b'{"nope": 1}', 'not a test.things.Thing: Message type "test.things.Thing" has no field'),
    (b'{"text": 1}', "not a test.things.Thing: "),
    (b'{"text": "a", "text": "b"}', "the key 'text' occurs twice in one object"),
    (b'{"inner": {"text": "a", "text": "a"}}', "the key 'text' occurs twice in one object"),
    (b'{"loose": {"x": {"a": 1, "a": 1}}}', "the key 'a' occurs twice in one object"),
    (b'{"a_int32": 1, "aInt32": 1}', "a field of test.things.Thing occurs under both of its"),
    (b'{"a_int32": 2147483648}', "not a test.things.Thing: "),
    (b'{"a_int32": 1.5}', "not a test.things.Thing: "),
    (b'{"data": "!"}', "field 'data' is not base64"),
    (b'{"data": "AA=A"}', "field 'data' is not base64"),
    (b'{"pieces": ["AA==", "A A="]}', "field 'pieces' is not base64"),
    (b'{"color": "MAUVE"}', "not a test.things.Thing: "),
    (b'{"texts": "a"}', "not a test.things.Thing: "),
    (b'{"texts": [null]}', "not a test.things.Thing: "),
    (b'{"at": "yesterday"}', "not a test.things.Thing: "),
    (b'{"anything": {"text": "x"}}', "not a test.things.Thing: "),
    (b'{"anything": {"@type": "x/no.Such"}}', "not a test.things.Thing: "),
    (b'{"text": "\\ud800"}', "not a test.things.Thing: "),
]


@pytest.mark.parametrize(("document", "reason"), BAD)
def test_what_is_no_message_is_refused_with_the_reason(
    codec: MessageCodec, thing: Any, document: bytes, reason: str
) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parsed(codec, thing, document)

    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_the_key_that_occurs_twice_is_found_quickly_among_many(
    codec: MessageCodec, thing: Any
) -> None:
    keys = [f'"k{number}": 1' for number in range(100_000)]

    with pytest.raises(MalformedRequest, match="the key 'k99999' occurs twice"):
        parsed(codec, thing, "{" + ",".join([*keys, keys[-1]]) + "}")


@given(st.binary(max_size=60))
@example(b'{"anything":{"@type":"type.googleapis.com/google.protobuf.Struct","value":1}}')
@example(b'{"anything":{"@type":1}}')
@example(b'{"at":{}}')
@example(b'{"loose":[]}')
def test_any_bytes_are_a_message_or_are_refused(
    codec: MessageCodec, thing: Any, document: bytes
) -> None:
    try:
        message = parsed(codec, thing, document)
    except MalformedRequest:
        return
    assert json.loads(codec.format(message))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["RED", "1", "AA==", "2026-01-01T00:00:00Z", "1s", "é", "\ud800", "NaN"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "number", "inner", "@type", "value"]), inner)
    ),
    max_leaves=6,
)


@given(data=st.data())
def test_any_json_in_any_field_is_a_value_or_is_refused(
    codec: MessageCodec, thing: Any, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([field.name for field in thing.DESCRIPTOR.fields]))
    document = json.dumps({name: data.draw(json_values)})
    try:
        message = parsed(codec, thing, document)
    except MalformedRequest:
        return
    # What was read can be written, and reads the same again.
    again = parsed(codec, thing, codec.format(message))
    assert again == message or "nan" in str(message)


def test_json_is_compact_and_holds_default_values(codec: MessageCodec, thing: Any) -> None:
    text = codec.format(thing(text="é", a_int64=5, data=b"\xff", color=1)).decode()
    value = json.loads(text)

    assert '"text":"é","data":"/w=="' in text
    assert (value["aInt64"], value["aUint64"], value["aInt32"]) == ("5", "0", 0)
    assert (value["color"], value["flag"], value["id"], value["texts"]) == ("RED", False, "", [])
    assert value.keys().isdisjoint({"inner", "note", "at", "a_int64"})


def test_an_any_of_an_unknown_type_cannot_be_written(codec: MessageCodec, thing: Any) -> None:
    message = thing()
    message.anything.type_url = "type.googleapis.com/no.Such"
    message.anything.value = b"\x08\x01"

    with pytest.raises(ValueError, match=r"no\.Such"):
        codec.format(message)


@pytest.mark.parametrize(
    ("fields", "name", "document"),
    [
        ({"text": "x"}, "text", '"x"'),
        ({}, "text", '""'),
        ({"a_int64": 2**53 + 1}, "a_int64", '"9007199254740993"'),
        ({"data": b"\xff"}, "data", '"/w=="'),
        ({"a_double": 1.5}, "a_double", "1.5"),
        ({"color": 2}, "color", '"GREEN"'),
        ({"flag": True}, "flag", "true"),
        ({"texts": ["a", "b"]}, "texts", '["a","b"]'),
        ({}, "texts", "[]"),
        ({"numbers": [1]}, "numbers", '["1"]'),
        ({"pieces": [b"\x00"]}, "pieces", '["AA=="]'),
        ({"inners": [{"number": 1}]}, "inners", '[{"number":"1","text":""}]'),
        ({"inner": {"text": "x"}}, "inner", '{"text":"x","number":"0"}'),
        ({}, "inner", '{"text":"","number":"0"}'),
        ({}, "note", "null"),
        ({"note": ""}, "note", '""'),
        ({"at": {"seconds": 1}}, "at", '"1970-01-01T00:00:01Z"'),
        ({"wrapped": {"value": "x"}}, "wrapped", '"x"'),
    ],
)
def test_one_field_is_written_as_it_would_be_within_the_message(
    codec: MessageCodec, thing: Any, fields: dict[str, Any], name: str, document: str
) -> None:
    field = thing.DESCRIPTOR.fields_by_name[name]

    assert codec.format_field(thing(**fields), field) == document.encode()


def test_a_map_is_an_object(things: Deployment) -> None:
    labelled = things.entities[0].methods["Label"].input_class
    codec = JsonFormatCodec(64).bind(labelled, things.pool)
    message = labelled()
    codec.parse(b'{"labels": {"a": "1"}}', message)

    field = labelled.DESCRIPTOR.fields_by_name["labels"]

    assert codec.format_field(message, field) == b'{"a":"1"}'


@pytest.mark.parametrize(
    ("message_class", "document"),
    [(StringValue, b'"x"'), (Value, b"[1.0,null]"), (Value, b"null")],
)
def test_a_type_with_a_json_form_of_its_own_need_not_be_an_object(
    message_class: Any, document: bytes
) -> None:
    codec = JsonFormatCodec(64).bind(message_class, None)
    message = message_class()

    codec.parse(document, message)

    assert codec.format(message) == document
