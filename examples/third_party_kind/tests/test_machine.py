"""The rules of the runtime's end: a test is a conversation with the machine, and nothing else."""

from __future__ import annotations

import math

import pytest
from acme_ratelimit.machine import (
    Answer,
    Answered,
    Ask,
    CommandArrived,
    Crash,
    Input,
    Load,
    Loaded,
    MessageArrived,
    Moment,
    Opening,
    RateLimitMachine,
    State,
)
from acme_ratelimit.ratelimit_pb2 import Bucket, FromFunction, Init, Reply, Terms, ToFunction
from google.protobuf.any_pb2 import Any
from quotas.quotas_pb2 import Quota, SpendRequest

from cloudstate.entity_pb2 import ClientAction, Failure, SideEffect
from cloudstate_core.anys import pack_message

SPEND = pack_message(SpendRequest(api_key="k", units=4))
QUOTA = pack_message(Quota(left=6))
START = Moment(monotonic_s=100.0, unix_time_s=1_700_000_000.0)
TEN_AND_ONE_MORE_EACH_SECOND = Terms(capacity=10, refill_per_s=1)


def at(seconds: float) -> Moment:
    return Moment(START.monotonic_s + seconds, START.unix_time_s + seconds)


def agreeing(bucket: Bucket | None = None, *, revision: int = 0) -> RateLimitMachine:
    machine = RateLimitMachine("acme.quotas.Quotas", "k", {"Spend": QUOTA.type_url})
    assert machine.receive(Opening()) == (Load(),)
    init = ToFunction(init=Init(service_name="acme.quotas.Quotas", entity_id="k"))
    assert machine.receive(Loaded(revision, bucket, START)) == (Ask(init),)
    return machine


def idle(
    bucket: Bucket | None = None,
    *,
    revision: int = 0,
    terms: Terms = TEN_AND_ONE_MORE_EACH_SECOND,
) -> RateLimitMachine:
    machine = agreeing(bucket, revision=revision)
    assert machine.receive(MessageArrived(FromFunction(terms=terms))) == ()
    return machine


def available(machine: RateLimitMachine, now: Moment) -> int:
    (instruction,) = machine.receive(CommandArrived("Spend", SPEND, now))
    assert isinstance(instruction, Ask)
    return instruction.message.command.available


def reply(taken: int = 0, *, command_id: int = 1, payload: Any = QUOTA) -> MessageArrived:
    action = ClientAction()
    action.reply.payload.CopyFrom(payload)
    return MessageArrived(
        FromFunction(reply=Reply(command_id=command_id, client_action=action, taken=taken))
    )


def answer(message: MessageArrived, bucket: Bucket | None = None) -> tuple[Answer]:
    reply = message.message.reply
    return (Answer(reply.client_action, reply.side_effects, 0, bucket),)


def test_a_command_is_sent_with_what_there_is_to_spend() -> None:
    machine = idle()

    (instruction,) = machine.receive(CommandArrived("Spend", SPEND, at(0)))

    expected = ToFunction()
    expected.command.available = 10
    expected.command.command.entity_id = "k"
    expected.command.command.id = 1
    expected.command.command.name = "Spend"
    expected.command.command.payload.CopyFrom(SPEND)
    assert instruction == Ask(expected)


def test_tokens_that_were_taken_are_stored_with_the_answer() -> None:
    machine = idle()
    available(machine, at(0))

    six_left = Bucket(level=6, unix_time_s=at(0).unix_time_s)
    assert machine.receive(reply(4)) == answer(reply(4), six_left)
    assert machine.revision == 0
    assert machine.receive(Answered()) == ()
    assert (machine.state, machine.revision) == (State.IDLE, 1)


def test_a_command_that_costs_nothing_changes_nothing() -> None:
    machine = idle()
    available(machine, at(0))

    assert machine.receive(reply(0)) == answer(reply(0))
    assert machine.receive(Answered()) == ()
    assert (machine.state, machine.revision) == (State.IDLE, 0)


def test_side_effects_are_passed_on() -> None:
    machine = idle()
    available(machine, at(0))
    message = reply(0)
    message.message.reply.side_effects.append(SideEffect(service_name="s", command_name="c"))

    (instruction,) = machine.receive(message)

    assert isinstance(instruction, Answer)
    assert [effect.service_name for effect in instruction.side_effects] == ["s"]


