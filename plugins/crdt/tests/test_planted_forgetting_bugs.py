"""Each way in which forgetting could be wrong breaks a promise in a simulated cluster."""

from __future__ import annotations

import planted_forgetting_bugs as bugs
import pytest
from simulated_changes import item
from simulated_cluster import Cluster, Network
from simulated_copies import REGISTRY, Broken, Operation
from simulated_schedules import Schedule

from cloudstate_crdt import ORSet, Replica
from cloudstate_crdt.replicas import Change, Consistency

#: Every planted bug is found within so many schedules, in each of which writers are forgotten.
SEEDS_PER_BUG = 300


@pytest.mark.parametrize("plant", bugs.PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: bugs.Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    for seed in range(SEEDS_PER_BUG):
        try:
            Schedule(seed, is_forgetting=True).run()
        except Broken:
            return
    pytest.fail(f"not found by {SEEDS_PER_BUG} schedules")


def test_an_element_that_was_removed_and_is_back_is_found() -> None:
    cluster = Cluster(0, 3, Network())
    elements = ORSet.bottom(REGISTRY)

    def has_made(node: str, delta: Change, at_s: float) -> Operation:
        return Operation("e3", node, 1, delta, 0, at_s, Consistency.LOCAL, True, True)

    cluster.made = [
        has_made("a", elements.add(Replica("a", 1), item(1)), 0.0),
        has_made("b", elements.remove(item(1)), 1.0),
        has_made("c", elements.add(Replica("c", 1), item(1)), 20.0),
    ]
    cluster.made[-1].is_adoption = True
    for node in cluster.nodes.values():
        node.stored["e3"] = elements

    with pytest.raises(Broken, match="was removed from e3, and is back"):
        cluster.ledger.expect_nothing_lost()
