from __future__ import annotations

import inspect

import grpc
import pytest

from cloudstate.entity_pb2 import Failure
from cloudstate_core import errors
from cloudstate_core.errors import (
    CloudstateError,
    InvalidSpec,
    LimitExceeded,
    RevisionConflict,
    SequenceConflict,
    StaleEpoch,
)
from cloudstate_core.failure_code import code_of, with_code
from cloudstate_core.status import HTTP_STATUS, Status

CLASSES = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, CloudstateError)
]


def test_the_codes_are_those_of_grpc() -> None:
    assert {status.name: int(status) for status in Status} == {
        code.name: code.value[0] for code in grpc.StatusCode
    }


def test_every_code_has_an_http_status() -> None:
    assert set(HTTP_STATUS) == set(Status)
    assert all(100 <= http <= 599 for http in HTTP_STATUS.values())


def test_every_error_is_public_and_explained_in_the_tree() -> None:
    assert {each.__name__ for each in CLASSES} == set(errors.__all__)
    assert errors.__doc__ is not None
    for each in CLASSES:
        assert f"* {each.__name__}" in errors.__doc__
        assert each.status is not Status.OK


def test_only_what_may_pass_by_itself_is_retryable() -> None:
    retryable = {each.status for each in CLASSES if each.retryable}

    assert retryable == {Status.UNAVAILABLE, Status.ABORTED, Status.DEADLINE_EXCEEDED}


def test_an_error_keeps_its_detail_out_of_its_text() -> None:
    error = CloudstateError("something broke", detail="at line 7")

    assert str(error) == "something broke"
    assert error.detail == "at line 7"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SequenceConflict("e", expected=1, actual=2), "entity 'e': expected sequence 1, found 2"),
        (RevisionConflict("e", expected=1, actual=2), "entity 'e': expected revision 1, found 2"),
        (
            StaleEpoch("e", held=1, current=2),
            "entity 'e': expected epoch 1 to own it, found epoch 2",
        ),
        (InvalidSpec("a", "b"), "a; b"),
    ],
)
def test_an_error_says_what_was_expected_before_what_was_found(
    error: CloudstateError, text: str
) -> None:
    assert str(error) == text
    assert error.detail == ""


def test_a_limit_tells_when_to_come_again() -> None:
    assert LimitExceeded("too many", retry_after_s=0.5).retry_after_s == 0.5
    assert LimitExceeded("too large").retry_after_s is None


@pytest.mark.parametrize("code", [status for status in Status if status])
def test_a_failure_carries_its_code_over_the_wire(code: Status) -> None:
    failure = with_code(Failure(command_id=7, description="no"), code)

    received = Failure.FromString(failure.SerializeToString())

    assert code_of(received) is code
    assert (received.command_id, received.description) == (7, "no")


def test_a_failure_without_a_code_or_with_a_foreign_one_has_none() -> None:
    foreign = Failure.FromString(b"\xc0\x3e\x63")

    assert code_of(Failure(description="no")) is None
    assert code_of(foreign) is None
