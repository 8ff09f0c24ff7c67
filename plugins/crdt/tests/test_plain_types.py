"""Counters, growing sets, flags and votes."""

from __future__ import annotations

import pytest
from kinds_of_values import item

from cloudstate_crdt import (
    Flag,
    GCounter,
    GSet,
    LWWRegister,
    PNCounter,
    Replica,
    StaleReplica,
    Vote,
    WrongType,
)

A, B = Replica("a", 1), Replica("b", 1)


def test_a_counter_counts_what_every_replica_added() -> None:
    counter, other = GCounter(), GCounter()
    counter.increment(A, 3)
    other.increment(B, 4)

    assert counter.join(other) is True
    assert counter.join(other) is False
    assert counter.value == 7


def test_a_counter_does_not_go_down() -> None:
    counter = GCounter()

    with pytest.raises(ValueError, match="0 or more, found -1"):
        counter.increment(A, -1)
    assert counter == GCounter()


def test_an_increment_by_nothing_is_no_change() -> None:
    assert GCounter().increment(A, 0).is_bottom()


def test_a_counter_refuses_what_the_wire_cannot_hold() -> None:
    counter = GCounter()
    counter.increment(A, 2**63 - 1)

    with pytest.raises(ValueError, match="at most"):
        counter.increment(A, 1)
    assert counter.value == 2**63 - 1


def test_a_returned_node_counts_beside_what_it_had_counted() -> None:
    before, after = GCounter(), GCounter()
    before.increment(A, 5)
    after.increment(A._replace(epoch=2), 1)

    after.join(before)

    assert after.value == 6


def test_a_counter_that_shrinks_and_grows() -> None:
    counter = PNCounter()
    deltas = [counter.change(A, 5), counter.change(B, -7), counter.change(A, 0)]

    assert counter.value == -2
    assert deltas[2].is_bottom()


def test_elements_are_compared_by_type_and_bytes() -> None:
    elements = GSet([item("x")])

    assert item("x") in elements
    assert item("y") not in elements
    assert elements.add(item("x")).is_bottom()
    assert [each.value for each in elements.add(item("y"))] == [b"y"]
    assert len(elements) == 2


def test_a_flag_stays_on() -> None:
    flag = Flag()
    delta = flag.enable()

    assert flag.enabled
    assert flag.join(Flag()) is False
    assert delta == flag


def test_another_type_is_refused_and_nothing_changes() -> None:
    counter = GCounter()

    for other in (Flag(enabled=True), PNCounter(), LWWRegister(), "text"):
        with pytest.raises(WrongType, match="expected a state of type 'gcounter'"):
            counter.join(other)
    assert counter.is_bottom()


def test_only_members_are_counted() -> None:
    vote = Vote()
    vote.vote(A, is_for=True)
    vote.vote(B, is_for=True)

    assert vote.votes_for({"a", "b", "c"}) == 2
    assert vote.votes_for({"b", "c"}) == 1


def test_a_voice_can_change_and_the_last_change_stays() -> None:
    vote = Vote()
    deltas = [vote.vote(A, is_for=is_for) for is_for in (True, False, True, False)]
    late = Vote()
    for delta in reversed(deltas):
        late.join(delta)

    assert late == vote
    assert not late.voice_of("a")


def test_the_same_voice_again_is_no_change() -> None:
    vote = Vote()
    vote.vote(A, is_for=True)

    assert vote.vote(A, is_for=True).is_bottom()


def test_a_returned_node_votes_anew_and_its_old_voice_is_refused() -> None:
    vote = Vote()
    old = vote.vote(A, is_for=True)
    vote.vote(A._replace(epoch=2), is_for=False)
    vote.join(old)

    assert not vote.voice_of("a")
    with pytest.raises(StaleReplica, match="epoch 2 or later, found 1"):
        vote.vote(A, is_for=True)
