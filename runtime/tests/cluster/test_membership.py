"""Who belongs to a cluster: the rules one by one, and many seeded histories."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cloudstate_runtime.cluster.membership import (
    Broadcast,
    Forget,
    Heard,
    MembershipMachine,
    NameTaken,
    Report,
    Send,
    Ticked,
)
from cloudstate_runtime.cluster.membership_pb2 import Heartbeat, NodeRecord
from cloudstate_runtime.cluster.records import MAX_NODES, Known, Records, read_records

sys.path.append(str(Path(__file__).parent))

from simulated_members import SimulatedCluster, cluster_of, joined_machine, new_machine, play


def view(cluster: SimulatedCluster, name: str):
    machine = cluster.nodes[name].machine
    assert machine is not None
    return machine.members


# --- Joining -------------------------------------------------------------------------


def test_nodes_that_start_together_know_each_other_before_any_of_them_serves() -> None:
    cluster = SimulatedCluster(1, "abc")
    for name in "abc":
        cluster.start(name)
    while not list(cluster.serving()):
        cluster.run(0.25)
    cluster.run(0.5)

    for name in "abc":
        assert set(view(cluster, name).epochs) == set("abc")
        assert view(cluster, name).majority == 2


def test_a_node_that_joins_knows_all_members_when_it_begins_to_serve() -> None:
    cluster = cluster_of("abc")
    cluster.nodes["d"] = type(cluster.nodes["a"])("d")
    cluster.start("d")
    while not cluster.nodes["d"].is_serving:
        cluster.run(0.25)

    assert set(view(cluster, "d").epochs) == set("abcd")


def test_a_node_that_hears_nobody_is_alone_after_a_while() -> None:
    cluster = SimulatedCluster(1, "ab")
    cluster.start("a")
    cluster.run(1.75)
    assert not cluster.nodes["a"].is_serving
    cluster.run(0.75)

    assert view(cluster, "a").epochs == {"a": 1_000_000}


def test_a_node_that_restarts_is_the_same_and_knows_its_cluster_though_nobody_answers() -> None:
    cluster = cluster_of("abc")
    before = view(cluster, "a").epochs
    for name in "abc":
        cluster.kill(name)
    cluster.start("a")
    cluster.run(3)

    assert view(cluster, "a").epochs == before
    assert view(cluster, "a").reachable == {"a"}


def test_a_node_that_lost_its_store_takes_a_greater_epoch_even_if_its_clock_went_back() -> None:
    cluster = cluster_of("abc")
    cluster.kill("a")
    cluster.start("a", has_store=False, clock_is_off_s=-500)
    cluster.run(5)

    first, second = cluster.nodes["a"].epochs
    assert second == first + 1
    assert cluster.faults(cluster.known()) == []


# --- Silence and expulsion -----------------------------------------------------------


def test_a_silent_node_is_unreachable_and_stays_a_member() -> None:
    cluster = cluster_of("abc")
    cluster.kill("c")
    cluster.run(4)
    assert view(cluster, "a").reachable == set("abc")
    cluster.run(3)

    assert view(cluster, "a").reachable == set("ab")
    assert set(view(cluster, "a").epochs) == set("abc")
    assert view(cluster, "a").majority == 2


def test_an_expelled_node_stops_and_joins_with_a_greater_epoch_when_it_is_started_again() -> None:
    cluster = cluster_of("abc")
    old = view(cluster, "c").epochs["c"]
    cluster.expel("a", "c")
    cluster.run(2)
    assert cluster.nodes["c"].left_out == "it was expelled from the cluster"
    assert set(view(cluster, "b").epochs) == set("ab")
    assert view(cluster, "b").expelled == {"c": old}

    cluster.start("c")
    cluster.run(5)
    assert view(cluster, "b").epochs["c"] > old
    assert cluster.faults(cluster.known()) == []


def test_a_node_that_was_expelled_while_it_was_away_learns_it_before_it_serves() -> None:
    cluster = cluster_of("abc")
    old = view(cluster, "c").epochs["c"]
    cluster.kill("c")
    cluster.expel("a", "c")
    cluster.run(2)
    cluster.start("c")
    cluster.run(5)

    assert cluster.nodes["c"].epochs[0] == old < cluster.nodes["c"].epochs[1]
    assert not cluster.nodes["c"].left_out


def test_an_expulsion_on_one_side_of_a_partition_reaches_the_other_later() -> None:
    cluster = cluster_of("abc")
    cluster.cut = {frozenset("ac"), frozenset("bc")}
    cluster.run(6)
    cluster.expel("a", "c")
    cluster.run(6)
    assert cluster.nodes["c"].is_serving
    assert view(cluster, "c").majority == 2

    cluster.heal()
    cluster.run(2)
    assert cluster.nodes["c"].left_out


# --- Giving up what was written --------------------------------------------------------


def test_what_an_expelled_node_has_written_is_given_up_and_its_next_life_is_not() -> None:
    cluster = cluster_of("abc")
    old = view(cluster, "c").epochs["c"]
    cluster.expel("a", "c")
    cluster.give("a", Forget("c"))
    cluster.run(2)
    cluster.start("c")
    cluster.run(5)

    for name in "abc":
        assert view(cluster, name).forgotten == {"c": old}
    assert view(cluster, "a").epochs["c"] > old
    assert cluster.faults(cluster.known()) == []


def test_of_a_member_only_what_it_wrote_before_its_present_life_is_given_up() -> None:
    cluster = cluster_of("abc")
    cluster.kill("c")
    cluster.start("c", has_store=False)
    cluster.run(5)
    cluster.give("a", Forget("c"))
    cluster.run(2)

    first, second = cluster.nodes["c"].epochs
    assert first <= view(cluster, "b").forgotten["c"] < second
    assert cluster.nodes["c"].is_serving


def test_a_node_of_an_earlier_release_does_no_harm_to_what_was_given_up() -> None:
    machine = joined_machine(1, Records({"b": Known(5, 5, 5)}))
    earlier = Heartbeat(process=9, nodes=[NodeRecord(name="b", epoch=5, expelled_epoch=5)])

    machine.receive(Heard("c", earlier.SerializeToString()))

    assert machine.members.forgotten == {"b": 5}


def test_records_without_what_was_given_up_are_read() -> None:
    # As they were written before there was such a thing: fields 1 to 3.
    kept = bytes.fromhex("0a01621005" + "1803")

    assert read_records([NodeRecord.FromString(kept)]).items() == [("b", Known(5, 3))]


# --- Two processes of one name -------------------------------------------------------


def asked(machine: MembershipMachine) -> bytes:
    (question,) = [
        each.message for each in machine.receive(Ticked(0.1)) if isinstance(each, Broadcast)
    ]
    return question


def test_a_second_process_of_a_name_is_told_by_the_first_which_goes_on() -> None:
    first, second = joined_machine(1), new_machine(2)

    told = first.receive(Heard("a", asked(second)))

    (answer,) = [each for each in told if isinstance(each, Send) and each.message != b""][-1:]
    assert second.receive(Heard("a", answer.message)) == [NameTaken()] or (
        NameTaken() in second.receive(Heard("a", answer.message))
    )
    assert not first.is_left_out


def test_what_an_earlier_process_of_the_name_sent_is_no_second_process() -> None:
    left_behind = Heartbeat(process=1, nodes=[NodeRecord(name="a", epoch=2)])

    told = joined_machine(2).receive(Heard("a", left_behind.SerializeToString()))

    assert not any(isinstance(each, NameTaken) for each in told)
    assert [each.to for each in told if isinstance(each, Send)] == ["a"]  # a question


def test_two_processes_of_a_name_that_meet_after_a_partition_are_found() -> None:
    same = {"a": Known(5)}
    one, other = joined_machine(1, Records(same)), joined_machine(2, Records(same))

    (heartbeat,) = [e.message for e in one.receive(Ticked(20.0)) if isinstance(e, Broadcast)]
    (question,) = [e for e in other.receive(Heard("a", heartbeat)) if isinstance(e, Send)]
    answers = [e for e in one.receive(Heard("a", question.message)) if isinstance(e, Send)]

    assert NameTaken() in [e for a in answers for e in other.receive(Heard("a", a.message))]


# --- Bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xff",
        Heartbeat(nodes=[NodeRecord(name="b", epoch=1)]).SerializeToString(),
        Heartbeat(process=1, nodes=[NodeRecord(name="b c", epoch=1)]).SerializeToString(),
        Heartbeat(process=1, nodes=[NodeRecord(name="b", epoch=2**63)]).SerializeToString(),
        Heartbeat(
            process=1, nodes=[NodeRecord(name="b", epoch=5, expelled_epoch=4, forgotten_epoch=5)]
        ).SerializeToString(),
    ],
    ids=["empty", "no message", "no process", "no name", "no epoch", "a present life given up"],
)
def test_nonsense_is_reported_and_changes_nothing(message: bytes) -> None:
    machine = joined_machine(1)
    before = machine.members

    (report,) = machine.receive(Heard("b", message))

    assert isinstance(report, Report)
    assert report.what == "heartbeat_not_understood"
    assert machine.members == before


def test_no_more_nodes_than_the_limit_are_known() -> None:
    machine = joined_machine(1)
    for start in range(0, MAX_NODES + 50, 50):
        names = [f"n{number}" for number in range(start, start + 50)]
        many = Heartbeat(process=9, nodes=[NodeRecord(name=name, epoch=1) for name in names])
        told = machine.receive(Heard(names[0], many.SerializeToString()))

    assert len(machine.records) == MAX_NODES
    assert any(isinstance(each, Report) and each.what == "too_many_nodes" for each in told)


def test_what_is_known_is_the_same_in_whatever_order_it_is_learnt() -> None:
    facts = [Known(1), Known(3, 2), Known(2, 3), Known(3, 3, 2), Known(3, 3, 3), Known(4)]
    one, other = Records(), Records()
    for each in facts:
        one.join("a", each)
    for each in (*reversed(facts), *facts):
        other.join("a", each)

    assert one == other
    assert one.of("a") == Known(4, 3, 3)
    assert not one.join("a", Known(4, 1, 2))


# --- Many histories ------------------------------------------------------------------

HISTORIES = 200


def test_every_history_of_a_cluster_ends_in_agreement_and_nobody_is_forgotten() -> None:
    wrong = {seed: faults for seed in range(HISTORIES) if (faults := play(seed))}

    assert wrong == {}


class ForgetsTheSilent(MembershipMachine):
    """Takes out whoever is silent."""

    def receive(self, given):
        done = super().receive(given)
        if isinstance(given, Ticked) and self.has_joined:
            for name in self.records.members().keys() - self.members.reachable:
                self.records.drop(name)
        return done


class TellsOnlyOfItself(MembershipMachine):
    """Passes nothing on that it has heard."""

    def _heartbeat(self, *, asks=False, answers=0):
        whole = Heartbeat.FromString(super()._heartbeat(asks=asks, answers=answers))
        own = [each for each in whole.nodes if each.name == self._name]
        del whole.nodes[:]
        whole.nodes.extend(own)
        return whole.SerializeToString()


class TakesTheExpelledBack(MembershipMachine):
    """Believes an expelled node that says it is there."""

    def _learn(self, told):
        done = super()._learn(told)
        for name, known in self.records.items():
            if name in told and not known.is_member:
                self.records.drop(name)
                self.records.join(name, Known(known.epoch))
        return done


class StartsWithTheOldEpoch(MembershipMachine):
    """Does not take a greater epoch than the one that was expelled."""

    def _epoch_above(self, known):
        return known.epoch or self._unix_time_ms


class GivesUpThePresent(MembershipMachine):
    """Gives up what a member writes now, too."""

    def receive(self, given):
        if isinstance(given, Forget):
            present = self.records.of(given.name).epoch
            self.records.join(given.name, Known(0, forgotten_epoch=present))
        return super().receive(given)


@pytest.mark.parametrize(
    "broken",
    [
        ForgetsTheSilent,
        TellsOnlyOfItself,
        TakesTheExpelledBack,
        StartsWithTheOldEpoch,
        GivesUpThePresent,
    ],
)
def test_a_broken_machine_is_found_out(broken: type[MembershipMachine]) -> None:
    def is_found_out(seed: int) -> bool:
        try:
            return bool(play(seed, broken))
        except ValueError:  # it cannot read what it has written
            return True

    assert any(map(is_found_out, range(40)))
