"""What a node does with what others send."""

from __future__ import annotations

from replicating_machine import (
    ME,
    OWN_PROCESS,
    PEERS_PROCESS,
    REGISTRY,
    Machine,
    counted,
    joins,
    messages,
    reports,
    sent_to,
    settled,
)
from simulated_changes import item

from cloudstate_crdt import GSet
from cloudstate_crdt.replicas import DELETED, Consistency
from cloudstate_crdt.replication.limits import Limits
from cloudstate_crdt.replication.words import (
    Joined,
    JoinFailed,
    JoinRefused,
    Read,
    Send,
    StateRead,
)
from cloudstate_crdt.replication_pb2 import (
    Changes,
    Missing,
    Range,
    Status,
    Stored,
)

# --- Changes -------------------------------------------------------------------------


def test_a_change_is_joined_and_confirmed_only_when_it_is_stored() -> None:
    a = Machine()
    [join] = joins(a.hear_change(1, answer=True))
    assert (join.entity_id, join.change) == ("x", counted(1))
    assert messages(a.flush(), "stored") == []

    a.machine.receive(Joined(join, has_changed=True))

    [stored] = messages(a.flush(), "stored")
    assert (stored.process, list(stored.sequences)) == (PEERS_PROCESS, [1])


def test_confirmations_of_one_turn_are_one_message() -> None:
    a = Machine()
    for number in (1, 2, 3):
        [join] = joins(a.hear_change(number, answer=True))
        a.machine.receive(Joined(join, has_changed=True))

    [stored] = messages(a.flush(), "stored")
    assert list(stored.sequences) == [1, 2, 3]


def test_a_change_that_came_before_is_not_joined_again() -> None:
    a = Machine()
    a.hear_change(1)

    assert joins(a.hear_change(1)) == []
    # Whoever waits for it has to hear that it is stored, which only a join can say.
    assert len(joins(a.hear_change(1, answer=True))) == 1


def test_a_refused_change_is_reported_and_not_confirmed_nor_asked_for() -> None:
    a = Machine()
    [join] = joins(a.hear_change(1, answer=True))

    done = a.machine.receive(JoinRefused(join, "it is a set"))

    assert reports(done) == ["change_refused"]
    assert messages(a.flush(), "stored") == []
    for _ in range(20):
        assert messages(a.tick(0.2), "missing") == []
    assert len(joins(a.hear_change(2))) == 1


def test_a_change_that_was_not_stored_is_asked_for_again() -> None:
    a = Machine()
    [join] = joins(a.hear_change(1))
    a.machine.receive(JoinFailed(join, "the disk is full"))
    a.tick(0.1)

    [missing] = messages(a.tick(0.3), "missing")

    assert [(each.first, each.last) for each in missing.ranges] == [(1, 1)]
    assert len(joins(a.hear_change(1))) == 1


def test_what_is_missing_is_asked_for_and_what_is_only_late_is_not() -> None:
    a = Machine()
    a.hear_change(1)
    a.hear_change(4)
    assert messages(a.tick(0.1), "missing") == []

    [missing] = messages(a.tick(0.3), "missing")

    assert missing.process == PEERS_PROCESS
    assert [(each.first, each.last) for each in missing.ranges] == [(2, 3)]


def test_a_lost_last_change_is_found_by_the_status() -> None:
    a = Machine()
    a.hear_change(1)
    a.hear(status=Status(last=2))
    a.tick(0.1)

    [missing] = messages(a.tick(0.3), "missing")
    assert [(each.first, each.last) for each in missing.ranges] == [(2, 2)]


def test_what_never_comes_is_left_to_a_comparison() -> None:
    a = Machine()
    a.hear_change(1)
    a.hear(status=Status(last=2**64 - 1, digest=b"?"))
    kinds = [a.tick(0.5) for _ in range(40)]

    asked = sum(len(messages(done, "missing")) for done in kinds)
    assert 0 < asked < 20
    assert sum(len(messages(done, "buckets")) for done in kinds) > 0
    assert len(joins(a.hear_change(3))) == 1


def test_several_changes_of_an_entity_are_sent_again_as_one() -> None:
    a = Machine()
    for number in (1, 2, 3):
        a.change("x", counted(number, ME))
    a.hear(missing=Missing(process=OWN_PROCESS, ranges=[Range(first=1, last=3)]))

    [changes] = messages(a.flush(), "changes")

    [change] = changes.changes
    assert list(change.sequences) == [1, 2, 3]
    assert REGISTRY.read(change.state) == counted(3, ME)


