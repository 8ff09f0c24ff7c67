from __future__ import annotations

from typing import Any as AnyType

import pytest
from google.protobuf.any_pb2 import Any
from pinboard.pinboard_pb2 import Board, Note, Text

from cloudstate.entity_pb2 import ClientAction, Command, Failure, Forward, Reply, SideEffect
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
from cloudstate_core.metadata import Metadata
from cloudstate_kv.machine import (
    CommandArrived,
    Commit,
    Committed,
    Crash,
    Delete,
    InitSent,
    Input,
    LoadValue,
    Opening,
    Put,
    ReplyArrived,
    SendCommand,
    SendInit,
    State,
    ValueLoaded,
    ValueMachine,
)

A, B = encode(Note(text="a")), encode(Note(text="b"))
PAYLOAD = encode(Board(id="e"))
REPLY = ClientAction(reply=Reply(payload=encode(Text(text="t"))))
FAILED = ClientAction(failure=Failure(command_id=1, description="no"))
TYPES = {"Pin": "type.googleapis.com/pinboard.Text"}
UPDATE_A = ValueEntityAction(update=ValueEntityUpdate(value=A))
DELETE = ValueEntityAction(delete=ValueEntityDelete())
EFFECT = SideEffect(service_name="other", command_name="Do")


def new_machine() -> ValueMachine:
    return ValueMachine("pinboard.Pinboard", "e", TYPES)


def init(value: Any | None) -> SendInit:
    state = ValueEntityInitState(value=value)
    start = ValueEntityInit(service_name="pinboard.Pinboard", entity_id="e", state=state)
    return SendInit(ValueEntityStreamIn(init=start))


def idle(revision: int = 0, value: Any | None = None) -> ValueMachine:
    machine = new_machine()
    assert machine.receive(Opening()) == (LoadValue(),)
    assert machine.receive(ValueLoaded(revision, value)) == (init(value),)
    assert machine.receive(InitSent()) == ()
    return machine


def awaiting_reply(revision: int = 0, value: Any | None = None) -> ValueMachine:
    machine = idle(revision, value)
    machine.receive(CommandArrived("Pin", PAYLOAD))
    return machine


def reply(command_id: int = 1, **fields: AnyType) -> ReplyArrived:
    message = ValueEntityReply(**{"command_id": command_id, "client_action": REPLY, **fields})
    return ReplyArrived(ValueEntityStreamOut(reply=message))


def crash_of(machine: ValueMachine, input_: Input) -> Crash:
    (crash,) = machine.receive(input_)
    assert isinstance(crash, Crash)
    assert machine.state == State.ENDED
    assert crash.detail.startswith("entity 'e': ")
    return crash


# --- Opening -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, A, Any()], ids=["none", "a value", "an empty any"])
def test_init_always_has_a_state_and_it_has_a_value_if_there_is_one(value: Any | None) -> None:
    machine = new_machine()
    machine.receive(Opening())

    (sent,) = machine.receive(ValueLoaded(3, value))

    assert isinstance(sent, SendInit)
    assert sent.message.init.HasField("state")
    assert sent.message.init.state.HasField("value") is (value is not None)
    assert (machine.revision, machine.has_value) == (3, value is not None)


def test_a_user_function_that_refuses_the_start_crashes_the_activation() -> None:
    machine = new_machine()
    machine.receive(Opening())
    machine.receive(ValueLoaded(0, None))
    refusal = ReplyArrived(ValueEntityStreamOut(failure=Failure(description="unknown service")))

    crash = crash_of(machine, refusal)

    assert crash == Crash("Unexpected entity failure", "entity 'e': unknown service")


# --- Commands ------------------------------------------------------------------------


def test_a_command_says_neither_streamed_nor_metadata_where_there_is_none() -> None:
    expected = Command(entity_id="e", id=1, name="Pin", payload=PAYLOAD)

    assert idle().receive(CommandArrived("Pin", PAYLOAD)) == (
        SendCommand(ValueEntityStreamIn(command=expected)),
    )


def test_metadata_is_passed_on() -> None:
    headers = Metadata([("cookie", "yes")])

    (sent,) = idle().receive(CommandArrived("Pin", PAYLOAD, headers))

    assert isinstance(sent, SendCommand)
    assert Metadata.from_wire(sent.message.command.metadata) == headers


def test_commands_are_numbered_from_one() -> None:
    machine = idle()
    for number in (1, 2, 3):
        (sent,) = machine.receive(CommandArrived("Pin", PAYLOAD))
        assert isinstance(sent, SendCommand)
        assert sent.message.command.id == number
        machine.receive(reply(number))
        machine.receive(Committed())


def test_every_reply_is_committed_before_the_next_command() -> None:
    machine = awaiting_reply(4, A)

    assert machine.receive(reply(side_effects=[EFFECT])) == (Commit(None, REPLY, [EFFECT], 4),)
    assert machine.state == State.COMMITTING
    assert machine.receive(Committed()) == ()
    assert (machine.state, machine.revision, machine.has_value) == (State.IDLE, 4, True)


def test_an_update_is_put_in_the_place_of_the_revision_that_is_known() -> None:
    machine = awaiting_reply(4)

    assert machine.receive(reply(state_action=UPDATE_A)) == (Commit(Put(4, A), REPLY, [], 5),)
    assert (machine.revision, machine.has_value) == (4, False)
    machine.receive(Committed())
    assert (machine.revision, machine.has_value) == (5, True)


