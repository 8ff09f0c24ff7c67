"""The rules of one replicated entity in the runtime: commands, and whose turn it is."""

from __future__ import annotations

import pytest
from driven_machine import EFFECT, PAYLOAD, READ, Driven, counter, seen, sent
from google.protobuf.any_pb2 import Any
from puppet.puppet_pb2 import Word
from puppets import DELETE, cancelled, failed, failure, plus, reply, update, word

from cloudstate.crdt_pb2 import (
    CrdtClock,
    CrdtDelta,
    CrdtStateAction,
    CrdtStreamOut,
    FlagDelta,
    GCounterDelta,
    LWWRegisterDelta,
)
from cloudstate.entity_pb2 import ClientAction, Reply
from cloudstate_core.anys import pack_message
from cloudstate_core.metadata import Metadata
from cloudstate_crdt import Flag, GCounter, LWWRegister, Replica
from cloudstate_crdt.instructions import (
    Answer,
    Cancelled,
    ClientLeft,
    CommandArrived,
    Commit,
    Committed,
    CopyChanged,
    CopyRead,
    MessageArrived,
    NotCommitted,
    ReadCopy,
    RefuseAll,
    Report,
    Send,
    StreamLost,
    TimedOut,
)
from cloudstate_crdt.translation.translation import View

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
    assert driven.give(Committed(1)) == ()
    assert driven.machine.is_idle()


def test_a_change_that_nobody_else_could_meet_has_nobody_look_at_the_copy() -> None:
    driven = Driven(counter(2))
    for command_id, change in ((1, None), (2, update(3))):
        driven.command(command_id)
        commit = driven.commits(reply("a", change), command_id)
        assert driven.give(Committed(commit.operation)) == ()
    assert driven.machine.is_idle()

    # What is known to be there is all of it.
    driven.give(CopyChanged())
    assert driven.give(CopyRead(counter(5))) == ()


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
    mine = CrdtDelta(lwwregister=LWWRegisterDelta(value=Any(value=b"mine"), clock=CrdtClock.CUSTOM))
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


def test_the_messages_of_the_tests_are_what_they_seem() -> None:
    assert update(3).update == CrdtDelta(gcounter=GCounterDelta(increment=3))
    assert word("a").reply.payload == pack_message(Word(text="a"))


# --- Commands without an end ---------------------------------------------------------


def busy(driven: Driven, commands: int) -> int:
    """Let one command begin before the last one has ended, again and again; return how many."""
    for number in range(1, commands + 1):
        if not driven.command(number + 1):
            return number - 1
        commit = driven.commits(reply("x"), number)
        driven.give(Committed(commit.operation))
    return commands


def test_commands_that_leave_no_gap_are_held_back_until_the_change_from_elsewhere_is_told() -> None:
    driven = Driven(counter(1))
    driven.command(1)
    driven.give(CopyChanged())

    assert busy(driven, 1_000) == 100
    held = 102
    assert driven.command(held + 1) == ()
    assert driven.give(Committed(driven.commits(reply("x"), held - 1).operation)) == READ
    told, *sent_later = driven.give(CopyRead(counter(5)))

    assert sent((told,)) == [f"delta {CrdtDelta(gcounter=GCounterDelta(increment=4))}".strip()]
    assert [each.message.command.id for each in sent_later] == [held, held + 1]  # type: ignore[union-attr]
    # It begins anew.
    assert driven.command(held + 2) != ()


def test_without_news_commands_are_never_held_back() -> None:
    driven = Driven(counter(1))
    driven.command(1)

    assert busy(driven, 1_000) == 1_000


def test_changes_without_an_end_do_not_hold_back_commands_for_ever() -> None:
    driven = Driven(counter(1))
    driven.command(1)
    driven.give(CopyChanged())
    last = busy(driven, 1_000) + 1
    driven.give(Committed(driven.commits(reply("x"), last).operation))
    driven.give(CopyChanged())  # while the copy is read

    instructions = driven.give(CopyRead(counter(5)))

    assert sent(instructions)[1:] == ["command"]


def test_a_client_that_leaves_while_its_command_is_held_back_is_cancelled() -> None:
    driven = Driven(counter(1))
    driven.command(1)
    driven.give(CopyChanged())
    held = busy(driven, 1_000) + 2
    assert driven.command(held + 1, streams=True) == ()

    assert sent(driven.give(ClientLeft(held + 1))) == ["command"]
    commit, cancelling = driven.says(reply("first", streamed=True), held + 1)
    assert isinstance(commit, Commit)
    assert sent((cancelling,)) == ["stream_cancelled"]


def test_a_command_that_waits_too_long_is_given_up_without_a_crash() -> None:
    driven = Driven(counter(1))
    driven.command(1)
    driven.give(CopyChanged())
    last = busy(driven, 1_000) + 1

    assert driven.give(TimedOut(last + 1)) == ()
    driven.give(Committed(driven.commits(reply("x"), last).operation))
    assert sent(driven.give(CopyRead(counter(1)))) == []
    assert driven.machine.is_idle()
