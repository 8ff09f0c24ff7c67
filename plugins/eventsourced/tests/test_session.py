from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from cloudstate.entity_pb2 import ClientAction, Command, Failure, Forward, Reply, SideEffect
from cloudstate.event_sourced_pb2 import (
    EventSourcedEvent,
    EventSourcedInit,
    EventSourcedReply,
    EventSourcedSnapshot,
    EventSourcedStreamIn,
    EventSourcedStreamOut,
)
from cloudstate_eventsourced.session import (
    ApplyEvent,
    CallHandler,
    End,
    EventSourcedSession,
    Input,
    Instruction,
    OpenEntity,
    Raised,
    Returned,
    Send,
    SnapshotTaken,
    State,
    TakeSnapshot,
)

SERVICE = "notebook.Notebook"
EVENT = Any(type_url="p.cloudstate.io/string", value=b"\x0a\x01a")
SNAPSHOT = Any(type_url="p.cloudstate.io/string", value=b"\x0a\x02ab")
REPLY = ClientAction(reply=Reply(payload=Any(type_url="x/y")))
FORWARD = ClientAction(forward=Forward(service_name="other", command_name="Do"))
FAILURE = ClientAction(failure=Failure(description="no"))
EFFECTS = [SideEffect(service_name="other", command_name=name) for name in ("Do", "Undo")]


def init(service: str = SERVICE, snapshot: EventSourcedSnapshot | None = None) -> Input:
    start = EventSourcedInit(service_name=service, entity_id="e", snapshot=snapshot)
    return EventSourcedStreamIn(init=start)


def event(sequence: int) -> Input:
    return EventSourcedStreamIn(event=EventSourcedEvent(sequence=sequence, payload=EVENT))


def write(command_id: int = 1, entity_id: str = "e") -> Command:
    return Command(entity_id=entity_id, id=command_id, name="Write", payload=Any(type_url="x/y"))


def command(command_id: int = 1, entity_id: str = "e") -> Input:
    return EventSourcedStreamIn(command=write(command_id, entity_id))


def new(every: int = 0) -> EventSourcedSession:
    return EventSourcedSession({SERVICE: every})


def ready(every: int = 0, sequence: int = 0) -> EventSourcedSession:
    session = new(every)
    snapshot = EventSourcedSnapshot(snapshot_sequence=sequence, snapshot=SNAPSHOT)
    session.receive(init(snapshot=snapshot if sequence else None))
    assert session.state == State.READY
    assert session.sequence == sequence
    return session


def handling(every: int = 0, sequence: int = 0) -> EventSourcedSession:
    session = ready(every, sequence)
    assert session.receive(command()) == [CallHandler(write(), sequence)]
    return session


def snapshotting() -> EventSourcedSession:
    session = handling(every=1)
    assert session.receive(Returned(REPLY, [EVENT], EFFECTS)) == [TakeSnapshot(1)]
    return session


def stale() -> EventSourcedSession:
    session = handling()
    session.receive(Returned(FAILURE, [EVENT], []))
    return session


def ended() -> EventSourcedSession:
    session = new()
    session.receive(init(service="other"))
    return session


AT: dict[str, Callable[[], EventSourcedSession]] = {
    State.NEW: new,
    State.READY: ready,
    State.HANDLING: handling,
    State.SNAPSHOTTING: snapshotting,
    State.STALE: stale,
    State.ENDED: ended,
}


def reply_in(instructions: Sequence[Instruction]) -> EventSourcedReply:
    (instruction,) = instructions
    assert isinstance(instruction, Send)
    assert instruction.message.WhichOneof("message") == "reply"
    return instruction.message.reply


def failure_in(session: EventSourcedSession, instructions: Sequence[Instruction]) -> Failure:
    """Return the failure message; after it the stream has ended, and with success."""
    sending, ending = instructions
    assert isinstance(sending, Send)
    assert sending.message.WhichOneof("message") == "failure"
    assert ending == End()
    assert session.state == State.ENDED
    return sending.message.failure


