"""The machine of one node agrees with others to forget departed writers."""

from __future__ import annotations

import pytest
from forgetting_machine import (
    ALIVE,
    DEPARTED,
    EMPTY,
    FORGOTTEN,
    OF_D,
    D,
    Forgetting,
    kept,
    retirement,
)
from replicating_machine import counted, joins, messages, reports

from cloudstate_core.cluster import Members
from cloudstate_crdt import ORSet, Replica, standard_types
from cloudstate_crdt.departed import Departed, Retired
from cloudstate_crdt.replicas import Consistency
from cloudstate_crdt.replication.words import (
    Adopt,
    Adopted,
    AdoptionFailed,
    Changed,
    Digested,
    Instruction,
    Join,
    Joined,
    Keep,
    KeepFailed,
    Kept,
    LoadDigests,
    Loaded,
    MembersChanged,
    ReadDigests,
    ReadTraces,
    Received,
    ScanTraces,
    Ticked,
    Traced,
)
from cloudstate_crdt.replication_pb2 import (
    Changes,
    Life,
    Message,
    Part,
    Status,
)


@pytest.fixture
def machine() -> Forgetting:
    return Forgetting()


# --- Agreeing ------------------------------------------------------------------------


def test_nothing_is_read_or_said_as_long_as_nobody_is_given_up(machine: Forgetting) -> None:
    done = machine.tick(0.5)

    assert messages(done, "departures") == []
    assert not any(isinstance(each, ScanTraces | ReadTraces) for each in done)


def test_all_copies_are_looked_through_once_somebody_is_given_up(machine: Forgetting) -> None:
    assert ScanTraces(1, DEPARTED) in machine.give_up()


def test_nothing_is_said_before_all_copies_were_looked_through(machine: Forgetting) -> None:
    machine.give_up()
    machine.machine.receive(Traced(1, [("x", OF_D)], is_scan=True))

    assert messages(machine.tick(0.5), "departures") == []


def test_what_is_said_is_repeated_at_every_status(machine: Forgetting) -> None:
    machine.give_up()
    machine.scanned(("x", OF_D))

    assert machine.report() == machine.report()


def test_it_is_decided_when_all_say_the_same(machine: Forgetting) -> None:
    machine.give_up()
    machine.scanned(("x", OF_D))
    said = machine.report()

    assert kept(machine.hear_from("b", said)) == []
    assert kept(machine.hear_from("c", said)) == [FORGOTTEN]


@pytest.mark.parametrize("other", ["view", "digest"])
def test_it_is_not_decided_when_one_says_something_else(machine: Forgetting, other: str) -> None:
    machine.give_up()
    machine.scanned(("x", OF_D))
    said = machine.report()
    machine.hear_from("b", said)
    setattr(said, other, b"another".ljust(16))

    assert kept(machine.hear_from("c", said)) == []


def test_who_is_alone_decides_alone(machine: Forgetting) -> None:
    machine.give_up(a=1)
    machine.scanned(("x", OF_D))

    assert kept(machine.tick(0.5)) == [FORGOTTEN]


def test_traces_do_not_depend_on_the_order_of_copies(machine: Forgetting) -> None:
    machine.give_up()
    machine.scanned(("x", OF_D), ("y", ALIVE), ("z", EMPTY))
    other = Forgetting()
    other.give_up()
    other.machine.receive(Traced(1, [("y", ALIVE)], is_scan=True))
    other.scanned(("x", OF_D))

    assert machine.report() == other.report()


def test_a_view_does_not_come_again_when_a_node_joins_and_is_expelled(machine: Forgetting) -> None:
    machine.give_up()
    machine.scanned()
    before = machine.report()
    machine.give_up(a=1, b=7, c=1, e=1)
    gone = {"d": 2}
    members = Members({"a": 1, "b": 7, "c": 1}, frozenset("abc"), gone | {"e": 1}, gone)
    machine.machine.receive(MembersChanged(members))

    assert machine.report().view != before.view


def test_what_was_read_for_others_is_not_taken_in(machine: Forgetting) -> None:
    machine.give_up()
    machine.give_up(epoch=3)

    machine.scanned(("x", OF_D), number=1)

    assert messages(machine.tick(0.5), "departures") == []


