"""Each way in which forgetting could be wrong breaks a promise in a simulated cluster."""

from __future__ import annotations

import planted_forgetting_bugs as bugs
import pytest
from simulated_copies import Broken
from simulated_schedules import Schedule

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
