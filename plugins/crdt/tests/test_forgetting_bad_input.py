"""What a node that is to forget somebody does with what no good node says."""

from __future__ import annotations

import pytest
from forgetting_machine import (
    DEPARTED,
    FORGOTTEN,
    Forgetting,
    kept,
    retirement,
)
from hypothesis import given
from hypothesis import strategies as st
from replicating_machine import joins, reports

from cloudstate_core.cluster import Members
from cloudstate_crdt.departed import Retired
from cloudstate_crdt.replication.words import (
    Adopt,
    Adopted,
    Keep,
    Kept,
    MembersChanged,
)
from cloudstate_crdt.replication_pb2 import (
    Departures,
    Life,
    Retirement,
)


@pytest.fixture
def machine() -> Forgetting:
    return Forgetting()


@pytest.mark.parametrize(
    "said",
    [
        Departures(view=b"short", digest=b"d" * 16),
        Departures(view=b"v" * 16, digest=b"d" * 100_000),
        Departures(view=b"v" * 16),
        Departures(retirements=[Retirement(node="", epoch=2)]),
        Departures(retirements=[Retirement(node="d" * 256, epoch=2)]),
        Departures(retirements=[Retirement(node="d", participants=[Life(node="")])]),
        Departures(retirements=[Retirement(node="d", epoch=2)] * 100_001),
        Departures(retirements=[Retirement(participants=[Life(node="a", epoch=1)] * 100_000)]),
    ],
    ids=lambda said: f"{said.ByteSize()}_bytes",
)
def test_what_no_node_says_is_refused_and_reported(machine: Forgetting, said: Departures) -> None:
    machine.give_up()
    machine.scanned()

    done = machine.hear_from("b", said, generation=9)

    assert reports(done) == ["message_refused"]
    assert kept(machine.tick(0.5)) == []


@pytest.mark.parametrize(
    "said",
    [
        retirement(node="b", epoch=7),
        retirement(node="a", epoch=2**64 - 1),
        retirement(node="d", epoch=3),
        retirement(node="nobody"),
    ],
    ids=["a_member", "this_node", "more_than_was_given_up", "an_unknown_one"],
)
def test_nobody_is_forgotten_who_was_not_given_up_here(
    machine: Forgetting, said: Departures
) -> None:
    machine.give_up()

    done = machine.hear_from("b", said, generation=9)

    assert kept(done) == []
    assert reports(done) == ["forgotten_elsewhere"]


NAMES = st.sampled_from(["a", "b", "d", "d", "e", ""])
EPOCHS = st.integers(0, 3) | st.integers(0, 2**64 - 1)
LIVES = st.lists(st.builds(Life, node=NAMES, epoch=EPOCHS), max_size=2)
DEPARTURES = st.builds(
    Departures,
    view=st.sampled_from([b"", b"v" * 16, b"v"]),
    digest=st.sampled_from([b"", b"d" * 16]),
    to_adopt=EPOCHS,
    retirements=st.lists(
        st.builds(Retirement, node=NAMES, epoch=EPOCHS, participants=LIVES), max_size=3
    ),
)


@given(st.lists(st.tuples(DEPARTURES, st.sampled_from([0, 9, FORGOTTEN.generation])), max_size=12))
def test_whatever_is_said_nobody_else_is_forgotten_and_the_node_goes_on(
    said: list[tuple[Departures, int]],
) -> None:
    a = Forgetting()
    a.give_up()
    retired = Retired()
    for departures, generation in said:
        done = a.hear_from("b", departures, generation=generation)
        for instruction in [*done, *a.tick(0.3)]:
            match instruction:
                case Keep():
                    retired = instruction.retired
                    a.machine.receive(Kept(retired))
                case Adopt():
                    a.machine.receive(Adopted(instruction.entity_id, None))

    assert not retired.departed.without(DEPARTED)
    assert joins(a.hear_change(1, generation=retired.generation))


def test_what_was_told_before_it_was_given_up_here_is_done_when_it_is_told_again(
    machine: Forgetting,
) -> None:
    assert kept(machine.hear_from("b", retirement(), generation=9)) == []
    machine.give_up()

    assert kept(machine.hear_from("b", retirement(), generation=9))


def test_who_is_known_no_longer_is_forgotten_as_the_others_have(machine: Forgetting) -> None:
    epochs = {"a": 1, "b": 7, "c": 1}
    machine.machine.receive(MembersChanged(Members(epochs, frozenset(epochs), {}, {}, horizon=4)))

    assert kept(machine.hear_from("b", retirement("old", 5), generation=9)) == []
    assert kept(machine.hear_from("b", retirement("old", 4), generation=9))


def test_a_node_that_is_no_member_is_not_heard(machine: Forgetting) -> None:
    machine.give_up(a=1, c=1)
    machine.scanned()
    said = machine.report()

    done = machine.hear_from("b", retirement(), generation=9)

    assert (reports(done), kept(done)) == (["node_not_known"], [])
    assert machine.hear_from("b", said) == []
    assert kept(machine.hear_from("c", said)) == [FORGOTTEN]


def test_an_expelled_node_forgets_nothing(machine: Forgetting) -> None:
    machine.give_up(b=7, c=1)
    machine.tick(0.5)

    assert machine.hear_from("b", retirement(), generation=9) == []
    assert kept(machine.tick(1.0)) == []