def test_a_delete_is_of_the_revision_that_is_known() -> None:
    machine = awaiting_reply(4, A)

    assert machine.receive(reply(state_action=DELETE)) == (Commit(Delete(4), REPLY, [], 5),)
    machine.receive(Committed())
    assert (machine.revision, machine.has_value) == (5, False)


def test_what_is_not_there_is_not_deleted() -> None:
    machine = awaiting_reply(4)

    assert machine.receive(reply(state_action=DELETE)) == (Commit(None, REPLY, [], 4),)
    machine.receive(Committed())
    assert machine.revision == 4


def test_a_forward_comes_with_the_state_action() -> None:
    forward = ClientAction(forward=Forward(service_name="other", command_name="Do"))
    machine = awaiting_reply()

    given = reply(client_action=forward, state_action=UPDATE_A, side_effects=[EFFECT])
    assert machine.receive(given) == (Commit(Put(0, A), forward, [EFFECT], 1),)


@pytest.mark.parametrize("state_action", [None, UPDATE_A, DELETE], ids=["none", "update", "delete"])
@pytest.mark.parametrize("restart", [False, True])
def test_a_failure_changes_nothing_and_the_stream_goes_on(
    state_action: ValueEntityAction | None, restart: bool
) -> None:
    failed = ClientAction(failure=Failure(command_id=1, description="no", restart=restart))
    machine = awaiting_reply(4, A)

    given = reply(client_action=failed, state_action=state_action)
    assert machine.receive(given) == (Commit(None, failed, [], 4),)
    machine.receive(Committed())
    assert (machine.state, machine.revision) == (State.IDLE, 4)


def test_a_value_that_comes_and_goes_keeps_counting() -> None:
    machine = idle()
    for number, (action, change) in enumerate(
        [(UPDATE_A, Put(0, A)), (DELETE, Delete(1)), (DELETE, None), (UPDATE_A, Put(2, A))], start=1
    ):
        machine.receive(CommandArrived("Pin", PAYLOAD))
        (commit,) = machine.receive(reply(number, state_action=action))
        assert isinstance(commit, Commit)
        assert commit.change == change
        machine.receive(Committed())
    assert machine.revision == 3


# --- User functions that break the protocol ------------------------------------------


UNTYPED = ValueEntityAction(update=ValueEntityUpdate(value=Any(value=b"x")))
REPLY_OF_ANOTHER_TYPE = (
    f"command 'Pin': expected a reply of type {TYPES['Pin']!r}, found {encode(Note()).type_url!r}"
)
WRONG_TYPE = ClientAction(reply=Reply(payload=encode(Note())))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (reply(2), "expected a reply to command 1, found 2"),
        (reply(0), "expected a reply to command 1, found 0"),
        (
            reply(state_action=ValueEntityAction()),
            "command 'Pin': expected an update or a delete in the state action, found neither",
        ),
        (
            reply(state_action=ValueEntityAction(update=ValueEntityUpdate())),
            "command 'Pin': expected a value in the update, found none",
        ),
        (
            reply(state_action=UNTYPED),
            "command 'Pin': expected a type in the updated value, found none",
        ),
        (
            reply(state_action=ValueEntityAction(), client_action=FAILED),
            "command 'Pin': expected an update or a delete in the state action, found neither",
        ),
        (
            reply(client_action=WRONG_TYPE, state_action=UPDATE_A),
            REPLY_OF_ANOTHER_TYPE,
        ),
    ],
    ids=["later", "zero", "no action", "no value", "no type", "with failure", "reply's type"],
)
def test_a_reply_that_cannot_be_crashes_the_activation(given: ReplyArrived, why: str) -> None:
    crash = crash_of(awaiting_reply(), given)

    assert crash == Crash("Unexpected entity reply", f"entity 'e': {why}")


def test_the_host_of_a_type_does_not_matter() -> None:
    text = encode(Text())
    action = ClientAction(reply=Reply(payload=Any(type_url="x/pinboard.Text", value=text.value)))

    (commit,) = awaiting_reply().receive(reply(client_action=action))

    assert isinstance(commit, Commit)


def test_a_failure_of_the_stream_crashes_the_activation() -> None:
    given = ReplyArrived(ValueEntityStreamOut(failure=Failure(command_id=1, description="why")))

    assert crash_of(awaiting_reply(), given) == Crash(
        "Unexpected entity failure", "entity 'e': why"
    )


def test_an_empty_message_crashes_the_activation() -> None:
    crash = crash_of(awaiting_reply(), ReplyArrived(ValueEntityStreamOut()))

    assert crash.reason == "Unexpected entity message"


def test_a_reply_that_nobody_asked_for_crashes_the_activation() -> None:
    crash = crash_of(idle(), reply())

    assert crash == Crash("Unexpected entity reply", "entity 'e': a message while idle")


@pytest.mark.parametrize(
    "input_", [Opening(), ValueLoaded(0, None), InitSent(), Committed()], ids=repr
)
def test_what_cannot_come_while_idle_crashes_the_activation(input_: Input) -> None:
    assert crash_of(idle(), input_).reason == "Unexpected entity behavior"


def test_an_ended_machine_takes_nothing() -> None:
    machine = awaiting_reply()
    machine.receive(reply(7))

    for input_ in (CommandArrived("Pin", PAYLOAD), reply(), Committed(), Opening()):
        crash_of(machine, input_)
