"""Each way in which replication could be wrong breaks a promise in a simulated cluster."""

from __future__ import annotations

import planted_replication_bugs as bugs
import pytest
from simulated_copies import Broken
from simulated_schedules import Schedule

#: Every planted bug is found within so many schedules.
SEEDS_PER_BUG = 150


@pytest.mark.parametrize("plant", bugs.PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: bugs.Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    for seed in range(SEEDS_PER_BUG):
        try:
            Schedule(seed).run()
        except Broken:
            return
    pytest.fail(f"not found by {SEEDS_PER_BUG} schedules")