def snapshots_after(every: int, start: int, numbers_of_events: list[int]) -> list[int]:
    """Return the numbers of the snapshots that commands with so many events take."""
    session, taken = ready(every, start), []
    for command_id, number in enumerate(numbers_of_events, start=1):
        session.receive(command(command_id))
        for instruction in session.receive(Returned(REPLY, [EVENT] * number, [])):
            if isinstance(instruction, TakeSnapshot):
                taken.append(instruction.sequence)
                assert reply_in(session.receive(SnapshotTaken(SNAPSHOT))).snapshot == SNAPSHOT
            else:
                assert not reply_in([instruction]).HasField("snapshot")
    return taken


@pytest.mark.parametrize("state", AT)
def test_every_state_can_be_reached(state: str) -> None:
    assert AT[state]().state == state


# --- Opening -------------------------------------------------------------------------


def test_init_without_a_snapshot_opens_a_fresh_entity() -> None:
    assert new().receive(init()) == [OpenEntity(SERVICE, "e", None, 0)]


def test_init_with_a_snapshot_opens_the_entity_as_of_its_sequence() -> None:
    snapshot = EventSourcedSnapshot(snapshot_sequence=5, snapshot=SNAPSHOT)
    session = new()

    assert session.receive(init(snapshot=snapshot)) == [OpenEntity(SERVICE, "e", SNAPSHOT, 5)]
    assert session.sequence == 5


def test_events_are_applied_with_their_own_sequence_and_answered_by_nothing() -> None:
    session = ready(sequence=5)

    assert session.receive(event(6)) == [ApplyEvent(EVENT, 6)]
    assert session.receive(event(7)) == [ApplyEvent(EVENT, 7)]
    assert session.receive(command()) == [CallHandler(write(), 7)]


def test_a_journal_may_have_given_up_numbers() -> None:
    assert ready(sequence=5).receive(event(8)) == [ApplyEvent(EVENT, 8)]


@pytest.mark.parametrize("sequence", [5, 4, 0, -1])
def test_events_that_go_back_in_number_are_a_violation(sequence: int) -> None:
    session = ready(sequence=5)

    failure = failure_in(session, session.receive(event(sequence)))

    assert failure.command_id == 0
    assert failure.description == (
        f"Protocol error: expected an event after number 5, found {sequence}"
    )


# --- What the runtime does wrong -----------------------------------------------------


def failed_with(session: EventSourcedSession, input_: Input) -> tuple[int, str]:
    failure = failure_in(session, session.receive(input_))
    return failure.command_id, failure.description


@pytest.mark.parametrize("first", [event(1), command(3), EventSourcedStreamIn()])
def test_the_first_message_must_be_init(first: Input) -> None:
    assert failed_with(new(), first) == (0, "Protocol error: expected init as the first message")


def test_init_must_name_a_service_that_is_served() -> None:
    assert failed_with(new(), init("shop.Other")) == (
        0,
        "Protocol error: unknown service 'shop.Other'",
    )


@pytest.mark.parametrize("at", [ready, handling, snapshotting, stale])
def test_a_second_init_is_a_violation(at: Callable[[], EventSourcedSession]) -> None:
    assert failed_with(at(), init()) == (0, "Protocol error: expected init only once")


@pytest.mark.parametrize("at", [ready, handling, snapshotting, stale])
def test_an_empty_message_is_a_violation(at: Callable[[], EventSourcedSession]) -> None:
    assert failed_with(at(), EventSourcedStreamIn()) == (
        0,
        "Protocol error: expected a message, found an empty one",
    )


def test_a_command_for_another_entity_is_a_violation_that_names_the_command() -> None:
    assert failed_with(ready(), command(4, entity_id="other")) == (
        4,
        "Protocol error: expected entity 'e', found 'other'",
    )


def test_a_command_without_a_payload_is_a_violation_that_names_the_command() -> None:
    without = EventSourcedStreamIn(command=Command(entity_id="e", id=4, name="Write"))

    assert failed_with(ready(), without) == (4, "Protocol error: expected a payload, found none")


@pytest.mark.parametrize("at", [handling, snapshotting, stale])
def test_a_command_must_wait_for_its_turn(at: Callable[[], EventSourcedSession]) -> None:
    session = at()
    state = session.state

    assert failed_with(session, command(2)) == (
        2,
        f"Protocol error: expected no command while {state}",
    )