def test_the_whole_state_is_sent_where_it_is_shorter_than_what_is_missing() -> None:
    a = Machine()
    kept = GSet()
    for number in range(200):
        a.change("s", kept.add(item(number)))
    [read] = [
        each
        for each in a.hear(missing=Missing(process=OWN_PROCESS, ranges=[Range(first=1, last=200)]))
        if isinstance(each, Read)
    ]

    a.machine.receive(StateRead(read, DELETED))

    [changes] = messages(a.flush(), "changes")
    [change] = changes.changes
    assert change.WhichOneof("change") == "deletion"
    assert len(change.sequences) == 200


def test_what_is_kept_no_longer_is_said_to_be_and_leads_to_a_comparison() -> None:
    a = Machine(Limits(recent_changes=2))
    for number in (1, 2, 3, 4):
        a.change(f"x{number}", counted(number, ME))
    a.hear(missing=Missing(process=OWN_PROCESS, ranges=[Range(first=1, last=3)]))
    [changes] = messages(a.flush(), "changes")
    assert (changes.forgotten, [list(each.sequences) for each in changes.changes]) == (2, [[3]])

    a.hear_change(5)
    a.hear(changes=Changes(forgotten=4))
    # The comparison that began with the process got no answer.
    done = a.tick(1.1)

    assert len(messages(sent_to("b", done), "buckets")) == 1
    assert [messages(a.tick(0.2), "missing") for _ in range(5)] == [[]] * 5


# --- Waiting for others --------------------------------------------------------------


def test_confirmations_count_for_members_in_their_present_epochs() -> None:
    a = Machine()
    assert settled(a.change("x", counted(1, ME), Consistency.ALL)) == []

    assert settled(a.hear(stored=Stored(process=OWN_PROCESS, sequences=[1]))) == []
    # b has lost its disk, and with it what it had confirmed.
    a.members({"b": 7}, a=1, c=1)
    assert settled(a.tick(5.1)) == [(1, 2, False)]


def test_a_confirmation_of_another_process_of_this_node_counts_for_nothing() -> None:
    a = Machine()
    a.change("x", counted(1, ME), Consistency.MAJORITY)

    assert settled(a.hear(stored=Stored(process=OWN_PROCESS - 1, sequences=[1]))) == []
    assert settled(a.hear(stored=Stored(process=OWN_PROCESS, sequences=[1]))) == [(2, 2, True)]


def test_fewer_members_need_fewer_confirmations() -> None:
    a = Machine()
    a.change("x", counted(1, ME), Consistency.ALL)

    assert settled(a.members(a=1)) == [(1, 1, True)]


def test_a_node_that_was_expelled_waits_no_longer_and_hears_nothing() -> None:
    a = Machine()
    a.change("x", counted(1, ME), Consistency.MAJORITY)

    assert settled(a.members({"a": 1}, b=7, c=1)) == [(1, 2, False)]
    assert a.hear_change(1) == []
    assert a.tick(1.0) == []


def test_an_unconfirmed_change_is_sent_again_to_those_who_have_not_confirmed_it() -> None:
    a = Machine()
    a.change("x", counted(1, ME), Consistency.ALL)
    a.hear(stored=Stored(process=OWN_PROCESS, sequences=[1]))
    a.tick(0.5)

    sent = [each for each in a.flush() if isinstance(each, Send)]

    assert [each.to for each in sent] == ["c"]
    assert messages(sent, "changes")[0].changes[0].answer


# --- Comparisons ---------------------------------------------------------------------


def test_a_comparison_that_nobody_heard_is_begun_anew_when_the_other_says_so() -> None:
    a = Machine()  # begins one with its process
    a.hear(status=Status(last=0, digest=b"another", compare=True))

    assert len(messages(sent_to("b", a.tick(0.1)), "buckets")) == 1


def test_a_comparison_that_should_have_been_answered_is_begun_anew_at_a_sign_of_life() -> None:
    a = Machine()
    a.hear(status=Status(last=0, digest=b"another"))
    assert messages(sent_to("b", a.tick(0.1)), "buckets") == []
    a.tick(0.4)
    a.hear(status=Status(last=0, digest=b"another"))

    assert len(messages(sent_to("b", a.tick(0.1)), "buckets")) == 1


def test_equal_nodes_compare_nothing() -> None:
    a = Machine()
    a.tick(1.1)
    for _ in range(10):
        done = a.tick(0.5)
        [status] = messages(done, "status")
        a.hear(status=Status(last=0, digest=status.digest))
        assert messages(sent_to("b", done), "buckets") == []
