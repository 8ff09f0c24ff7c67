"""The rules of the user function's end."""

from __future__ import annotations

import pytest
from acme_ratelimit.ratelimit_pb2 import FromFunction, Init, Reply, Spending, Terms, ToFunction
from acme_ratelimit.session import (
    CallHandler,
    End,
    Input,
    Raised,
    RateLimitSession,
    Returned,
    Send,
    State,
)
from quotas.quotas_pb2 import Quota, SpendRequest

from cloudstate.entity_pb2 import ClientAction, Command, Failure, SideEffect
from cloudstate_core.anys import pack_message

SERVICE = "acme.quotas.Quotas"
TERMS = Terms(capacity=10, refill_per_s=1)
INIT = ToFunction(init=Init(service_name=SERVICE, entity_id="k"))
SPEND = Command(
    entity_id="k", id=5, name="Spend", payload=pack_message(SpendRequest(api_key="k", units=4))
)
COMMAND = ToFunction(command=Spending(command=SPEND, available=7))
EFFECTS = [SideEffect(service_name="s", command_name="c")]


def reply_action() -> ClientAction:
    action = ClientAction()
    action.reply.payload.CopyFrom(pack_message(Quota(left=3)))
    return action


def failure(description: str, command_id: int = 0) -> list[Send | End]:
    message = Failure(command_id=command_id, description=description)
    return [Send(FromFunction(failure=message)), End()]


def ready() -> RateLimitSession:
    session = RateLimitSession({SERVICE: TERMS})
    assert session.receive(INIT) == [Send(FromFunction(terms=TERMS))]
    return session


def handling() -> RateLimitSession:
    session = ready()
    assert session.receive(COMMAND) == [CallHandler(SERVICE, SPEND, 7)]
    return session


def test_an_answer_goes_out_with_what_it_costs() -> None:
    session = handling()

    instructions = session.receive(Returned(reply_action(), EFFECTS, 4))

    reply = Reply(command_id=5, client_action=reply_action(), side_effects=EFFECTS, taken=4)
    assert instructions == [Send(FromFunction(reply=reply))]
    assert session.state is State.READY


def test_a_failure_stands_alone() -> None:
    action = ClientAction(failure=Failure(command_id=5, description="no"))

    instructions = handling().receive(Returned(action, EFFECTS, 4))

    assert instructions == [Send(FromFunction(reply=Reply(command_id=5, client_action=action)))]


def test_a_handler_that_raised_ends_the_stream() -> None:
    session = handling()

    assert session.receive(Raised("ValueError: x")) == failure(
        "Unexpected failure: ValueError: x", 5
    )
    assert session.receive(COMMAND) == []


@pytest.mark.parametrize(
    ("session", "message", "description"),
    [
        (RateLimitSession({SERVICE: TERMS}), COMMAND, "expected no command while waiting for init"),
        (
            RateLimitSession({SERVICE: TERMS}),
            ToFunction(init=Init(service_name="other")),
            "unknown service 'other'",
        ),
        (RateLimitSession({SERVICE: TERMS}), Raised("x"), "Raised while waiting for init"),
        (ready(), INIT, "expected no init while ready"),
        (ready(), ToFunction(), "expected no empty message while ready"),
        (handling(), COMMAND, "expected no command while handling a command"),
    ],
)
def test_a_runtime_that_breaks_the_protocol_is_told_so(
    session: RateLimitSession, message: Input, description: str
) -> None:
    assert session.receive(message) == failure(f"Protocol error: {description}")
    assert session.state is State.ENDED


def test_a_command_for_another_entity_is_not_handled() -> None:
    message = ToFunction(command=Spending(command=Command(entity_id="other", id=5)))

    assert ready().receive(message) == failure(
        "Protocol error: expected entity 'k', found 'other'", 5
    )
