from __future__ import annotations

import pytest

from cloudstate_core.conditions import checked_command_key, parsed_version
from cloudstate_core.errors import MalformedRequest


@pytest.mark.parametrize("key", ["a", "x" * 255, '"quoted"', "7f6e-~!"])
def test_a_key_of_visible_ascii_is_taken_as_it_is(key: str) -> None:
    assert checked_command_key(key) == key


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "\x00", "é", "a\x7f"])
def test_a_key_that_is_not_visible_ascii_is_refused(key: str) -> None:
    with pytest.raises(MalformedRequest, match="visible ASCII"):
        checked_command_key(key)


def test_a_key_that_is_too_long_is_refused_without_being_repeated() -> None:
    with pytest.raises(MalformedRequest) as caught:
        checked_command_key("x" * 10_000)

    assert str(caught.value) == (
        "expected an idempotency key of at most 255 characters, found 10000"
    )


@pytest.mark.parametrize(
    ("text", "version"), [("0", 0), ("7", 7), ('"7"', 7), (f'"{2**63 - 1}"', 2**63 - 1), ("007", 7)]
)
def test_a_version_may_stand_in_quotes(text: str, version: int) -> None:
    assert parsed_version(text) == version


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", '"', '""', '"7', '7"', 'W/"7"', '"1", "2"', "-1", "1.0", "seven"),
        *("\u00b2", "\u0667", str(2**63), "9" * 10_000),
    ],
)
def test_anything_else_is_no_version(text: str) -> None:
    with pytest.raises(MalformedRequest, match="if-match") as caught:
        parsed_version(text)

    assert len(str(caught.value)) < 200
