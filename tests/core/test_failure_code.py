from __future__ import annotations

import pytest

from cloudstate.entity_pb2 import ClientAction, Failure
from cloudstate_core.failure_code import code_of, with_code
from cloudstate_core.status import Status


def over_the_wire(failure: Failure) -> Failure:
    return ClientAction.FromString(ClientAction(failure=failure).SerializeToString()).failure


@pytest.mark.parametrize("code", [each for each in Status if each is not Status.OK])
def test_a_code_travels_with_its_failure(code: Status) -> None:
    failure = with_code(Failure(description="no"), code)

    assert code_of(failure) is code
    assert code_of(over_the_wire(failure)) is code
    assert failure.description == "no"


def test_a_failure_without_a_code_has_none_and_the_bytes_it_always_had() -> None:
    assert code_of(Failure(command_id=1, description="no", restart=True)) is None
    assert Failure(description="no").SerializeToString() == b"\x12\x02no"


def test_a_peer_that_knows_no_codes_reads_the_rest() -> None:
    failure = with_code(Failure(command_id=7, description="no", restart=True), Status.NOT_FOUND)

    read = over_the_wire(failure)
    read.DiscardUnknownFields()
    assert read == Failure(command_id=7, description="no", restart=True)


def test_the_last_code_counts() -> None:
    failure = with_code(with_code(Failure(), Status.NOT_FOUND), Status.ABORTED)

    assert code_of(over_the_wire(failure)) is Status.ABORTED


@pytest.mark.parametrize("code", [Status.OK, 0, 17, -1, 200])
def test_what_is_no_status_of_a_failure_is_refused(code: int) -> None:
    failure = Failure(description="no")

    with pytest.raises(ValueError, match=r"OK|is not a valid Status"):
        with_code(failure, code)  # type: ignore[arg-type]
    assert failure.SerializeToString() == b"\x12\x02no"


@pytest.mark.parametrize(
    "unknown",
    [
        b"\xc0\x3e\x00",  # OK
        b"\xc0\x3e\x11",  # 17
        b"\xc0\x3e\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # the largest number
        b"\xc2\x3e\x01\x05",  # text in the place of a number
        b"\xc8\x3e\x05",  # another field
    ],
    ids=["0", "17", "huge", "text", "other"],
)
def test_a_code_that_grpc_does_not_know_counts_as_none(unknown: bytes) -> None:
    assert code_of(Failure.FromString(b"\x12\x02no" + unknown)) is None
