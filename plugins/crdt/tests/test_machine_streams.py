"""The rules of one replicated entity in the runtime: streams, and its deletion."""

from __future__ import annotations

from typing import Any as AnyType

from driven_machine import EFFECT, PAYLOAD, Driven, counter, sent
from puppets import DELETE, cancelled, failed, failure, reply, streamed, update, word

from cloudstate.entity_pb2 import ClientAction, Reply
from cloudstate_crdt.instructions import (
    Cancelled,
    ClientLeft,
    Commit,
    Committed,
    CopyChanged,
    CopyRead,
    Emit,
    EndStream,
    FoundDeleted,
    NotCommitted,
    RefuseAll,
    Report,
    Send,
    StreamLost,
    TimedOut,
)
from cloudstate_crdt.replicas import DELETED

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
    assert driven.give(Committed(2)) == ()
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