@pytest.mark.parametrize("at", [handling, snapshotting, stale])
def test_events_come_before_commands(at: Callable[[], EventSourcedSession]) -> None:
    session = at()
    state = session.state

    assert failed_with(session, event(9)) == (0, f"Protocol error: expected no event while {state}")


RESULTS: list[Input] = [Returned(REPLY, [EVENT], []), Raised("no"), SnapshotTaken(SNAPSHOT)]


@pytest.mark.parametrize("input_", [init(), event(1), command(), EventSourcedStreamIn(), *RESULTS])
def test_after_the_end_nothing_more_is_said(input_: Input) -> None:
    session = ended()

    assert session.receive(input_) == []
    assert session.state == State.ENDED


@pytest.mark.parametrize("at", [new, ready, stale])
@pytest.mark.parametrize("result", [RESULTS[0], RESULTS[2]], ids=lambda r: type(r).__name__)
def test_a_result_that_nobody_asked_for_ends_the_stream(
    at: Callable[[], EventSourcedSession], result: Input
) -> None:
    session = at()

    failure = failure_in(session, session.receive(result))

    assert type(result).__name__ in failure.description


# --- What handlers do ----------------------------------------------------------------


def test_a_command_is_answered_once_and_under_its_own_id() -> None:
    session = ready()

    for command_id in (1, 2, 7):
        session.receive(command(command_id))
        reply = reply_in(session.receive(Returned(REPLY, [], [])))
        assert reply == EventSourcedReply(command_id=command_id, client_action=REPLY)
    assert session.state == State.READY


def test_command_ids_need_not_grow() -> None:
    session = ready()

    for command_id in (2, 2, 1):
        session.receive(command(command_id))
        assert reply_in(session.receive(Returned(REPLY, [], []))).command_id == command_id


@pytest.mark.parametrize("action", [REPLY, FORWARD], ids=["reply", "forward"])
def test_a_reply_and_a_forward_keep_events_and_effects_in_order(action: ClientAction) -> None:
    session = handling(sequence=3)
    other = Any(type_url="a/b")

    reply = reply_in(session.receive(Returned(action, [EVENT, other], EFFECTS)))

    assert reply.client_action == action
    assert list(reply.events) == [EVENT, other]
    assert list(reply.side_effects) == EFFECTS
    assert session.sequence == 5
    assert session.receive(command(2)) == [CallHandler(write(2), 5)]


def test_a_failure_stands_alone() -> None:
    session = handling(every=1, sequence=3)

    reply = reply_in(session.receive(Returned(FAILURE, [], EFFECTS)))

    failure = Failure(command_id=1, description="no", restart=False)
    assert reply == EventSourcedReply(command_id=1, client_action=ClientAction(failure=failure))
    assert session.state == State.READY
    assert session.sequence == 3


def test_a_failure_after_events_asks_for_a_restart_and_drops_them() -> None:
    session = handling(every=1, sequence=3)

    reply = reply_in(session.receive(Returned(FAILURE, [EVENT], EFFECTS)))

    failure = Failure(command_id=1, description="no", restart=True)
    assert reply == EventSourcedReply(command_id=1, client_action=ClientAction(failure=failure))
    assert session.sequence == 3
    assert session.state == State.STALE


def test_the_action_of_a_handler_is_not_changed_by_sending_it() -> None:
    handling().receive(Returned(FAILURE, [EVENT], []))

    assert ClientAction(failure=Failure(description="no")) == FAILURE


def test_a_handler_that_raises_ends_the_stream_under_its_command() -> None:
    session = ready()
    session.receive(command(7))

    assert failed_with(session, Raised("KeyError: 'x'")) == (7, "Unexpected failure: KeyError: 'x'")


def test_an_event_or_init_that_cannot_be_applied_ends_the_stream_under_no_command() -> None:
    session = ready()
    session.receive(event(1))

    assert failed_with(session, Raised("KeyError: 'x'")) == (0, "Unexpected failure: KeyError: 'x'")


def test_a_command_that_was_answered_is_not_blamed_for_what_comes_later() -> None:
    session = handling()
    session.receive(Returned(REPLY, [], []))

    assert failed_with(session, Raised("late"))[0] == 0