def test_every_commit_expects_the_revision_of_the_one_before() -> None:
    machine = idle(Bucket(level=10, unix_time_s=START.unix_time_s), revision=7)

    for command_id, revision in ((1, 7), (2, 8), (3, 9)):
        available(machine, at(0))
        (instruction,) = machine.receive(reply(1, command_id=command_id))
        assert isinstance(instruction, Answer)
        assert instruction.revision == revision
        machine.receive(Answered())


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, 2), (0.9, 2), (1, 3), (2.5, 4), (8, 10), (1e9, 10)]
)
def test_tokens_flow_in_until_the_bucket_is_full(seconds: float, expected: int) -> None:
    machine = idle(Bucket(level=2, unix_time_s=START.unix_time_s))

    assert available(machine, at(seconds)) == expected


def test_fractions_of_a_token_are_not_lost_between_commands() -> None:
    machine = idle(Bucket(level=0, unix_time_s=START.unix_time_s))

    for command_id, seconds in enumerate((0.25, 0.5, 0.75), start=1):
        assert available(machine, at(seconds)) == 0
        machine.receive(reply(0, command_id=command_id))
        machine.receive(Answered())
    assert available(machine, at(1)) == 1


@pytest.mark.parametrize(("age_s", "expected"), [(0, 2), (3, 5), (3600, 10), (-3600, 2)])
def test_a_stored_bucket_has_filled_for_as_long_as_it_lay_there(
    age_s: float, expected: int
) -> None:
    machine = idle(Bucket(level=2, unix_time_s=START.unix_time_s - age_s))

    assert available(machine, at(0)) == expected


def test_a_bucket_without_refill_stays_as_it_is() -> None:
    machine = idle(Bucket(level=2, unix_time_s=0), terms=Terms(capacity=10))

    assert available(machine, at(1e9)) == 2


def test_a_failure_is_answered_and_costs_nothing() -> None:
    machine = idle()
    available(machine, at(0))
    action = ClientAction(failure=Failure(command_id=1, description="no"))
    message = FromFunction(reply=Reply(command_id=1, client_action=action))

    assert machine.receive(MessageArrived(message)) == (Answer(action, [], 0),)
    machine.receive(Answered())
    assert available(machine, at(0)) == 10


def failure_that_costs() -> MessageArrived:
    action = ClientAction(failure=Failure(command_id=1))
    return MessageArrived(FromFunction(reply=Reply(command_id=1, client_action=action, taken=1)))


@pytest.mark.parametrize(
    ("message", "reason", "detail"),
    [
        (
            reply(11),
            "Unexpected entity reply",
            "expected at most 10 tokens to be taken, found 11",
        ),
        (
            reply(1, command_id=9),
            "Unexpected entity reply",
            "expected a reply to command 1, found 9",
        ),
        (
            failure_that_costs(),
            "Unexpected entity reply",
            "expected a failure to cost nothing, found 1",
        ),
        (
            reply(1, payload=SPEND),
            "Unexpected entity reply",
            f"expected a reply of type {QUOTA.type_url!r}, found {SPEND.type_url!r}",
        ),
        (
            MessageArrived(FromFunction(failure=Failure(description="it broke"))),
            "Unexpected entity failure",
            "it broke",
        ),
        (
            MessageArrived(FromFunction(terms=Terms(capacity=1))),
            "Unexpected entity message",
            "expected a reply, found terms",
        ),
        (
            MessageArrived(FromFunction()),
            "Unexpected entity message",
            "expected a reply, found nothing",
        ),
        (Answered(), "Unexpected entity behavior", "Answered while awaiting a reply"),
    ],
)
def test_what_breaks_the_protocol_crashes_and_stores_nothing(
    message: Input, reason: str, detail: str
) -> None:
    machine = idle()
    available(machine, at(0))

    assert machine.receive(message) == (Crash(reason, f"entity 'k': {detail}"),)
    assert machine.state is State.ENDED


@pytest.mark.parametrize(
    "terms",
    [
        Terms(capacity=0, refill_per_s=1),
        Terms(capacity=1, refill_per_s=-1),
        Terms(capacity=1, refill_per_s=math.inf),
        Terms(capacity=1, refill_per_s=math.nan),
    ],
)
def test_terms_that_cannot_work_crash(terms: Terms) -> None:
    (instruction,) = agreeing().receive(MessageArrived(FromFunction(terms=terms)))

    assert isinstance(instruction, Crash)
    assert instruction.reason == "Unexpected entity terms"


def test_a_user_function_that_does_not_know_the_service_crashes() -> None:
    failure = FromFunction(failure=Failure(description="unknown service"))

    (instruction,) = agreeing().receive(MessageArrived(failure))

    assert instruction == Crash("Unexpected entity failure", "entity 'k': unknown service")
