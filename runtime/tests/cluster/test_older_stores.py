"""A node whose store is older than what the others have heard of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from cloudstate_runtime.cluster.membership import MembershipMachine, Report
from cloudstate_runtime.cluster.records import Known

sys.path.append(str(Path(__file__).parent))

from simulated_members import TIMING, SimulatedCluster, cluster_of


def view_of(cluster: SimulatedCluster, name: str, other: str) -> Known:
    machine = cluster.nodes[name].machine
    assert machine is not None
    return machine.records.of(other)


def with_older_store_of(cluster: SimulatedCluster, name: str) -> Callable[[], None]:
    """Keep a copy of a node's store; let the node go on, and return what puts the copy back."""
    node = cluster.nodes[name]
    kept, life = list(node.kept), node.kept_life
    cluster.run(TIMING.mark_every_s + 2)
    cluster.kill(name)

    def put_back() -> None:
        node.kept, node.kept_life = kept, life

    return put_back


def test_a_node_with_an_older_store_takes_a_greater_epoch_before_it_serves() -> None:
    cluster = cluster_of("abc")
    put_back = with_older_store_of(cluster, "a")
    put_back()
    cluster.start("a")
    cluster.run(5)

    first, second = cluster.nodes["a"].epochs
    assert second > first
    assert cluster.reports == [Report("store_is_older", {"epoch": first})]
    assert cluster.faults(cluster.known()) == []


def test_a_node_with_its_latest_store_goes_on_however_often_it_starts() -> None:
    cluster = cluster_of("abc")
    for _ in range(5):
        with_older_store_of(cluster, "a")
        cluster.start("a")
        cluster.run(5)

    assert len(set(cluster.nodes["a"].epochs)) == 1
    assert cluster.reports == []


def test_a_node_with_an_older_store_that_nobody_told_stops_when_it_hears_of_it() -> None:
    cluster = cluster_of("abc")
    put_back = with_older_store_of(cluster, "a")
    put_back()
    cluster.cut = {frozenset("ab"), frozenset("ac")}
    cluster.start("a")
    cluster.run(3 * TIMING.mark_every_s)
    assert cluster.nodes["a"].is_serving
    cluster.heal()
    cluster.run(3)
    assert cluster.nodes["a"].left_out == "its store is older than what the cluster has heard of it"

    cluster.start("a")
    cluster.run(5)
    assert cluster.nodes["a"].epochs[2] > cluster.nodes["a"].epochs[0]
    assert cluster.faults(cluster.known()) == []


def test_how_far_a_store_has_come_is_told_when_it_is_stored_and_not_before() -> None:
    cluster = cluster_of("ab")
    told = view_of(cluster, "b", "a").mark
    cluster.stores_work = False
    cluster.run(3 * TIMING.mark_every_s)
    assert view_of(cluster, "b", "a").mark == told

    # Nothing was stored, so it is not missed.
    cluster.kill("a")
    cluster.stores_work = True
    cluster.start("a")
    cluster.run(5)
    assert len(set(cluster.nodes["a"].epochs)) == 1
    cluster.run(TIMING.mark_every_s)
    assert view_of(cluster, "b", "a").mark > told


def test_a_node_that_was_left_out_for_a_later_life_of_its_name_takes_another_one() -> None:
    cluster = cluster_of("abc")
    node = cluster.nodes["a"]
    kept, life = list(node.kept), node.kept_life
    cluster.kill("a")
    cluster.start("a", has_store=False)
    cluster.run(5)
    cluster.kill("a")
    # The first store is found again, and nobody answers.
    node.kept, node.kept_life = kept, life
    cluster.cut = {frozenset("ab"), frozenset("ac")}
    cluster.start("a")
    cluster.run(5)
    cluster.heal()
    cluster.run(3)
    assert node.left_out == "the cluster knows a later life of it"

    cluster.start("a")
    cluster.run(5)
    assert node.epochs[3] > node.epochs[1] > node.epochs[0] == node.epochs[2]


class DoesNotMissAnything(MembershipMachine):
    """Goes on with whatever is in its store."""

    def _look_at_itself(self):
        known = self.records.of(self._name)
        self.life = known.life
        return super()._look_at_itself()


def test_without_looking_a_node_with_an_older_store_goes_on_with_its_old_epoch() -> None:
    cluster = SimulatedCluster(1, "abc", DoesNotMissAnything)
    for name in "abc":
        cluster.start(name)
    cluster.run(5)
    put_back = with_older_store_of(cluster, "a")
    put_back()
    cluster.start("a")
    cluster.run(5)

    assert len(set(cluster.nodes["a"].epochs)) == 1