# --- Snapshots -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "start", "events", "expected"),
    [
        (5, 0, [1, 1, 1, 1, 1, 3, 2, 1], [5, 10]),
        (5, 4, [3], [7]),
        (5, 7, [2], []),
        (5, 7, [3], [10]),
        (5, 5, [1, 3, 1], [10]),
        (5, 3, [20], [23]),
        (5, 4, [0, 0, 1, 0], [5]),
        (1, 0, [1, 0, 2], [1, 3]),
        (0, 0, [100, 100], []),
        (3, 2_000_000, [1], [2_000_001]),
    ],
    ids=str,
)
def test_a_snapshot_is_taken_when_the_events_of_a_command_reach_a_multiple(
    every: int, start: int, events: list[int], expected: list[int]
) -> None:
    assert snapshots_after(every, start, events) == expected


@given(
    every=st.integers(1, 7),
    start=st.integers(0, 20),
    events=st.lists(st.integers(0, 9), max_size=10),
)
def test_a_snapshot_covers_all_events_of_the_command_that_passed_a_multiple(
    every: int, start: int, events: list[int]
) -> None:
    expected, sequence = [], start
    for number in events:
        produced = range(sequence + 1, sequence + number + 1)
        sequence += number
        if any(each % every == 0 for each in produced):
            expected.append(sequence)

    assert snapshots_after(every, start, events) == expected


def test_a_snapshot_goes_with_the_reply_it_belongs_to() -> None:
    session = snapshotting()

    reply = reply_in(session.receive(SnapshotTaken(SNAPSHOT)))

    assert reply == EventSourcedReply(
        command_id=1,
        client_action=REPLY,
        events=[EVENT],
        side_effects=EFFECTS,
        snapshot=SNAPSHOT,
    )
    assert session.state == State.READY


def test_a_snapshot_that_cannot_be_taken_does_not_refuse_the_command() -> None:
    session = snapshotting()

    reply = reply_in(session.receive(Raised("AttributeError: items")))

    assert not reply.HasField("snapshot")
    assert list(reply.events) == [EVENT]
    assert session.receive(command(2)) == [CallHandler(write(2), 1)]


def test_each_service_has_its_own_interval() -> None:
    session = EventSourcedSession({"often": 1, "never": 0})
    session.receive(init("never"))
    session.receive(command())

    reply_in(session.receive(Returned(REPLY, [EVENT], [])))


# --- Any sequence of inputs ----------------------------------------------------------

payloads = st.builds(Any, type_url=st.sampled_from(["", "a/b"]))
commands = st.builds(
    Command,
    entity_id=st.sampled_from(["e", "other"]),
    id=st.integers(0, 3),
    payload=st.none() | payloads,
)
inputs = st.one_of(
    st.sampled_from([EventSourcedStreamIn(), init(), init("other")]),
    st.builds(event, st.integers(0, 9)),
    st.builds(EventSourcedStreamIn, command=commands),
    st.builds(
        Returned,
        st.sampled_from([REPLY, FORWARD, FAILURE, ClientAction()]),
        st.lists(payloads, max_size=3),
        st.just(EFFECTS),
    ),
    st.just(Raised("no")),
    st.builds(SnapshotTaken, payloads),
)


@given(st.integers(0, 3), st.lists(inputs, max_size=20))
def test_no_sequence_of_inputs_raises_or_answers_other_than_the_protocol_says(
    every: int, given_: list[Input]
) -> None:
    session, owed, has_ended = new(every), 0, False
    for input_ in given_:
        for instruction in session.receive(input_):
            assert not has_ended
            match instruction:
                case CallHandler(command):
                    assert owed == 0
                    assert command.entity_id == "e"
                    owed = 1
                case Send(message) if message.HasField("reply"):
                    assert owed == 1
                    owed = 0
                    failed = message.reply.client_action.HasField("failure")
                    assert not failed or not message.reply.events
                    assert not failed or not message.reply.side_effects
                case Send(EventSourcedStreamOut(failure=failure)):
                    assert failure.description
                case End():
                    has_ended = True
    assert has_ended is (session.state == State.ENDED)