# --- Copies that change --------------------------------------------------------------


def settled(machine: Forgetting, join: Join) -> list[Instruction]:
    return machine.machine.receive(Joined(join, has_changed=True))


def test_a_changed_copy_is_read_again_if_it_has_something_of_them(machine: Forgetting) -> None:
    machine.give_up()
    machine.scanned(("x", OF_D))
    own = Replica("a", 1)
    for entity_id in ("x", "y"):
        changed = Changed(entity_id, counted(1, own), Consistency.LOCAL)
        machine.machine.receive(changed)

    [read] = [each for each in machine.tick(0.1) if isinstance(each, ReadTraces)]

    assert list(read.entity_ids) == ["x"]


def test_a_copy_is_read_again_when_something_of_them_arrives(machine: Forgetting) -> None:
    machine.give_up()
    machine.scanned()
    change = counted(4, D)
    [join] = joins(machine.hear_change(1))
    join.change = change
    settled(machine, join)

    [read] = [each for each in machine.tick(0.1) if isinstance(each, ReadTraces)]

    assert list(read.entity_ids) == ["x"]
    before = machine.report().digest
    machine.machine.receive(Traced(1, [("x", OF_D)]))
    assert machine.report().digest != before


def test_nothing_is_said_while_something_is_stored_that_an_expelled_node_has_sent(
    machine: Forgetting,
) -> None:
    [join] = joins(machine.hear_change(1))
    machine.give_up(a=1, c=1)
    machine.scanned()
    assert messages(machine.tick(0.5), "departures") == []

    settled(machine, join)
    join.change = counted(4, D)
    machine.tick(0.5)
    machine.machine.receive(Traced(1, [("x", OF_D)]))

    assert machine.report().digest


def test_what_an_expelled_node_has_changed_is_read_before_anything_is_said(
    machine: Forgetting,
) -> None:
    machine.give_up()
    machine.scanned()
    [join] = joins(machine.hear_change(1))
    join.change = counted(4, D)
    settled(machine, join)
    machine.give_up(a=1, c=1)

    done = machine.tick(0.5)
    assert messages(done, "departures") == []
    [read] = [each for each in done if isinstance(each, ReadTraces)]
    machine.machine.receive(Traced(read.number, [], unread=["x"]))
    assert messages(machine.tick(0.5), "departures") == []
    machine.machine.receive(Traced(read.number, [("x", OF_D)]))
    assert machine.report().digest


# --- Taking over ---------------------------------------------------------------------


def test_the_first_takes_over_one_after_the_other_when_all_say_the_same(
    machine: Forgetting,
) -> None:
    machine.give_up()
    machine.scanned(("x", ALIVE), ("y", ALIVE))
    said = machine.report()
    assert said.to_adopt == 2

    done = machine.hear_others(said)
    assert [each for each in done if isinstance(each, Adopt)] == [Adopt("x", DEPARTED)]
    assert kept(done) == []

    done = machine.machine.receive(Adopted("x", ORSet.bottom(standard_types())))
    assert Adopt("y", DEPARTED) in done
    assert [each.entity_id for each in messages(machine.flush(), "changes")[0].changes] == ["x"]


def test_others_leave_it_to_the_first(machine: Forgetting) -> None:
    machine.give_up(A=1, a=1)
    machine.scanned(("x", ALIVE))
    said = machine.report()
    message = Message(epoch=1, process=5, departures=said).SerializeToString()

    done = machine.machine.receive(Received("A", message))

    assert not any(isinstance(each, Adopt | Keep) for each in done)


def test_what_could_not_be_taken_over_is_reported_and_tried_again(machine: Forgetting) -> None:
    machine.give_up()
    machine.scanned(("x", ALIVE))
    machine.hear_others(machine.report())

    done = machine.machine.receive(AdoptionFailed("x", "the disk is full"))
    assert reports(done) == ["not_taken_over"]
    machine.tick(0.1)
    machine.machine.receive(Traced(1, [("x", ALIVE)]))

    assert Adopt("x", DEPARTED) in machine.tick(0.5)


# --- Forgetting ----------------------------------------------------------------------


