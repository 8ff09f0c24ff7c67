"""More nodes than can be known: those that were expelled and given up make room."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

from cloudstate_core.cluster import Members
from cloudstate_runtime.cluster.membership import (
    Heard,
    LeftOut,
    MembershipMachine,
    Ticked,
    Timing,
)
from cloudstate_runtime.cluster.membership_pb2 import Heartbeat, NodeRecord
from cloudstate_runtime.cluster.records import Known, Records, read_records

sys.path.append(str(Path(__file__).parent))

from simulated_members import joined_machine, new_machine, play_with_changing_names


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few nodes can be known, so that some have to make room."""
    monkeypatch.setattr("cloudstate_runtime.cluster.records.MAX_NODES", 8)


def spent(epoch: int) -> Known:
    return Known(epoch, epoch, epoch)


@pytest.mark.usefixtures("few")
def test_the_oldest_that_was_given_up_makes_room_and_members_never_do() -> None:
    records = Records({f"m{epoch}": Known(epoch) for epoch in range(1, 5)})
    for name, known in (("x", Known(1, 1)), ("y", spent(7)), ("z", spent(6)), ("v", spent(8))):
        assert records.join(name, known)

    assert records.join("n", Known(20))
    assert "z" not in records
    assert records.horizon == 6
    # What was dropped does not come back, however it is told; and who is older is dropped at once.
    for known in (spent(6), Known(6), Known(3, 3)):
        assert not records.join("z", known)
    assert not records.join("w", spent(5))
    assert records.join("o", Known(21))
    assert records.join("p", Known(22))
    assert not records.join("q", Known(23))
    assert records.horizon == 8
    assert set(records.members()) == {"m1", "m2", "m3", "m4", "n", "o", "p"}
    assert records.expelled() == {"x": 1}
    # It is given up in the end, too.
    assert records.join("x", spent(1))
    assert "x" not in records


@pytest.mark.usefixtures("few")
def test_what_is_known_is_the_same_in_whatever_order_it_is_learnt_though_there_is_no_room() -> None:
    facts = [(f"n{epoch}", spent(epoch)) for epoch in range(1, 30)]
    facts += [(f"m{epoch}", Known(epoch)) for epoch in range(31, 36)]
    for seed in range(50):
        one, other, random = Records(), Records(), Random(seed)
        for records in (one, other):
            for name, known in random.sample(facts, len(facts)):
                records.join(name, known)
        assert one == other
        assert one.horizon == 26
        assert len(one) == 8


@pytest.mark.usefixtures("few")
def test_a_node_that_made_room_and_is_still_there_has_no_way_back() -> None:
    zombie = joined_machine(1, Records({"a": Known(5)}))
    records = Records({"b": Known(50)})
    records.raise_horizon(5)
    told = Heartbeat(process=9, nodes=records.messages(), horizon=records.horizon)

    (left_out,) = [
        each
        for each in zombie.receive(Heard("b", told.SerializeToString()))
        if isinstance(each, LeftOut)
    ]

    assert left_out.reason == "the cluster does not know it any more"
    other = MembershipMachine("b", records, records.of("b").life, 9, 9, Timing())
    other.receive(Heard("a", zombie._heartbeat()))
    assert set(other.members.epochs) == {"b"}


@pytest.mark.usefixtures("few")
def test_a_node_that_made_room_starts_again_with_a_greater_epoch() -> None:
    machine = new_machine(1, Records({"a": Known(5)}))
    told = Heartbeat(process=9, nodes=[NodeRecord(name="b", epoch=50)], horizon=60)

    machine.receive(Heard("b", told.SerializeToString()))
    machine.receive(Ticked(10.0))

    assert machine.has_joined
    assert machine.node.epoch == 61


def test_what_nodes_have_written_that_made_room_is_still_given_up() -> None:
    machine = joined_machine(70, Records({"x": Known(65, 65), "y": spent(66)}))
    told = Heartbeat(process=9, nodes=[NodeRecord(name="b", epoch=50)], horizon=60)

    machine.receive(Heard("b", told.SerializeToString()))

    members = machine.members
    assert members.have_given_up("made room", 60)
    assert not members.have_given_up("not known yet", 61)
    assert members.have_given_up("y", 66)
    assert not any(members.have_given_up(name, 40) for name in "abx")
    assert not Members({}, frozenset(), {}).have_given_up("made room", 0)


def test_who_hears_of_old_members_and_of_the_horizon_at_once_takes_the_members_in() -> None:
    machine = joined_machine(70)
    told = Heartbeat(process=9, nodes=[NodeRecord(name="b", epoch=50)], horizon=60)

    machine.receive(Heard("b", told.SerializeToString()))

    assert set(machine.members.epochs) == {"a", "b"}
    assert read_records(machine.records.messages(), machine.records.horizon) == machine.records


@pytest.mark.usefixtures("few")
def test_nodes_with_a_new_name_for_every_start_agree_and_nobody_serves_in_a_life_that_is_over() -> (
    None
):
    wrong = {seed: faults for seed in range(10) if (faults := play_with_changing_names(seed))}

    assert wrong == {}


class ForgetsWithoutAHorizon(MembershipMachine):
    """Makes room, and does not remember that it has."""

    def _heartbeat(self, *, asks=False, answers=0):
        self.records.horizon = 0
        return super()._heartbeat(asks=asks, answers=answers)


@pytest.mark.usefixtures("few")
def test_without_a_horizon_lives_that_are_over_come_back() -> None:
    assert any(play_with_changing_names(seed, ForgetsWithoutAHorizon) for seed in range(10))
