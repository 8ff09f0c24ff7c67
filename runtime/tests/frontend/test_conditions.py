from __future__ import annotations

import pytest

from cloudstate_core.errors import MalformedRequest, NoVersions
from cloudstate_core.handler import Conditions
from cloudstate_runtime.frontend.conditions import conditions_of
from cloudstate_runtime.frontend.headers import is_passed_on


def test_a_key_and_a_version_are_conditions() -> None:
    headers = (("idempotency-key", " k1\t"), ("if-match", '"7"'))

    assert conditions_of(headers, versions=True) == Conditions("k1", 7)
    assert conditions_of(headers[:1], versions=False) == Conditions("k1")
    assert conditions_of(headers[1:], versions=True) == Conditions(expected_version=7)


@pytest.mark.parametrize("name", ["idempotency-key", "if-match"])
def test_a_condition_that_is_there_twice_is_refused(name: str) -> None:
    with pytest.raises(MalformedRequest, match=f"{name}.*twice"):
        conditions_of(((name, "1"), (name, "1")), versions=True)


def test_a_version_is_refused_where_there_is_none_to_compare() -> None:
    with pytest.raises(NoVersions, match="if-match"):
        conditions_of((("if-match", "7"),), versions=False)


def test_a_version_that_is_none_is_malformed_wherever_it_is_sent() -> None:
    with pytest.raises(MalformedRequest, match="if-match"):
        conditions_of((("if-match", "*"),), versions=False)


def test_conditions_are_not_passed_on() -> None:
    assert not is_passed_on("idempotency-key")
    assert not is_passed_on("if-match")
    assert is_passed_on("etag")