def test_who_has_forgotten_tells_all_and_reads_all_digests_anew(machine: Forgetting) -> None:
    done = machine.have_forgotten()

    [told] = messages(done, "departures")
    [said] = told.retirements
    assert (said.node, said.epoch) == ("d", 2)
    assert {(each.node, each.epoch) for each in said.participants} == {("a", 1), ("b", 7), ("c", 1)}
    assert LoadDigests() in done
    assert reports(done) == ["departed_forgotten"]
    assert messages(machine.tick(0.5), "status") == []


def test_what_could_not_be_kept_is_tried_again_and_nothing_is_forgotten(
    machine: Forgetting,
) -> None:
    machine.give_up()
    machine.scanned()
    machine.hear_others(machine.report())

    done = machine.machine.receive(KeepFailed("the disk is full"))

    assert reports(done) == ["forgetting_not_kept"]
    assert kept(machine.tick(0.1)) == []
    assert kept(machine.tick(0.5)) == [FORGOTTEN]
    assert joins(machine.hear_change(1))


def test_nodes_that_have_not_forgotten_the_same_take_in_nothing_from_each_other(
    machine: Forgetting,
) -> None:
    machine.have_forgotten()
    machine.tick(1.0)

    done = machine.hear_change(1)
    assert joins(done) == []
    [told] = messages(done, "departures")
    assert told.retirements
    assert messages(machine.hear(status=Status(digest=b"x")), "departures") == []
    assert joins(machine.hear_change(1, generation=FORGOTTEN.generation))


def test_a_message_in_parts_counts_as_a_whole(machine: Forgetting) -> None:
    machine.have_forgotten()
    changes = Message(epoch=7, process=55, changes=Changes())
    changes.changes.changes.add(entity_id="x", sequences=[1])
    for generation, is_refused in ((0, False), (FORGOTTEN.generation, True)):
        changes.generation = generation
        written = changes.SerializeToString()
        done = machine.hear(part=Part(number=generation, index=0, count=1, data=written))
        # A change that says nothing is reported if it is looked at.
        assert reports(done) == ["change_refused"] * is_refused


def test_who_took_part_folds_when_told(machine: Forgetting) -> None:
    machine.give_up()

    told = retirement("d", 2, Life(node="a", epoch=1))

    assert kept(machine.hear_from("b", told, generation=9)) == [FORGOTTEN]


@pytest.mark.parametrize("life", [Life(node="a", epoch=2), Life(node="b", epoch=7)])
def test_who_took_no_part_strips(machine: Forgetting, life: Life) -> None:
    machine.give_up()

    done = machine.hear_from("b", retirement("d", 2, life), generation=9)

    assert kept(done) == [Retired().retire("d", 2, folds=False)]


def test_when_nobody_knows_who_took_part_it_may_have(machine: Forgetting) -> None:
    machine.give_up()

    assert kept(machine.hear_from("b", retirement(), generation=9)) == [FORGOTTEN]


def test_a_process_begins_with_what_was_forgotten(machine: Forgetting) -> None:
    machine.have_forgotten()
    restarted = Forgetting(retired=FORGOTTEN)

    assert not any(isinstance(each, ScanTraces) for each in restarted.give_up())
    [told] = messages(restarted.hear_change(1), "departures")
    assert [(each.node, list(each.participants)) for each in told.retirements] == [("d", [])]


def test_who_comes_back_and_goes_again_is_forgotten_again(machine: Forgetting) -> None:
    machine.have_forgotten()

    assert ScanTraces(3, Departed({"d": 5})) in machine.give_up(epoch=5)


def test_digests_that_were_being_read_meanwhile_are_read_again(machine: Forgetting) -> None:
    machine.give_up()
    machine.scanned()
    said = machine.report()
    machine.machine.receive(Changed("x", counted(1), Consistency.LOCAL))
    machine.now_s += 0.5
    done = machine.machine.receive(Ticked(machine.now_s))
    assert ReadDigests(["x"]) in done
    machine.hear_others(said)
    machine.machine.receive(Kept(FORGOTTEN))
    machine.machine.receive(Digested([("x", b"0" * 16)]))
    machine.machine.receive(Loaded())

    machine.now_s += 0.5
    assert ReadDigests(["x"]) in machine.machine.receive(Ticked(machine.now_s))
