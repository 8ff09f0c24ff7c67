"""A simulated cluster keeps its promises under every schedule."""

from __future__ import annotations

from collections import Counter

import pytest
from simulated_copies import Broken
from simulated_schedules import CONVERGED_WITHIN_S, Schedule

#: A thousand schedules, in tests of a length that stays far below the limit of time.
QUARTERS = [range(first, first + 250) for first in range(0, 1_000, 250)]

#: Each of these has happened more often than once in ten schedules.
FAULTS = ("lost", "duplicated", "partitions", "restarts", "disks lost", "expelled")
FORGETTING = ("given up", "forgotten alike", "adopted", "restarts while forgetting")
REPAIRS = ("sent missing", "sent entities", "sent part", "joins not stored", "waits kept")


@pytest.mark.parametrize("seeds", QUARTERS, ids=lambda seeds: f"from_seed_{seeds.start}")
def test_nodes_converge_and_what_was_confirmed_is_there(seeds: range) -> None:
    counts: Counter[str] = Counter()
    converged_after_s: list[float] = []
    for seed in seeds:
        schedule = Schedule(seed)
        try:
            schedule.run()
        except Broken as broken:
            pytest.fail(f"{broken}\nagain: Schedule({seed}).run()")
        counts.update(schedule.cluster.counts)
        counts["changes"] += len(schedule.cluster.made)
        converged_after_s.append(schedule.converged_after_s)

    for what in (*FAULTS, *FORGETTING, *REPAIRS):
        assert counts[what] > len(seeds) / 10, what
    assert counts["report message_refused"] + counts["report change_refused"] == 0
    assert max(converged_after_s) < CONVERGED_WITHIN_S
    print(promise(counts, sorted(converged_after_s)))


def promise(counts: Counter[str], converged_after_s: list[float]) -> str:
    schedules = len(converged_after_s)
    return (
        f"\nPROMISE P6 network: {schedules} schedules of {counts['changes']} changes,"
        f" {counts['lost']} messages lost, {counts['duplicated']} duplicated,"
        f" {counts['partitions']} partitions, {counts['restarts']} restarts,"
        f" {counts['disks lost']} disks lost, {counts['expelled']} expelled;"
        f" {counts['sent missing']} requests for missing changes,"
        f" {counts['sent buckets']} comparisons, {counts['states read']} states sent;"
        f" {counts['forgotten']} times a node forgot departed writers, {counts['stripped']} of them"
        f" without having taken part, {counts['adopted']} copies taken over before;"
        f" {counts['waits kept']} changes confirmed by others; 0 divergences, 0 lost;"
        f" converged after heal: median {converged_after_s[schedules // 2]:.1f} s,"
        f" p99 {converged_after_s[schedules * 99 // 100]:.1f} s of simulated time; ok"
    )
