from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from cloudstate.entity_pb2 import ClientAction, Failure, SideEffect
from cloudstate_core.durable.remembered import Memory, digest_of, recalled
from cloudstate_core.errors import CorruptState, KeyReused
from cloudstate_core.failure_code import with_code
from cloudstate_core.handler import Conditions, Outcome, Request
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status
from cloudstate_core.store import RememberedReply, RememberReply

MEMORY = Memory(keep_s=5.0, keep_count=7)


def request(**more) -> Request:
    fields = {
        "service": "shop.Orders",
        "command": "Place",
        "payload": Any(type_url="t/x", value=b"payload"),
        "conditions": Conditions("k"),
    }
    return Request(**{**fields, **more})


def reply(data: bytes = b"reply") -> ClientAction:
    action = ClientAction()
    action.reply.payload.value = data
    action.reply.metadata.entries.add(key="K", bytes_value=b"\x00")
    return action


def kept(outcome: Outcome, of: Request | None = None) -> RememberedReply:
    write = MEMORY.write_of(of or request(), outcome)
    assert write is not None
    return RememberedReply(write.digest, write.reply)


def again(outcome: Outcome) -> Outcome:
    return recalled(kept(outcome), request(), "joe", "k")


def test_what_is_kept_is_bounded_as_the_settings_say() -> None:
    write = MEMORY.write_of(request(), Outcome(reply()))

    assert isinstance(write, RememberReply)
    assert (write.command_key, write.keep_s, write.keep_count) == ("k", 5.0, 7)


@pytest.mark.parametrize(
    "conditions", [None, Conditions(), Conditions(expected_version=3), Conditions(message_id="m")]
)
def test_nothing_is_kept_of_a_command_without_a_name(conditions: Conditions | None) -> None:
    assert MEMORY.write_of(request(conditions=conditions), Outcome(reply())) is None


def test_a_failure_is_not_kept() -> None:
    failure = with_code(Failure(description="sold out"), Status.NOT_FOUND)

    assert MEMORY.write_of(request(), Outcome(ClientAction(failure=failure))) is None


def test_an_answer_of_nothing_is_kept() -> None:
    assert again(Outcome(ClientAction())) == Outcome(ClientAction())


@given(
    data=st.binary(max_size=100),
    effects=st.lists(st.builds(SideEffect, service_name=st.text(), synchronous=st.booleans())),
    version=st.none() | st.integers(0, 2**63 - 1),
    note=st.binary(max_size=9),
)
def test_the_whole_outcome_comes_back(
    data: bytes, effects: list[SideEffect], version: int | None, note: bytes
) -> None:
    outcome = Outcome(reply(data), tuple(effects), version=version, note=note)

    found = again(outcome)

    assert found == outcome
    assert found.action.SerializeToString() == outcome.action.SerializeToString()


def test_what_was_kept_before_there_were_notes_can_be_read() -> None:
    data = b"\x01" + bytes(8) + b"\x00\x00\x00\x00"

    found = recalled(RememberedReply(digest_of(request()), data), request(), "joe", "k")

    assert found == Outcome(ClientAction(), version=0)


def test_a_forward_comes_back() -> None:
    action = ClientAction()
    action.forward.service_name = "shop.Other"

    assert again(Outcome(action)).action == action


def test_that_the_activation_started_again_is_not_kept() -> None:
    assert again(Outcome(reply(), restart=True)) == Outcome(reply())


@pytest.mark.parametrize(
    "other",
    [
        request(service="shop.Order"),
        request(command="Cancel"),
        request(payload=Any(value=b"payloaD")),
        request(service="shop.OrdersP", command="lace"),
    ],
)
def test_another_command_under_the_same_name_is_refused(other: Request) -> None:
    with pytest.raises(KeyReused, match=r"'k'.*new key"):
        recalled(kept(Outcome(reply())), other, "joe", "k")


def test_what_does_not_belong_to_a_command_makes_no_difference() -> None:
    same = request(
        metadata=Metadata([("x", "y")]),
        deadline_s=3.0,
        conditions=Conditions("k", expected_version=3),
        payload=Any(value=b"payload"),
    )

    assert digest_of(same) == digest_of(request())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x02" + bytes(12),
        b"\x02" + bytes(12) + bytes(4),
        b"\x03" + bytes(12),
        b"\x01" + bytes(11) + b"\x09",
        None,
    ],
)
def test_what_cannot_be_read_is_said_to_be_corrupt(data: bytes | None) -> None:
    found = kept(Outcome(reply(), (SideEffect(service_name="s"),)))
    broken = RememberedReply(found.digest, found.reply[:-1] if data is None else data)

    with pytest.raises(CorruptState, match="'k'"):
        recalled(broken, request(), "joe", "k")
