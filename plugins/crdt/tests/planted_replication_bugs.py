"""Ways in which replication could be wrong. A simulation has to find each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import simulated_cluster
import simulated_copies

from cloudstate_core.cluster import Members
from cloudstate_crdt.replicas import Deleted
from cloudstate_crdt.replication.comparison import Comparisons
from cloudstate_crdt.replication.machine import ReplicationMachine
from cloudstate_crdt.replication.progress import Progress
from cloudstate_crdt.replication.recent import Interval
from cloudstate_crdt.replication.station import Peer
from cloudstate_crdt.replication.waiting import Waiting
from cloudstate_crdt.replication.words import Join, Joined

Plant = Callable[[pytest.MonkeyPatch], None]


def no_gap_is_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Progress, "ask", lambda progress, now_s: [])


def a_gap_counts_as_arrived(patch: pytest.MonkeyPatch) -> None:
    see = Progress.see

    def skipping(progress: Progress, sequence: int) -> None:
        see(progress, sequence)
        progress.skip(sequence)

    patch.setattr(Progress, "see", skipping)


def confirmed_before_stored(patch: pytest.MonkeyPatch) -> None:
    join = ReplicationMachine._join

    def hasty(machine: Any, peer: Peer, process: int, written: Any, *more: Any, **kw: Any) -> bool:
        if written.answer:
            peer.stored.setdefault(process, []).extend(written.sequences)
        return join(machine, peer, process, written, *more, **kw)

    patch.setattr(ReplicationMachine, "_join", hasty)


def what_was_not_stored_counts_as_arrived(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ReplicationMachine, "_lost", lambda *unused: None)


def nothing_is_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Comparisons, "buckets_received", lambda *unused: None)


def joins_do_not_change_digests(patch: pytest.MonkeyPatch) -> None:
    settled = ReplicationMachine._join_settled

    def forgetful(machine: Any, given: Any) -> None:
        if isinstance(given, Joined):
            given.has_changed = False
        settled(machine, given)

    patch.setattr(ReplicationMachine, "_join_settled", forgetful)


def what_the_other_lacks_is_not_sent(patch: pytest.MonkeyPatch) -> None:
    differences = Comparisons._differences

    def one_way(comparisons: Any, peer: Peer, entities: Any) -> tuple[list[str], list[str]]:
        return differences(comparisons, peer, entities)[0], []

    patch.setattr(Comparisons, "_differences", one_way)


def what_the_other_is_behind_is_not_returned(patch: pytest.MonkeyPatch) -> None:
    joined = ReplicationMachine._joined

    def keeping(machine: Any, peer: Peer, join: Join) -> None:
        join.digest = b""
        joined(machine, peer, join)

    patch.setattr(ReplicationMachine, "_joined", keeping)


def an_earlier_life_is_heard(patch: pytest.MonkeyPatch) -> None:
    def deaf_to_epochs(machine: Any, sender: str, epoch: int) -> Peer | None:
        return machine._station.peers.get(sender)

    patch.setattr(ReplicationMachine, "_heard", deaf_to_epochs)


def numbers_are_used_again_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(simulated_cluster.Cluster, "process_number", lambda *unused: 1)


def one_too_few_is_a_majority(patch: pytest.MonkeyPatch) -> None:
    stored = Waiting.stored

    def generous(waiting: Waiting, members: Members) -> int:
        return stored(waiting, members) + 1

    patch.setattr(Waiting, "stored", generous)


def a_deletion_gives_way_to_an_earlier_change(patch: pytest.MonkeyPatch) -> None:
    extend = Interval.extend

    def forgiving(interval: Interval, sequence: int, change: Any) -> None:
        kept = interval.change
        extend(interval, sequence, kept if isinstance(change, Deleted) else change)

    patch.setattr(Interval, "extend", forgiving)


def a_deletion_is_not_remembered(patch: pytest.MonkeyPatch) -> None:
    def joined(copy: Any, change: Any) -> tuple[Any, bool]:
        if isinstance(copy, Deleted) and not isinstance(change, Deleted):
            return change.copy(), True
        return REALLY_JOINED(copy, change)

    patch.setattr(simulated_copies, "joined", joined)


REALLY_JOINED = simulated_copies.joined

PLANTED: list[Plant] = [
    no_gap_is_noticed,
    a_gap_counts_as_arrived,
    confirmed_before_stored,
    what_was_not_stored_counts_as_arrived,
    nothing_is_compared,
    joins_do_not_change_digests,
    what_the_other_lacks_is_not_sent,
    what_the_other_is_behind_is_not_returned,
    an_earlier_life_is_heard,
    numbers_are_used_again_after_a_restart,
    one_too_few_is_a_majority,
    a_deletion_gives_way_to_an_earlier_change,
    a_deletion_is_not_remembered,
]
