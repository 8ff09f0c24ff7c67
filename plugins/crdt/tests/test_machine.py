"""The rules of one replicated entity in the runtime, input by input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any as AnyType

import pytest
from google.protobuf.any_pb2 import Any
from puppet.puppet_pb2 import Word
from puppets import DELETE, cancelled, failed, failure, plus, reply, streamed, update, word

from cloudstate.crdt_pb2 import (
    CrdtDelta,
    CrdtStateAction,
    CrdtStreamOut,
    FlagDelta,
    GCounterDelta,
    LWWRegisterDelta,
)
from cloudstate.entity_pb2 import ClientAction, Reply, SideEffect
from cloudstate_core.anys import pack_message
from cloudstate_core.metadata import Metadata
from cloudstate_crdt import Flag, GCounter, Lattice, LWWRegister, Replica
from cloudstate_crdt.instructions import (
    Answer,
    Cancelled,
    ClientLeft,
    CommandArrived,
    Commit,
    Committed,
    CopyChanged,
    CopyRead,
    Crash,
    Emit,
    EndStream,
    FoundDeleted,
    Input,
    Instruction,
    MessageArrived,
    NotCommitted,
    Opening,
    ReadCopy,
    RefuseAll,
    Report,
    Send,
    StreamLost,
    TimedOut,
)
from cloudstate_crdt.machine import CrdtMachine, State
from cloudstate_crdt.replicas import DELETED
from cloudstate_crdt.translation.deltas import view_of
from cloudstate_crdt.translation.translation import View, Viewpoint

PAYLOAD = Any(type_url="t", value=b"x")
EFFECT = SideEffect(service_name="s", command_name="c")
READ = (ReadCopy(),)
NOTHING: tuple[Instruction, ...] = ()


def seen(state: Lattice) -> View:
    return view_of(state, Viewpoint("a", ("a",)))


def counter(total: int) -> View:
    return seen(GCounter({Replica("a"): total} if total else {}))


class Driven:
    """A machine in the hands of a test."""

    def __init__(self, view: View | AnyType | None = None, *, deleted: bool = False) -> None:
        types = {
            "Do": "type.googleapis.com/puppet.Word",
            "Watch": "type.googleapis.com/puppet.Word",
        }
        self.machine = CrdtMachine("puppet.Puppet", "e", types)
        self.started = self.give(Opening(DELETED if deleted else view))

    def give(self, input_: Input) -> Sequence[Instruction]:
        return tuple(self.machine.receive(input_))

    def command(self, command_id: int, *, streams: bool = False) -> Sequence[Instruction]:
        name = "Watch" if streams else "Do"
        return self.give(CommandArrived(command_id, name, PAYLOAD, streamed=streams))

    def says(self, message: CrdtStreamOut, command_id: int = 1) -> Sequence[Instruction]:
        inner = getattr(message, str(message.WhichOneof("message")))
        if not inner.command_id:
            inner.command_id = command_id
        return self.give(MessageArrived(message))

    def commits(self, message: CrdtStreamOut, command_id: int = 1) -> Commit:
        """Let the user function say something that is to be stored."""
        commit, *others = self.says(message, command_id)
        assert isinstance(commit, Commit), commit
        assert not others
        return commit

    def watched(self, command_id: int = 1) -> Driven:
        """Accept a stream."""
        self.command(command_id, streams=True)
        self.give(Committed(self.commits(reply("first", streamed=True), command_id).operation))
        return self

    def crashes(self, instructions: Sequence[Instruction]) -> str:
        (crash,) = instructions
        assert isinstance(crash, Crash), crash
        assert self.machine.state == State.ENDED
        assert self.machine.is_idle()
        # Nothing is done any more.
        for input_ in (CopyChanged(), Committed(1), ClientLeft(1), StreamLost("", "")):
            assert self.give(input_) == ()
        return f"{crash.reason}: {crash.detail}"


def sent(instructions: Sequence[Instruction]) -> list[str]:
    return [_words(each) for each in instructions]


def _words(instruction: Instruction) -> str:
    if not isinstance(instruction, Send):
        return type(instruction).__name__
    message = instruction.message
    kind = str(message.WhichOneof("message"))
    return f"delta {message.delta}".strip() if kind == "delta" else kind


# --- Starting ------------------------------------------------------------------------


def test_an_entity_without_a_copy_is_told_of_no_state() -> None:
    (send,) = Driven().started

    assert isinstance(send, Send)
    assert (send.message.init.service_name, send.message.init.entity_id) == ("puppet.Puppet", "e")
    assert not send.message.init.HasField("delta")


def test_an_entity_with_a_copy_is_told_of_all_of_it() -> None:
    (send,) = Driven(counter(42)).started

    assert isinstance(send, Send)
    assert send.message.init.delta == plus(42)
    (send,) = Driven(counter(0)).started
    assert isinstance(send, Send)
    # One that is there and empty is another than none.
    assert send.message.init.delta.HasField("gcounter")


def test_a_deleted_entity_is_not_started_and_refuses_commands() -> None:
    driven = Driven(deleted=True)

    assert driven.started == ()
    assert driven.command(1) == (RefuseAll(),)
    assert driven.machine.is_idle()


def test_a_state_that_cannot_be_told_is_a_crash() -> None:
    large = seen(GCounter({Replica(name): 2**63 - 1 for name in "abc"}))
    driven = Driven(large)

    assert "64 bits" in driven.crashes(driven.started)


# --- Commands ------------------------------------------------------------------------


def test_a_command_is_sent_as_it_came() -> None:
    driven = Driven()
    (plain,) = driven.command(1)
    (stream,) = driven.command(2, streams=True)
    assert isinstance(plain, Send)
    assert isinstance(stream, Send)

    command = plain.message.command
    assert (command.entity_id, command.id, command.name) == ("e", 1, "Do")
    assert command.payload == PAYLOAD
    assert not command.HasField("metadata")
    assert (command.streamed, stream.message.command.streamed) == (False, True)
    headers = Metadata([("a", "b")])
    (send,) = driven.give(CommandArrived(3, "Do", PAYLOAD, headers))
    assert isinstance(send, Send)
    assert Metadata.from_wire(send.message.command.metadata) == headers


def test_a_reply_is_stored_with_what_it_changes_and_calls() -> None:
    driven = Driven()
    driven.command(1)

    assert driven.commits(reply("a", update(2, 1), effects=[EFFECT])) == Commit(
        1, 1, "Do", update(2, 1), word("a"), [EFFECT], ends=True, is_cancelled=False
    )
    assert not driven.machine.is_idle()
    assert driven.give(Committed(1)) == READ
    assert driven.give(CopyRead(counter(2))) == ()
    assert driven.machine.is_idle()


def test_a_reply_that_changes_nothing_has_nobody_look_at_the_copy() -> None:
    driven = Driven(counter(2))
    driven.command(1)

    commit = driven.commits(reply("a"))

    assert commit.change == CrdtStateAction()
    assert driven.give(Committed(commit.operation)) == ()
    assert driven.machine.is_idle()


def test_several_commands_are_answered_in_any_order() -> None:
    driven = Driven()
    for command_id in (1, 2, 3):
        driven.command(command_id)

    operations = [driven.commits(reply(), command_id).operation for command_id in (3, 1, 2)]

    assert operations == [1, 2, 3]
    for operation in reversed(operations):
        assert driven.give(Committed(operation)) == ()
    assert driven.machine.is_idle()


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (reply(command_id=7), "command 7"),
        (reply(streamed=True), "a stream"),
        (reply(change=update(2**63)), "at most"),
        (reply(change=update(CrdtDelta())), "found one of none"),
        (reply(change=update(CrdtDelta(flag=FlagDelta()))), "expected a delta of type 'gcounter'"),
        (reply(client_action=ClientAction(reply=Reply(payload=PAYLOAD))), "found 't'"),
        (reply(change=update(1), client_action=failed("no")), "no change with a failure: no"),
        (reply(change=DELETE, client_action=failed("no")), "no change with a failure: no"),
        (reply(change=update(1, 99)), "expected a write consistency, found 99"),
        (cancelled(), "cancellation"),
        (failure("KeyError", -1), "Unexpected entity failure: entity 'e': KeyError"),
    ],
)
def test_a_user_function_that_breaks_the_protocol_is_a_crash(
    message: CrdtStreamOut, fault: str
) -> None:
    driven = Driven(counter(1))
    driven.command(1)
    if message.HasField("failure"):
        message.failure.command_id = 0
        assert fault in driven.crashes(driven.give(MessageArrived(message)))
    else:
        assert fault in driven.crashes(driven.says(message))


def test_a_second_reply_is_one_to_an_unknown_command() -> None:
    driven = Driven()
    driven.command(1)
    driven.commits(reply())

    assert "unknown" in driven.crashes(driven.says(reply()))


def test_a_message_that_says_nothing_is_ignored() -> None:
    assert Driven().give(MessageArrived(CrdtStreamOut())) == ()


def test_a_failure_that_a_reply_holds_is_an_answer() -> None:
    driven = Driven()
    driven.command(1)

    commit = driven.commits(reply(client_action=failed("no")))

    assert commit.action == failed("no")
    assert commit.change == CrdtStateAction()


def test_a_failure_of_one_command_is_its_answer_in_the_user_functions_words() -> None:
    driven = Driven()
    driven.command(1)
    driven.give(CopyChanged())
    told = failure("no", 1)

    assert driven.says(told) == (Answer(1, ClientAction(failure=told.failure)), ReadCopy())
    (report,) = driven.says(failure("again", 1))
    assert isinstance(report, Report)
    assert "again" in report.text


def test_a_lost_stream_and_a_silent_user_function_are_crashes() -> None:
    driven = Driven()
    assert driven.crashes(driven.give(StreamLost("gone", "why"))) == "gone: entity 'e': why"

    driven = Driven()
    driven.command(1)
    assert driven.give(TimedOut(2)) == ()
    assert "not answered" in driven.crashes(driven.give(TimedOut(1)))


# --- Whose turn it is ----------------------------------------------------------------


def test_a_change_from_elsewhere_is_told_when_nothing_is_outstanding() -> None:
    driven = Driven(counter(1))

    assert driven.give(CopyChanged()) == READ
    assert sent(driven.give(CopyRead(counter(4)))) == [f"delta {plus(3)}".strip()]
    assert driven.give(CopyChanged()) == READ
    assert driven.give(CopyRead(counter(4))) == ()


def test_a_first_change_is_told_as_the_whole_state() -> None:
    driven = Driven()
    driven.give(CopyChanged())

    (send,) = driven.give(CopyRead(counter(0)))

    assert isinstance(send, Send)
    assert send.message.delta.HasField("gcounter")


def test_changes_from_elsewhere_wait_until_the_last_operation_is_done_and_come_as_one() -> None:
    driven = Driven(counter(1))
    driven.command(1)
    driven.command(2)
    assert driven.give(CopyChanged()) == ()
    first = driven.commits(reply(), 1)
    assert driven.give(Committed(first.operation)) == ()
    assert driven.give(CopyChanged()) == ()
    second = driven.commits(reply(change=update(10)), 2)

    # An answer that is not stored is not done.
    assert driven.give(CopyChanged()) == ()
    assert driven.give(Committed(second.operation)) == READ
    assert sent(driven.give(CopyRead(counter(16)))) == [f"delta {plus(5)}".strip()]


def test_a_copy_that_is_read_too_late_is_read_again_after_the_command() -> None:
    driven = Driven(counter(1))
    assert driven.give(CopyChanged()) == READ
    driven.command(1)

    assert driven.give(CopyRead(counter(4))) == ()
    commit = driven.commits(reply())
    assert driven.give(Committed(commit.operation)) == READ
    assert len(driven.give(CopyRead(counter(4)))) == 1


def test_a_change_while_the_copy_is_read_is_looked_at_once_more() -> None:
    driven = Driven(counter(1))
    driven.give(CopyChanged())
    assert driven.give(CopyChanged()) == ()

    assert sent(driven.give(CopyRead(counter(4)))) == [f"delta {plus(3)}".strip(), "ReadCopy"]
    assert driven.give(CopyRead(counter(4))) == ()


def test_a_cancellation_is_an_operation_too() -> None:
    driven = Driven(counter(1)).watched()
    assert sent(driven.give(ClientLeft(1))) == ["stream_cancelled"]
    assert driven.give(CopyChanged()) == ()

    assert driven.says(cancelled()) == (Cancelled(1), ReadCopy())


def test_a_write_that_lost_is_mended() -> None:
    driven = Driven(seen(LWWRegister()))
    driven.command(1)
    mine = CrdtDelta(lwwregister=LWWRegisterDelta(value=Any(value=b"mine")))
    commit = driven.commits(reply(change=update(mine)))
    assert driven.give(Committed(commit.operation)) == READ
    theirs = LWWRegister()
    theirs.set(Replica("b"), Any(value=b"theirs"), now=1)

    (send,) = driven.give(CopyRead(seen(theirs)))

    assert isinstance(send, Send)
    assert send.message.delta.lwwregister.value == Any(value=b"theirs")


@pytest.mark.parametrize(
    ("had", "has"),
    [(counter(3), counter(2)), (counter(3), seen(Flag())), (counter(3), None)],
)
def test_a_state_that_goes_back_is_a_crash(had: View, has: View | None) -> None:
    driven = Driven(had)
    driven.give(CopyChanged())

    driven.crashes(driven.give(CopyRead(has)))


def test_a_change_that_could_not_be_stored_is_a_crash_and_anything_else_is_not() -> None:
    driven = Driven(counter(1))
    for command_id in (1, 2):
        driven.command(command_id)
    changes, plain = driven.commits(reply(change=update(1)), 1), driven.commits(reply(), 2)

    assert driven.give(NotCommitted(plain.operation, has_changed=False)) == ()
    driven.crashes(driven.give(NotCommitted(changes.operation, has_changed=True)))


# --- Streams -------------------------------------------------------------------------


def test_elements_go_to_the_client_until_the_last_one() -> None:
    driven = Driven().watched()

    assert driven.says(streamed("a", side_effects=[EFFECT])) == (
        Emit(1, word("a"), [EFFECT], ends=False),
    )
    assert not driven.machine.is_idle()
    assert driven.says(streamed(None, ends=True)) == (Emit(1, ClientAction(), [], ends=True),)
    assert driven.machine.is_idle()
    assert driven.give(ClientLeft(1)) == ()


def test_an_element_may_come_before_the_first_one_is_stored() -> None:
    driven = Driven()
    driven.command(1, streams=True)
    commit = driven.commits(reply("first", update(1), streamed=True))
    assert not commit.ends

    assert driven.says(streamed("a")) == (Emit(1, word("a"), [], ends=False),)


def test_a_streamed_command_may_have_one_answer() -> None:
    driven = Driven()
    driven.command(1, streams=True)

    commit = driven.commits(reply("only"))

    assert commit.ends
    driven.give(Committed(commit.operation))
    assert driven.machine.is_idle()


def test_a_failure_ends_a_stream() -> None:
    told = failure("no", 1)
    driven = Driven().watched()
    assert driven.says(told) == (Emit(1, ClientAction(failure=told.failure), (), ends=True),)
    assert driven.give(ClientLeft(1)) == ()

    driven = Driven().watched()
    assert driven.says(streamed(client_action=failed("no"), text=None)) == (
        Emit(1, failed("no"), [], ends=True),
    )
    assert driven.machine.is_idle()


def test_an_element_for_nobody_is_reported() -> None:
    (report,) = Driven().says(streamed("a"))

    assert isinstance(report, Report)
    assert "command 1" in report.text


def test_an_element_of_another_type_is_a_crash() -> None:
    driven = Driven().watched()
    element = streamed(client_action=ClientAction(reply=Reply(payload=PAYLOAD)), text=None)

    assert "found 't'" in driven.crashes(driven.says(element))


def test_a_client_that_leaves_is_told_once_and_its_elements_are_dropped() -> None:
    driven = Driven().watched()

    (send,) = driven.give(ClientLeft(1))

    assert isinstance(send, Send)
    assert send.message.stream_cancelled.entity_id == "e"
    assert send.message.stream_cancelled.id == 1
    assert driven.give(ClientLeft(1)) == ()
    assert driven.says(streamed("a")) == ()
    commit: AnyType
    done, commit = driven.says(cancelled(update(1), side_effects=[EFFECT]))
    assert done == Cancelled(1)
    assert commit == Commit(
        2, 1, "Watch", update(1), ClientAction(), [EFFECT], ends=True, is_cancelled=True
    )
    assert driven.give(Committed(2)) == READ
    assert driven.give(CopyRead(counter(1))) == ()
    assert driven.machine.is_idle()


def test_a_client_that_leaves_before_the_reply_is_told_of_after_it() -> None:
    driven = Driven()
    driven.command(1, streams=True)
    assert driven.give(ClientLeft(1)) == ()

    assert sent(driven.says(reply("first", streamed=True))) == ["Commit", "stream_cancelled"]


def test_a_client_that_leaves_a_stream_which_is_not_accepted_is_not_told_of() -> None:
    driven = Driven()
    driven.command(1, streams=True)
    driven.give(ClientLeft(1))

    assert sent(driven.says(reply("only"))) == ["Commit"]


def test_the_end_of_a_stream_settles_its_cancellation_and_may_be_followed_by_the_answer() -> None:
    driven = Driven().watched()
    driven.give(ClientLeft(1))
    assert driven.says(streamed("late", ends=True)) == (Cancelled(1),)
    assert driven.machine.is_idle()

    assert sent(driven.says(cancelled(update(1)))) == ["Cancelled", "Commit"]
    assert "unknown" in driven.crashes(driven.says(cancelled()))


def test_a_failure_settles_a_cancellation() -> None:
    driven = Driven().watched()
    driven.give(ClientLeft(1))

    report, done = driven.says(failure("no", 1))

    assert isinstance(report, Report)
    assert done == Cancelled(1)
    assert driven.machine.is_idle()


def test_a_cancellation_that_is_not_answered_is_a_crash() -> None:
    driven = Driven().watched()
    driven.give(ClientLeft(1))

    driven.crashes(driven.give(TimedOut(1)))


# --- Deletion ------------------------------------------------------------------------


def test_a_deletion_by_the_user_function_ends_its_stream_at_once_and_refuses_when_stored() -> None:
    driven = Driven(counter(1)).watched(7)
    driven.command(1)
    driven.command(2)

    commit, end = driven.says(reply("gone", DELETE))

    assert isinstance(commit, Commit)
    assert end == EndStream()
    # It is not sent any more, and whatever the user function still says is too late.
    assert driven.command(3) == ()
    assert driven.says(reply(), 2) == ()
    assert driven.give(CopyChanged()) == ()
    assert driven.give(StreamLost("", "")) == ()
    assert driven.give(Committed(commit.operation)) == (RefuseAll(),)
    assert driven.machine.is_idle()
    assert driven.command(4) == (RefuseAll(),)


def test_a_deletion_waits_for_what_is_being_stored() -> None:
    driven = Driven(counter(1))
    for command_id in (1, 2):
        driven.command(command_id)
    before = driven.commits(reply(change=update(1)), 1)
    deletion, _ = driven.says(reply("gone", DELETE), 2)
    assert isinstance(deletion, Commit)

    assert driven.give(Committed(before.operation)) == ()
    assert driven.give(Committed(deletion.operation)) == (RefuseAll(),)


def test_a_deletion_in_answer_to_a_cancellation() -> None:
    driven = Driven(counter(1)).watched()
    driven.give(ClientLeft(1))

    assert sent(driven.says(cancelled(DELETE))) == ["Cancelled", "Commit", "EndStream"]


def test_a_deletion_that_could_not_be_stored_is_a_crash() -> None:
    driven = Driven(counter(1))
    driven.command(1)
    commit, _ = driven.says(reply("gone", DELETE))
    assert isinstance(commit, Commit)

    driven.crashes(driven.give(NotCommitted(commit.operation, has_changed=True)))


def test_a_deletion_elsewhere_is_told_and_everything_refused() -> None:
    driven = Driven(counter(1)).watched()
    driven.give(CopyChanged())

    assert sent(driven.give(CopyRead(DELETED))) == ["delete", "EndStream", "RefuseAll"]
    assert driven.command(9) == (RefuseAll(),)
    assert driven.machine.is_idle()


def test_a_deletion_elsewhere_that_a_change_runs_into_is_told_at_once() -> None:
    driven = Driven(counter(1))
    for command_id in (1, 2):
        driven.command(command_id)
    driven.commits(reply(change=update(1)), 1)

    assert sent(driven.give(FoundDeleted())) == ["delete", "EndStream", "RefuseAll"]
    assert driven.give(FoundDeleted()) == ()


def test_the_messages_of_the_tests_are_what_they_seem() -> None:
    assert update(3).update == CrdtDelta(gcounter=GCounterDelta(increment=3))
    assert word("a").reply.payload == pack_message(Word(text="a"))
