"""The parts of replication that keep account of something, and how much of it they keep."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_changes import item

from cloudstate_crdt import GCounter, GSet, MalformedState, Replica, StateTooLarge
from cloudstate_crdt.replication.digest_tree import BUCKETS, DigestTree
from cloudstate_crdt.replication.parts import Reassembly, split
from cloudstate_crdt.replication.progress import MAX_BEYOND, Progress, ranges_of
from cloudstate_crdt.replication.recent import RecentChanges
from cloudstate_crdt.replication.reports import Reports
from cloudstate_crdt.replication.wire import in_batches
from cloudstate_crdt.replication_pb2 import EntityChange, Part

ME = Replica("a", 1)


# --- Progress ------------------------------------------------------------------------


@given(st.lists(st.integers(1, 30)))
def test_what_has_arrived_is_known_and_the_rest_is_missing(arrived: list[int]) -> None:
    progress = Progress(0, 0.0)
    for sequence in arrived:
        progress.see(sequence)

    asked = [progress.ask(0.0) for _ in range(2)][-1]

    missing = {each for first, last in asked for each in range(first, last + 1)}
    assert missing == set(range(1, max(arrived, default=0))) - set(arrived)
    assert all((each in progress) == (each in arrived) for each in range(1, 31))


def test_what_was_lost_again_is_missing_again() -> None:
    progress = Progress(0, 0.0)
    for sequence in (1, 2, 3):
        progress.see(sequence)
    progress.lose(2)
    progress.ask(0.0)

    assert progress.ask(0.0) == [(2, 2)]
    progress.see(2)
    assert not progress.is_behind


def test_a_gap_with_too_much_beyond_it_is_hopeless() -> None:
    progress = Progress(0, 0.0)
    for sequence in range(2, MAX_BEYOND + 3):
        assert not progress.is_hopeless
        progress.see(sequence)

    assert progress.is_hopeless
    progress.skip(1)
    assert not progress.is_hopeless
    assert progress.up_to == MAX_BEYOND + 2


def test_ranges_put_neighbours_together() -> None:
    assert ranges_of([]) == []
    assert ranges_of([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 7), (9, 10)]


# --- Recent changes ------------------------------------------------------------------


def test_recent_changes_take_no_more_room_than_allowed() -> None:
    recent = RecentChanges(max_changes=3, max_bytes=100)
    for sequence in range(1, 11):
        recent.add(sequence, f"e{sequence}", GCounter({ME: 1}), 10)
    intervals, forgotten = recent.intervals([(1, 10)], 1_000)
    assert ([each.sequences for each in intervals], forgotten) == ([[8], [9], [10]], 7)

    recent.add(11, "long", GCounter({ME: 1}), 200)

    assert recent.intervals([(9, 11)], 1_000) == ([], 11)


def test_one_answer_is_bounded_and_what_it_leaves_out_is_not_forgotten() -> None:
    recent = RecentChanges(max_changes=100, max_bytes=10_000)
    for sequence in range(1, 11):
        recent.add(sequence, f"e{sequence}", GCounter({ME: 1}), 10)

    intervals, forgotten = recent.intervals([(1, 10)], 35)

    assert [each.sequences for each in intervals] == [[1], [2], [3], [4]]
    assert forgotten == 0


def test_what_was_joined_for_an_answer_leaves_what_is_kept_as_it_is() -> None:
    recent = RecentChanges(max_changes=100, max_bytes=10_000)
    first = GSet()
    first.add(item(1))
    second = GSet()
    second.add(item(2))
    recent.add(1, "s", first, 10)
    recent.add(2, "s", second, 10)

    [interval], _ = recent.intervals([(1, 2)], 1_000)

    assert len(interval.change) == 2
    assert (len(first), len(second)) == (1, 1)


# --- Parts ---------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=200), st.integers(1, 50), st.randoms(use_true_random=False))
def test_parts_in_any_order_and_twice_are_the_message(
    message: bytes, size: int, random: Random
) -> None:
    parts = [*split(message, 7, size)] * 2
    random.shuffle(parts)
    reassembly = Reassembly(100_000)

    whole = [reassembly.receive(1, part) for part in parts]

    assert message in whole
    assert set(whole) <= {message, None}


def test_one_unfinished_message_is_kept_and_no_more_than_allowed() -> None:
    reassembly, longer = Reassembly(1_000), Reassembly(300)
    assert longer.receive(1, Part(number=3, index=0, count=2, data=b"c" * 200)) is None
    first, second = split(b"a" * 80, 1, 40), split(b"b" * 80, 2, 40)
    one, other = next(first), [*second]
    assert reassembly.receive(1, one) is None
    assert reassembly.receive(1, other[0]) is None
    assert reassembly.receive(1, other[1]) == b"b" * 80
    # The first message was given up for the second.
    assert reassembly.receive(1, next(first)) is None

    with pytest.raises(StateTooLarge, match="at most 4 parts, found 4294967295"):
        reassembly.receive(1, Part(number=3, index=0, count=2**32 - 1, data=b"c"))
    with pytest.raises(StateTooLarge, match="at most 300 bytes, found 400"):
        longer.receive(1, Part(number=3, index=1, count=2, data=b"c" * 200))
    assert reassembly.receive(1, other[0]) is None


@pytest.mark.parametrize("bad", [Part(index=1, count=1, data=b"x"), Part(count=1), Part(data=b"x")])
def test_what_is_no_part_is_refused(bad: Part) -> None:
    with pytest.raises(MalformedState):
        Reassembly(100).receive(1, bad)


# --- Digests -------------------------------------------------------------------------

DIGESTS = st.dictionaries(st.text(max_size=5), st.binary(min_size=16, max_size=16), max_size=20)


@given(DIGESTS, DIGESTS, st.randoms(use_true_random=False))
def test_trees_are_equal_exactly_if_all_digests_are(
    one: dict[str, bytes], other: dict[str, bytes], random: Random
) -> None:
    first, second = DigestTree(), DigestTree()
    for entity_id, digest in {**other, **one}.items():
        first.set(entity_id, digest)
    for entity_id in other.keys() - one.keys():
        first.set(entity_id, None)
    shuffled = list(one.items())
    random.shuffle(shuffled)
    for entity_id, digest in shuffled:
        second.set(entity_id, digest)

    assert first.root() == second.root()
    assert len(first) == len(one)
    assert first.differing(second.buckets()) == []
    for entity_id, digest in other.items():
        second.set(entity_id, digest)
    assert (first.root() == second.root()) == ({**one, **other} == one)


def test_a_difference_is_in_the_bucket_of_its_entity() -> None:
    one, other = DigestTree(), DigestTree()
    for number in range(1_000):
        one.set(f"e{number}", b"\1" * 16)
        other.set(f"e{number}", b"\1" * 16)
    other.set("e500", b"\2" * 16)

    [number] = one.differing(other.buckets())

    assert "e500" in one.entities(number)
    assert len(one.entities(number)) < 1_000 / BUCKETS * 5


# --- Reports and batches -------------------------------------------------------------


def test_the_same_of_the_same_node_is_reported_from_time_to_time() -> None:
    reports = Reports(10.0)
    made = [reports.report("odd", "b", now_s) for now_s in (0.0, 1.0, 9.9, 10.0)]

    assert [len(each) for each in made] == [1, 0, 0, 1]
    assert made[-1][0].fields["left_out"] == 2
    assert len(reports.report("odd", "c", 1.0)) == 1


@given(st.lists(st.integers(0, 50), max_size=30))
def test_batches_hold_everything_in_order_and_are_no_longer_than_allowed(sizes: list[int]) -> None:
    changes = [EntityChange(entity_id="x" * size) for size in sizes]

    batches = list(in_batches(changes, 60))

    assert [each for batch in batches for each in batch] == changes
    assert all(len(batch) == 1 or sum(e.ByteSize() + 2 for e in batch) <= 60 for batch in batches)
