from __future__ import annotations

from typing import Any as AnyType

import pytest
from google.protobuf.any_pb2 import Any
from pinboard.pinboard_pb2 import Board, Note, Text

from cloudstate.entity_pb2 import ClientAction, Command, Failure, Reply, SideEffect
from cloudstate.value_entity_pb2 import (
    ValueEntityAction,
    ValueEntityDelete,
    ValueEntityInit,
    ValueEntityInitState,
    ValueEntityReply,
    ValueEntityStreamIn,
    ValueEntityStreamOut,
    ValueEntityUpdate,
)
from cloudstate_core.anys import encode
from cloudstate_kv.session import (
    CallHandler,
    End,
    Input,
    Instruction,
    Raised,
    Returned,
    Send,
    State,
    ValueSession,
)

SERVICE = "pinboard.Pinboard"
A, B = encode(Note(text="a")), encode(Note(text="b"))
REPLY = ClientAction(reply=Reply(payload=encode(Text(text="t"))))
FAILED = ClientAction(failure=Failure(description="no"))
UPDATE_B = ValueEntityAction(update=ValueEntityUpdate(value=B))
DELETE = ValueEntityAction(delete=ValueEntityDelete())
EFFECT = SideEffect(service_name="other", command_name="Do")


def init(value: Any | None = None, **fields: AnyType) -> ValueEntityStreamIn:
    state = ValueEntityInitState(value=value)
    start = {"service_name": SERVICE, "entity_id": "e", "state": state, **fields}
    return ValueEntityStreamIn(init=ValueEntityInit(**start))


def command(**fields: AnyType) -> Command:
    payload = encode(Board(id="e"))
    return Command(**{"entity_id": "e", "id": 1, "name": "Pin", "payload": payload, **fields})


def sent(**fields: AnyType) -> ValueEntityStreamIn:
    return ValueEntityStreamIn(command=command(**fields))


def reply(**fields: AnyType) -> Send:
    message = ValueEntityReply(**{"command_id": 1, "client_action": REPLY, **fields})
    return Send(ValueEntityStreamOut(reply=message))


def ready(value: Any | None = None) -> ValueSession:
    session = ValueSession({SERVICE})
    assert session.receive(init(value)) == []
    return session


def handling(value: Any | None = None) -> ValueSession:
    session = ready(value)
    assert session.receive(sent()) == [CallHandler(SERVICE, command(), value)]
    return session


def failure_of(instructions: list[Instruction]) -> Failure:
    """Return the failure with which the stream ends."""
    send, end = instructions
    assert isinstance(send, Send)
    assert end == End()
    assert send.message.HasField("failure")
    return send.message.failure


# --- Done right ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (init(A), A),
        (init(), None),
        (init(Any()), Any()),
        (init(state=None), None),
    ],
    ids=["a value", "an empty state", "an empty any", "no state"],
)
def test_the_value_is_that_of_init(first: ValueEntityStreamIn, expected: Any | None) -> None:
    session = ValueSession({SERVICE})
    session.receive(first)

    assert session.receive(sent()) == [CallHandler(SERVICE, command(), expected)]


def test_a_reply_without_a_state_action_leaves_the_value() -> None:
    session = handling(A)

    assert session.receive(Returned(REPLY, None, [EFFECT])) == [reply(side_effects=[EFFECT])]
    assert (session.state, session.stored) == (State.READY, A)


def test_an_update_goes_out_and_is_what_the_next_command_sees() -> None:
    session = handling(A)

    assert session.receive(Returned(REPLY, UPDATE_B, [])) == [reply(state_action=UPDATE_B)]
    assert session.receive(sent(id=2)) == [CallHandler(SERVICE, command(id=2), B)]


def test_a_delete_goes_out_and_the_next_command_sees_nothing() -> None:
    session = handling(A)

    assert session.receive(Returned(REPLY, DELETE, [])) == [reply(state_action=DELETE)]
    assert session.receive(sent(id=2)) == [CallHandler(SERVICE, command(id=2), None)]


def test_whoever_gets_a_reply_cannot_change_the_value_by_it() -> None:
    session = handling()
    (given,) = session.receive(Returned(REPLY, ValueEntityAction(update={"value": B}), []))
    assert isinstance(given, Send)

    given.message.reply.state_action.update.value.value = b"other"

    assert session.stored == B


@pytest.mark.parametrize("state_action", [None, UPDATE_B, DELETE], ids=["none", "update", "delete"])
def test_a_failure_stands_alone_and_leaves_the_value(
    state_action: ValueEntityAction | None,
) -> None:
    session = handling(A)

    answered = session.receive(Returned(FAILED, state_action, [EFFECT]))

    failure = Failure(command_id=1, description="no")
    assert answered == [reply(client_action=ClientAction(failure=failure))]
    assert (session.state, session.stored) == (State.READY, A)


def test_command_ids_are_the_runtimes_affair() -> None:
    session = ready()
    for command_id in (7, 3, 2**62):
        session.receive(sent(id=command_id))
        assert session.receive(Returned(REPLY, None, [])) == [reply(command_id=command_id)]


# --- A handler that raises -----------------------------------------------------------


def test_a_handler_that_raises_ends_the_stream_and_says_why() -> None:
    session = handling(A)

    failure = failure_of(session.receive(Raised("KeyError: 'x'")))

    assert failure == Failure(command_id=1, description="Unexpected failure: KeyError: 'x'")
    assert session.state == State.ENDED


# --- A runtime that breaks the protocol ----------------------------------------------


def end_of(first: list[ValueEntityStreamIn], last: Input) -> Failure:
    session = ValueSession({SERVICE})
    for message in first:
        session.receive(message)
    failure = failure_of(session.receive(last))
    assert session.state == State.ENDED
    return failure


@pytest.mark.parametrize(
    ("first", "last", "command_id", "why"),
    [
        ([], sent(), 0, "expected init as the first message"),
        ([], ValueEntityStreamIn(), 0, "expected init as the first message"),
        ([], init(service_name="x.Y"), 0, "unknown service 'x.Y'"),
        ([init()], init(), 0, "expected init only once"),
        ([init()], ValueEntityStreamIn(), 0, "expected a message, found an empty one"),
        ([init()], sent(entity_id="f"), 1, "expected entity 'e', found 'f'"),
        ([init()], sent(payload=None), 1, "expected a payload, found none"),
        ([init(), sent()], sent(id=2), 2, "expected no command while handling a command"),
        ([init(), sent()], init(), 0, "expected init only once"),
        ([init()], Returned(REPLY, None, []), 0, "Returned while ready"),
    ],
    ids=[
        "command first",
        "nothing first",
        "unknown service",
        "init twice",
        "empty",
        "other entity",
        "no payload",
        "two commands",
        "init in between",
        "returned without a call",
    ],
)
def test_it_is_answered_by_a_failure_and_the_end(
    first: list[ValueEntityStreamIn], last: Input, command_id: int, why: str
) -> None:
    expected = Failure(command_id=command_id, description=f"Protocol error: {why}")

    assert end_of(first, last) == expected


@pytest.mark.parametrize(
    "late", [init(), sent(), ValueEntityStreamIn(), Raised("x"), Returned(REPLY, None, [])]
)
def test_after_the_end_nothing_is_said(late: Input) -> None:
    session = ready()
    session.receive(init())

    assert session.receive(late) == []
    assert session.state == State.ENDED
