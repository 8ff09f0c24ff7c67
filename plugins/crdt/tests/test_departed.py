"""Which writers have departed, and how a node forgets them."""

from __future__ import annotations

from itertools import permutations

import pytest
from kinds_of_values import item

from cloudstate_crdt import Flag, GCounter, ORSet, PNCounter, Replica, standard_types
from cloudstate_crdt.departed import RETIRED, Departed, Retired, Trace

A, B = Replica("a", 1), Replica("b", 1)


def counted(**counts: int) -> GCounter:
    """A counter in which `a1=5` says that node a has counted to 5 in epoch 1."""
    return GCounter({Replica(who[0], int(who[1:])): count for who, count in counts.items()})


def test_all_lives_up_to_the_last_have_departed_in_every_strand() -> None:
    departed = Departed({"a": 5})

    assert Replica("a", 5) in departed
    assert Replica("a", 0, strand=7) in departed
    assert Replica("a", 6) not in departed
    assert Replica("b", 1) not in departed
    assert RETIRED not in departed
    assert departed
    assert not Departed()


def test_of_two_that_are_joined_the_later_lives_stay() -> None:
    one, other = Departed({"a": 5, "b": 1}), Departed({"a": 2, "c": 3})

    assert one.joined(other) == other.joined(one) == Departed({"a": 5, "b": 1, "c": 3})
    assert one.joined(Departed()) == one


def test_what_is_not_in_the_other_is_left() -> None:
    wanted = Departed({"a": 5, "b": 1, "c": 0})

    assert wanted.without(Departed({"a": 4, "b": 1})) == Departed({"a": 5, "c": 0})
    assert not wanted.without(wanted)


def test_equal_ones_have_equal_bytes_and_others_have_not() -> None:
    values = [{}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, {"ab": 1}, {"a": 256}]
    written = [Departed(each).serialize() for each in values]

    assert len(set(written)) == len(values)
    assert Departed({"b": 1, "a": 1}).serialize() == Departed({"a": 1, "b": 1}).serialize()
    assert hash(Departed({"b": 1, "a": 1})) == hash(Departed({"a": 1, "b": 1}))


def test_a_generation_is_told_by_who_is_forgotten_and_not_by_how() -> None:
    folded = Retired().retire("a", 5, folds=True)
    stripped = Retired().retire("a", 5, folds=False)
    both = folded.retire("b", 1, folds=True)

    assert Retired().generation == 0
    assert folded.generation == stripped.generation != 0
    assert folded != stripped
    assert both.generation not in {0, folded.generation}
    assert both.generation < 2**64
    in_steps = Retired().retire("a", 1, folds=False).retire("a", 5, folds=True)
    assert in_steps.generation == folded.generation


def test_who_has_no_part_in_it_drops_what_the_others_fold() -> None:
    folding = Retired().retire("a", 1, folds=True).retire("c", 1, folds=False)
    counter = counted(a1=5, b1=2, c1=3)

    assert folding.apply(counter) is True
    assert counter.counts == {RETIRED: 5, B: 2}
    assert folding.apply(counter) is False
    assert Retired().apply(counter) is False


def test_what_others_send_is_stripped_however_this_node_forgot() -> None:
    retired = Retired().retire("a", 1, folds=True)
    sent = counted(a1=5, b1=2)

    assert retired.strip(sent) is True
    assert sent.counts == {B: 2}
    assert retired.strip(sent) is False
    assert Retired().strip(counted(a1=5)) is False


def test_a_copy_that_was_on_disk_goes_through_the_same_steps_as_one_in_memory() -> None:
    # Given up with epoch 1 when this node had no part, and with epoch 3 when it had.
    first = Retired().retire("a", 1, folds=False)
    second = first.retire("a", 3, folds=True)
    in_memory, on_disk = counted(a1=5, a3=2), counted(a1=5, a3=2)

    first.apply(in_memory)
    second.apply(in_memory)
    second.apply(on_disk)

    assert in_memory == on_disk
    assert on_disk.counts == {RETIRED: 2}


def test_steps_of_one_way_are_one_step() -> None:
    retired = Retired().retire("a", 1, folds=True).retire("a", 3, folds=True)

    assert retired == Retired().retire("a", 3, folds=True)
    assert retired.retire("a", 2, folds=False) is retired
    assert hash(retired) == hash(Retired({"a": ((3, True),)}))


@pytest.mark.parametrize("order", list(permutations("abc")))
def test_the_order_in_which_nodes_are_forgotten_does_not_matter(order) -> None:
    retired = Retired()
    for node in order:
        retired = retired.retire(node, 1, folds=node != "b")
    counter = counted(a1=1, b1=2, c1=4, d1=8)

    retired.apply(counter)

    assert counter.counts == {RETIRED: 5, Replica("d", 1): 8}


def test_a_trace_is_of_the_departed_alone_and_of_the_type() -> None:
    departed = Departed({"a": 1})
    counter, more = counted(a1=5), counted(a1=5, b1=3)

    assert Trace.of(counter, departed) == Trace.of(more, departed) != Trace()
    assert Trace.of(counted(a1=6), departed) != Trace.of(counter, departed)
    assert Trace.of(counter, Departed({"b": 1})) == Trace()
    assert Trace.of(PNCounter(counter), departed) != Trace.of(counter, departed)
    assert Trace.of(Flag(enabled=True), departed) == Trace()


def test_a_trace_says_whether_something_is_to_be_taken_over() -> None:
    departed = Departed({"a": 1})
    elements = ORSet.bottom(standard_types())
    elements.add(A, item("x"))

    alive = Trace.of(elements, departed)
    elements.adopt(B, departed)
    taken_over = Trace.of(elements, departed)

    assert alive.must_adopt
    assert not taken_over.must_adopt
    assert b"" != alive.digest != taken_over.digest != b""
