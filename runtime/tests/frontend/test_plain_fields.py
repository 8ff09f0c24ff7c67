"""What is set without `json_format` is what `json_format` would have set."""

from __future__ import annotations

from typing import Any

import pytest
from google.api.http_pb2 import HttpRule
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from cloudstate_core.frontend import Deployment
from cloudstate_runtime.frontend.http.plain_fields import PlainFields

ALL_PLAIN = {"id": "1", "aInt32": -1, "a_uint64": 2**64 - 1, "flag": True, "note": "", "text": "é"}


@pytest.fixture(scope="module")
def plain_fields(thing: Any) -> PlainFields:
    return PlainFields(thing.DESCRIPTOR)


def test_texts_integers_and_booleans_are_set(plain_fields: PlainFields, thing: Any) -> None:
    message = thing()

    assert plain_fields.read(ALL_PLAIN, message)

    assert message == thing(id="1", a_int32=-1, a_uint64=2**64 - 1, flag=True, note="", text="é")
    assert message.HasField("note")


def test_an_empty_document_is_an_empty_message(plain_fields: PlainFields, thing: Any) -> None:
    message = thing()

    assert plain_fields.read({}, message)
    assert message == thing()


@pytest.mark.parametrize(
    "document",
    [
        {"id": None},
        {"id": 1},
        {"flag": 1},
        {"aInt32": True},
        {"aInt32": 1.0},
        {"aInt64": "1"},
        {"aDouble": 1.5},
        {"data": "AA=="},
        {"color": "RED"},
        {"texts": ["a"]},
        {"numbers": 1},
        {"inner": {}},
        {"at": "2026-01-01T00:00:00Z"},
        {"wrapped": "x"},
        {"nope": "x"},
        {"aInt32": 1, "a_int32": 1},
        {"aInt32": 2**31},
        {"aUint64": -1},
        {"aUint64": 10**400},
        {"text": "\ud800"},
        [],
        "x",
        None,
    ],
)
def test_everything_else_is_left_to_others(
    plain_fields: PlainFields, thing: Any, document: object
) -> None:
    assert not plain_fields.read(document, thing())


@pytest.mark.parametrize(
    ("name", "document"),
    [("StringValue", {"value": "x"}), ("Duration", {"nanos": 1}), ("ListValue", {})],
)
def test_a_type_with_a_json_form_of_its_own_is_left_to_others(
    things: Deployment, name: str, document: object
) -> None:
    descriptor = things.pool.FindMessageTypeByName(f"google.protobuf.{name}")

    assert not PlainFields(descriptor).read(document, GetMessageClass(descriptor)())


def test_fields_that_exclude_each_other_are_left_to_others() -> None:
    assert not PlainFields(HttpRule.DESCRIPTOR).read({"get": "/x", "put": "/x"}, HttpRule())


@given(data=st.data())
def test_what_is_read_is_what_json_format_reads(
    plain_fields: PlainFields, thing: Any, things: Deployment, data: st.DataObject
) -> None:
    names = [name for field in thing.DESCRIPTOR.fields for name in (field.name, field.json_name)]
    texts = st.text() | st.sampled_from(["1", "true", "RED", "\udc00"])
    integers = st.integers() | st.sampled_from([2**31 - 1, 2**31, 2**32, 2**63, 2**64, -1])
    values = texts | integers | st.booleans() | st.none() | st.floats()
    document = data.draw(st.dictionaries(st.sampled_from(names), values, max_size=4))
    message = thing()

    if plain_fields.read(document, message):
        expected = json_format.ParseDict(document, thing(), descriptor_pool=things.pool)
        assert message == expected
