from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Command, Metadata
from cloudstate_core.anys import pack_message
from cloudstate_tck.expectations import (
    MAX_RENDERED_CHARACTERS,
    Mismatch,
    expect_equal,
    rendered,
)
from cloudstate_tck.model.eventsourced_pb2 import Persisted


def test_equal_messages_pass():
    expect_equal("the command", Command(id=1, name="Call"), Command(id=1, name="Call"))


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (Command(id=1), Command(id=2)),
        (Command(), Command(metadata=Metadata())),
        (Command(payload=Any()), Command()),
        (Command(), ClientAction()),
        (0, False),
        ("1", 1),
        ((0, 2), (0, 3)),
    ],
)
def test_what_differs_in_value_presence_or_type_does_not_pass(expected, found):
    with pytest.raises(Mismatch):
        expect_equal("the value", expected, found)


def test_a_mismatch_says_what_was_expected_before_what_was_found():
    with pytest.raises(Mismatch) as caught:
        expect_equal("the version", (0, 2), (0, 3))

    assert str(caught.value) == "the version: expected (0, 2), found (0, 3)"
    assert caught.value.what == "the version"


def test_a_message_is_shown_with_what_its_anys_hold():
    text = rendered(Command(id=3, payload=pack_message(Persisted(value="ü"))))

    assert text.startswith("Command {\n  id: 3\n")
    assert 'value: "ü"' in text


def test_an_any_of_an_unknown_type_is_shown_as_bytes():
    text = rendered(Command(payload=Any(type_url="type.googleapis.com/no.such", value=b"\xff")))

    assert "no.such" in text


def test_an_empty_message_is_shown_in_one_line():
    assert rendered(Command()) == "Command {}"


def test_a_huge_message_is_cut_short_when_shown():
    text = rendered(Command(name="x" * 1_000_000))

    assert len(text) < MAX_RENDERED_CHARACTERS + 100
    assert text.endswith("characters more")
