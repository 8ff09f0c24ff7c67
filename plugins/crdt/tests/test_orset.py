from __future__ import annotations

import pytest
from kinds_of_values import item

from cloudstate_crdt import DotReused, ORSet, Replica, standard_types

TYPES = standard_types()
A, B, C = (Replica(node, 1) for node in "abc")
X, Y = item("x"), item("y")


def names(elements: ORSet) -> set[str]:
    return {each.value.decode() for each in elements}


def both(*, with_x: bool = False) -> tuple[ORSet, ORSet]:
    one, other = ORSet.bottom(TYPES), ORSet.bottom(TYPES)
    if with_x:
        other.join(one.add(A, X))
    return one, other


def test_an_addition_wins_over_a_removal_that_had_not_seen_it() -> None:
    one, other = both(with_x=True)
    added, removed = one.add(A, X), other.remove(X)

    one.join(removed)
    other.join(added)

    assert one == other
    assert X in one


def test_a_removal_wins_over_the_addition_it_has_seen_whenever_that_arrives() -> None:
    one, other = ORSet.bottom(TYPES), ORSet.bottom(TYPES)
    added = one.add(A, X)
    removed = one.remove(X)

    other.join(removed)
    other.join(added)

    assert X not in other
    assert other == one


def test_clearing_leaves_what_it_had_not_seen() -> None:
    one, other = both(with_x=True)
    added, cleared = one.add(A, Y), other.clear()
    one.join(cleared)
    other.join(added)

    assert names(one) == names(other) == {"y"}


def test_a_delta_holds_only_what_changed() -> None:
    one, _ = both(with_x=True)

    assert names(one.add(B, Y)) == {"y"}
    assert len(one.remove(X)) == 0
    assert one.remove(X).is_bottom()


def test_removals_leave_one_number_for_each_replica() -> None:
    elements = ORSet.bottom(TYPES)
    replicas = (A, B, C)
    for number in range(20_000):
        elements.add(replicas[number % 3], item(str(number % 500)))
        if number >= 100:
            elements.remove(item(str((number - 100) % 500)))

    assert len(elements) == 100
    assert len(elements.store.paths) == 100
    assert len(elements.store.root.children) == 100
    assert set(elements.store.context.up_to) == set(replicas)
    assert elements.store.context.beyond == {}
    # A hundred elements of a few bytes, and three numbers.
    assert len(elements.serialize()) < 100 * 60


def test_a_replica_that_joins_all_deltas_is_as_small() -> None:
    elements, replica = ORSet.bottom(TYPES), ORSet.bottom(TYPES)
    for number in range(2_000):
        replica.join(elements.add(A, item(str(number % 7))))
        replica.join(elements.remove(item(str((number + 3) % 7))))

    assert replica == elements
    assert replica.store.context.beyond == {}
    assert len(replica.store.paths) == len(replica) <= 7


def test_a_node_that_forgot_its_numbers_is_found_out() -> None:
    one, other = both()
    one.add(A, X)
    other.add(A, Y)
    before = one.serialize()

    with pytest.raises(DotReused, match="restart the node with a greater epoch"):
        one.join(other)
    assert one.serialize() == before
