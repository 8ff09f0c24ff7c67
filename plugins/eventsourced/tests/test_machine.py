from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from cloudstate.entity_pb2 import ClientAction, Command, Failure, Forward, Reply, SideEffect
from cloudstate.event_sourced_pb2 import (
    EventSourcedReply,
    EventSourcedStreamIn,
    EventSourcedStreamOut,
)
from cloudstate_core.metadata import Metadata
from cloudstate_eventsourced.machine import (
    CommandArrived,
    Commit,
    Committed,
    Crash,
    EventSourcedMachine,
    InitSent,
    Input,
    LoadSnapshot,
    Opening,
    Replay,
    Replayed,
    ReplyArrived,
    SendCommand,
    SendInit,
    SnapshotLoaded,
    State,
)

TEXT = "type.googleapis.com/notebook.Text"
PAYLOAD = Any(type_url="type.googleapis.com/notebook.Lines", value=b"\x0a\x01e")
EVENTS = [Any(type_url="p.cloudstate.io/string", value=b"\x0a\x01a"), Any(type_url="x/y")]
SNAPSHOT = Any(type_url="p.cloudstate.io/string", value=b"\x0a\x02ab")
REPLY = ClientAction(reply=Reply(payload=Any(type_url=TEXT, value=b"\x0a\x01t")))
FORWARD = ClientAction(forward=Forward(service_name="other", command_name="Do"))
EFFECT = SideEffect(service_name="other", command_name="Do")
WRITE = CommandArrived("Write", PAYLOAD)


def failing(*, restart: bool = False) -> ClientAction:
    return ClientAction(failure=Failure(command_id=1, description="no", restart=restart))


def replied(
    action: ClientAction | None = REPLY,
    events: Sequence[Any] = (),
    snapshot: Any | None = None,
    *,
    command_id: int = 1,
    effects: Sequence[SideEffect] = (),
) -> ReplyArrived:
    reply = EventSourcedReply(
        command_id=command_id,
        client_action=action,
        events=events,
        snapshot=snapshot,
        side_effects=effects,
    )
    return ReplyArrived(EventSourcedStreamOut(reply=reply))


def sent(command_id: int) -> SendCommand:
    command = Command(entity_id="e", id=command_id, name="Write", payload=PAYLOAD)
    return SendCommand(EventSourcedStreamIn(command=command))


def new() -> EventSourcedMachine:
    return EventSourcedMachine("e", {"Write": TEXT})


def loading() -> EventSourcedMachine:
    machine = new()
    assert list(machine.receive(Opening())) == [LoadSnapshot()]
    return machine


def starting() -> EventSourcedMachine:
    machine = loading()
    assert list(machine.receive(SnapshotLoaded(0, None))) == [SendInit(0, None)]
    return machine


def replaying() -> EventSourcedMachine:
    machine = starting()
    assert list(machine.receive(InitSent())) == [Replay(0)]
    return machine


def idle(sequence: int = 0) -> EventSourcedMachine:
    machine = replaying()
    assert list(machine.receive(Replayed(sequence))) == []
    return machine


def awaiting_reply(sequence: int = 0) -> EventSourcedMachine:
    machine = idle(sequence)
    assert list(machine.receive(WRITE)) == [sent(1)]
    return machine


def committing(sequence: int = 0) -> EventSourcedMachine:
    machine = awaiting_reply(sequence)
    assert list(machine.receive(replied(REPLY, EVENTS))) == [
        Commit(sequence, EVENTS, None, REPLY, [])
    ]
    return machine


def ended() -> EventSourcedMachine:
    machine = awaiting_reply()
    machine.receive(replied(failing(restart=True)))
    machine.receive(Committed())
    return machine


AT: dict[str, Callable[[], EventSourcedMachine]] = {
    State.NEW: new,
    State.LOADING: loading,
    State.STARTING: starting,
    State.REPLAYING: replaying,
    State.IDLE: idle,
    State.AWAITING_REPLY: awaiting_reply,
    State.COMMITTING: committing,
    State.ENDED: ended,
}

INPUTS: dict[type, Input] = {
    Opening: Opening(),
    SnapshotLoaded: SnapshotLoaded(3, SNAPSHOT),
    InitSent: InitSent(),
    Replayed: Replayed(7),
    CommandArrived: WRITE,
    ReplyArrived: replied(),
    Committed: Committed(),
}

#: What each state is there for. Everything else is a fault.
EXPECTED: dict[str, type] = {
    State.NEW: Opening,
    State.LOADING: SnapshotLoaded,
    State.STARTING: InitSent,
    State.REPLAYING: Replayed,
    State.IDLE: CommandArrived,
    State.AWAITING_REPLY: ReplyArrived,
    State.COMMITTING: Committed,
}

FAULTS = [
    (state, input_)
    for state in AT
    for kind, input_ in INPUTS.items()
    if EXPECTED.get(state) is not kind
]


def crash(machine: EventSourcedMachine, input_: Input) -> Crash:
    (instruction,) = machine.receive(input_)
    assert isinstance(instruction, Crash)
    assert machine.state == State.ENDED
    return instruction


@pytest.mark.parametrize("state", AT)
def test_every_state_can_be_reached(state: str) -> None:
    assert AT[state]().state == state


@pytest.mark.parametrize(
    ("state", "input_"),
    FAULTS,
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_what_a_state_does_not_wait_for_crashes_the_activation(state: str, input_: Input) -> None:
    crashed = crash(AT[state](), input_)

    if isinstance(input_, ReplyArrived):
        assert crashed.reason == "Unexpected entity reply"
    else:
        assert crashed.reason == "Unexpected entity behavior"
        assert type(input_).__name__ in crashed.detail
    assert state in crashed.detail


# --- Opening -------------------------------------------------------------------------


def test_init_carries_the_snapshot_and_what_follows_it_is_replayed() -> None:
    machine = loading()

    assert list(machine.receive(SnapshotLoaded(5, SNAPSHOT))) == [SendInit(5, SNAPSHOT)]
    assert list(machine.receive(InitSent())) == [Replay(5)]
    assert list(machine.receive(Replayed(7))) == []
    assert machine.state == State.IDLE
    assert machine.sequence == 7


def test_without_a_snapshot_every_event_is_replayed() -> None:
    machine = loading()

    assert list(machine.receive(SnapshotLoaded(0, None))) == [SendInit(0, None)]
    assert list(machine.receive(InitSent())) == [Replay(0)]


@pytest.mark.parametrize("opening", [starting, replaying])
def test_a_user_function_that_fails_while_it_is_started_says_why(
    opening: Callable[[], EventSourcedMachine],
) -> None:
    failure = Failure(description="no handler for that event")

    crashed = crash(opening(), ReplyArrived(EventSourcedStreamOut(failure=failure)))

    assert crashed.reason == "Unexpected entity failure"
    assert crashed.detail == "entity 'e': no handler for that event"


# --- Commands ------------------------------------------------------------------------


def test_commands_are_numbered_from_one_and_carry_neither_metadata_nor_streamed() -> None:
    machine = idle()

    assert list(machine.receive(WRITE)) == [sent(1)]
    machine.receive(replied())
    machine.receive(Committed())
    (second,) = machine.receive(WRITE)
    assert second == sent(2)
    assert isinstance(second, SendCommand)
    assert not second.message.command.HasField("metadata")
    assert not second.message.command.streamed


def test_a_command_carries_the_metadata_that_came_with_it() -> None:
    metadata = Metadata([("tenant", "a"), ("key-bin", b"\x00\xff"), ("tenant", "b")])

    (instruction,) = idle().receive(CommandArrived("Write", PAYLOAD, metadata))

    assert isinstance(instruction, SendCommand)
    assert Metadata.from_wire(instruction.message.command.metadata) == metadata


def test_the_payload_that_arrived_is_copied_so_that_others_may_change_theirs() -> None:
    payload = Any(type_url="x/y", value=b"1")

    (instruction,) = idle().receive(CommandArrived("Write", payload))
    payload.value = b"2"

    assert isinstance(instruction, SendCommand)
    assert instruction.message.command.payload.value == b"1"


# --- Replies -------------------------------------------------------------------------


def test_a_reply_without_events_commits_what_else_it_holds() -> None:
    machine = awaiting_reply(4)

    assert list(machine.receive(replied(REPLY, effects=[EFFECT]))) == [
        Commit(4, [], None, REPLY, [EFFECT])
    ]
    machine.receive(Committed())
    assert machine.state == State.IDLE
    assert machine.sequence == 4


def test_a_snapshot_without_events_is_not_stored() -> None:
    machine = awaiting_reply(4)

    assert list(machine.receive(replied(REPLY, snapshot=SNAPSHOT))) == [
        Commit(4, [], None, REPLY, [])
    ]


@pytest.mark.parametrize("action", [REPLY, FORWARD, None], ids=["reply", "forward", "nothing"])
@pytest.mark.parametrize("snapshot", [None, SNAPSHOT], ids=["no snapshot", "snapshot"])
def test_events_are_stored_in_one_commit_before_the_client_is_answered(
    action: ClientAction | None, snapshot: Any | None
) -> None:
    machine = awaiting_reply(4)

    commit = machine.receive(replied(action, EVENTS, snapshot, effects=[EFFECT]))
    assert list(commit) == [Commit(4, EVENTS, snapshot, action or ClientAction(), [EFFECT])]
    assert machine.sequence == 4
    assert list(machine.receive(Committed())) == []
    assert machine.sequence == 6
    assert machine.state == State.IDLE


def test_the_next_command_expects_the_events_of_the_last_one() -> None:
    machine = committing(4)

    machine.receive(Committed())
    machine.receive(WRITE)
    assert list(machine.receive(replied(REPLY, EVENTS[:1], command_id=2))) == [
        Commit(6, EVENTS[:1], None, REPLY, [])
    ]


@pytest.mark.parametrize("events", [[], EVENTS], ids=["no events", "events"])
def test_a_failure_stores_nothing_whatever_comes_with_it(events: list[Any]) -> None:
    machine = awaiting_reply(4)

    assert list(machine.receive(replied(failing(), events, SNAPSHOT))) == [
        Commit(4, (), None, failing(), [])
    ]
    machine.receive(Committed())
    assert machine.sequence == 4
    assert machine.state == State.IDLE


def test_a_failure_may_ask_for_a_restart_and_then_this_activation_is_over() -> None:
    machine = awaiting_reply(4)
    action = failing(restart=True)

    assert list(machine.receive(replied(action))) == [Commit(4, (), None, action, [], restart=True)]
    machine.receive(Committed())
    assert machine.state == State.ENDED
    assert crash(machine, WRITE).reason == "Unexpected entity behavior"


@pytest.mark.parametrize("command_id", [0, 2, -1])
def test_a_reply_to_another_command_is_a_fault(command_id: int) -> None:
    crashed = crash(awaiting_reply(), replied(REPLY, EVENTS, command_id=command_id))

    assert crashed.reason == "Unexpected entity reply"
    assert f"expected a reply to command 1, found {command_id}" in crashed.detail


@pytest.mark.parametrize(
    "type_url", [TEXT, "example.com/notebook.Text"], ids=["usual", "another host"]
)
def test_a_reply_of_the_declared_type_is_recognised_by_its_name(type_url: str) -> None:
    action = ClientAction(reply=Reply(payload=Any(type_url=type_url)))

    assert list(awaiting_reply().receive(replied(action))) == [Commit(0, [], None, action, [])]


@pytest.mark.parametrize("type_url", ["", "notebook.Text", "x/notebook.Lines", "x/", "/"])
def test_a_reply_of_another_type_is_a_fault_and_stores_nothing(type_url: str) -> None:
    action = ClientAction(reply=Reply(payload=Any(type_url=type_url)))

    crashed = crash(awaiting_reply(), replied(action, EVENTS))

    assert crashed.reason == "Unexpected entity reply"
    assert repr(type_url) in crashed.detail


def test_an_event_without_a_type_is_a_fault_and_stores_none_of_them() -> None:
    crashed = crash(awaiting_reply(), replied(REPLY, [EVENTS[0], Any(value=b"1")]))

    assert crashed.reason == "Unexpected entity reply"
    assert "expected a type in each event" in crashed.detail


@pytest.mark.parametrize("command_id", [0, 1, 9])
def test_a_failure_message_is_a_fault_and_its_text_is_not_for_the_client(command_id: int) -> None:
    failure = Failure(command_id=command_id, description="KeyError: 'secret'")

    crashed = crash(awaiting_reply(), ReplyArrived(EventSourcedStreamOut(failure=failure)))

    assert crashed.reason == "Unexpected entity failure"
    assert crashed.detail == "entity 'e': KeyError: 'secret'"


def test_an_empty_message_is_a_fault() -> None:
    crashed = crash(awaiting_reply(), ReplyArrived(EventSourcedStreamOut()))

    assert crashed.reason == "Unexpected entity message"


# --- Any sequence of inputs ----------------------------------------------------------

payloads = st.builds(Any, type_url=st.sampled_from(["", TEXT, "a/b"]), value=st.binary(max_size=2))
actions = st.one_of(
    st.none(),
    st.builds(ClientAction, reply=st.builds(Reply, payload=payloads)),
    st.just(FORWARD),
    st.builds(failing, restart=st.booleans()),
)
command_ids = st.integers(0, 3)
replies = st.builds(
    EventSourcedReply,
    command_id=command_ids,
    client_action=actions,
    events=st.lists(payloads, max_size=3),
    snapshot=st.none() | payloads,
)
messages = st.one_of(
    st.builds(EventSourcedStreamOut),
    st.builds(EventSourcedStreamOut, reply=replies),
    st.builds(EventSourcedStreamOut, failure=st.builds(Failure, command_id=command_ids)),
)
inputs = st.one_of(
    st.builds(Opening),
    st.builds(SnapshotLoaded, st.integers(0, 5), st.none() | payloads),
    st.builds(InitSent),
    st.builds(Replayed, st.integers(0, 9)),
    st.builds(CommandArrived, st.sampled_from(["Write", "Other"]), payloads),
    st.builds(ReplyArrived, messages),
    st.builds(Committed),
)


def follow(machine: EventSourcedMachine, given_: Sequence[Input]) -> None:
    """Give a machine inputs, and check what it wants stored and answered."""
    stored = unstored = 0
    for input_ in given_:
        before = machine.state
        if before == State.COMMITTING and isinstance(input_, Committed):
            stored, unstored = stored + unstored, 0
        for instruction in machine.receive(input_):
            match instruction:
                case SendInit(sequence):
                    stored = sequence
                case Commit(expected, events, snapshot, action):
                    assert before == State.AWAITING_REPLY
                    assert (expected, unstored) == (stored, 0)
                    unstored = len(events)
                    assert not (action.HasField("failure") and unstored)
                    assert snapshot is None or unstored
                case SendCommand():
                    assert (before, unstored) == (State.IDLE, 0)
                case Crash():
                    assert machine.state == State.ENDED
        if isinstance(input_, Replayed) and before == State.REPLAYING:
            stored = input_.sequence


@given(st.lists(inputs, max_size=20))
def test_no_sequence_of_inputs_raises_or_answers_what_is_not_stored(given_: list[Input]) -> None:
    follow(new(), given_)


OPEN: list[Input] = [Opening(), SnapshotLoaded(0, None), InitSent(), Replayed(0)]


@given(st.lists(st.tuples(replies, st.booleans()), max_size=8))
def test_no_sequence_of_replies_stores_an_event_twice_or_leaves_a_gap(
    run: list[tuple[EventSourcedReply, bool]],
) -> None:
    given_ = list(OPEN)
    for number, (reply, is_right) in enumerate(run, start=1):
        reply.command_id = number if is_right else number + 1
        given_ += [WRITE, ReplyArrived(EventSourcedStreamOut(reply=reply)), Committed()]

    follow(new(), given_)


class GoesOnBeforeTheCommit(EventSourcedMachine):
    def _receive_reply(self, reply: EventSourcedReply) -> Sequence[object]:
        commit = super()._receive_reply(reply)
        self.sequence, self.state = self._after
        return commit


class CountsCommands(EventSourcedMachine):
    def _receive_reply(self, reply: EventSourcedReply) -> Sequence[object]:
        self.sequence = self._command_id - 1
        return super()._receive_reply(reply)


@pytest.mark.parametrize("broken", [GoesOnBeforeTheCommit, CountsCommands])
def test_a_machine_that_breaks_the_rules_is_found_out(broken: type[EventSourcedMachine]) -> None:
    two = [WRITE, replied(REPLY, EVENTS), Committed(), WRITE, replied(REPLY, EVENTS, command_id=2)]

    early = [WRITE, replied(REPLY, EVENTS), WRITE]

    def follow_both(machines: Sequence[EventSourcedMachine]) -> None:
        for given_, machine in zip((two, early), machines, strict=True):
            follow(machine, [*OPEN, *given_])

    follow_both([new(), new()])
    with pytest.raises(AssertionError):
        follow_both([broken("e", {"Write": TEXT}) for _ in range(2)])
