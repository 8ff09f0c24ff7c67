from __future__ import annotations

import pytest
from kinds_of_values import item

from cloudstate_crdt import (
    Flag,
    GCounter,
    Lattice,
    LWWRegister,
    NestedTooDeep,
    ORMap,
    ORSet,
    Registry,
    Replica,
    UnknownType,
    standard_types,
)
from cloudstate_crdt.types.ormap import MAX_PARTS

TYPES = standard_types()
A, B = Replica("a", 1), Replica("b", 1)
K, L, X = item("k"), item("l"), item("x")


def counted(state: ORMap, me: Replica, by: int = 1, key=K) -> ORMap:
    return state.update(me, key, GCounter, lambda counter, writer: counter.increment(writer, by))


def count_of(state: ORMap, key=K) -> int | None:
    counter = state.get(key)
    assert counter is None or isinstance(counter, GCounter)
    return None if counter is None else counter.value


def both() -> tuple[ORMap, ORMap]:
    return ORMap.bottom(TYPES), ORMap.bottom(TYPES)


def exchange(one: ORMap, other: ORMap) -> None:
    copied = one.copy()
    one.join(other)
    other.join(copied)
    assert one == other


def test_a_map_is_read_like_a_dictionary() -> None:
    state, _ = both()
    counted(state, A, 5)
    state.create(A, L, ORSet)

    assert len(state) == 2
    assert {key.value for key in state} == {b"k", b"l"}
    assert (K in state, X in state) == (True, False)
    assert (state.type_of(K), state.type_of(X)) == (GCounter, None)
    assert (count_of(state), state.get(X)) == (5, None)


def test_counts_of_several_replicas_add_up() -> None:
    one, other = both()
    counted(one, A, 3)
    counted(other, B, 4)
    exchange(one, other)

    assert count_of(one) == 7


def test_a_removed_key_that_returns_begins_anew() -> None:
    one, other = both()
    counted(one, A, 10)
    exchange(one, other)
    one.remove(K)
    counted(one, A, 1)
    exchange(one, other)

    assert count_of(other) == 1


def test_what_a_removal_had_not_seen_survives_by_itself() -> None:
    one, other = both()
    counted(one, A, 10)
    exchange(one, other)
    other.remove(K)
    counted(one, A, 1)
    exchange(one, other)

    assert count_of(one) == 1


def test_old_deltas_bring_nothing_back_under_a_key_that_has_another_type_now() -> None:
    one, other = both()
    old = [counted(one, A, 10), counted(one, A, 1), one.create(A, K, GCounter)]
    one.remove(K)
    one.update(A, K, ORSet, lambda elements, me: elements.add(me, X))
    other.join(one)
    for delta in [*old, *reversed(old)]:
        other.join(delta)

    assert other == one
    assert other.type_of(K) is ORSet
    other.remove(K)
    assert K not in other


def test_of_two_types_under_one_key_all_replicas_see_the_same_and_a_removal_takes_both() -> None:
    one, other = both()
    counted(one, A)
    other.create(B, K, Flag)
    exchange(one, other)

    assert one.type_of(K) is other.type_of(K) is Flag
    assert len(one) == 1
    one.remove(K)
    exchange(one, other)
    assert K not in other


def test_a_removal_reaches_down_to_any_depth() -> None:
    one, other = both()

    def deep(state: ORMap, me: Replica) -> ORMap:
        return state.update(me, K, ORMap, lambda inner, i: inner.update(i, L, ORMap, counted_at_x))

    def counted_at_x(inner: ORMap, me: Replica) -> ORMap:
        return counted(inner, me, 1, X)

    late = deep(one, A)
    exchange(one, other)
    other.remove(K)
    exchange(one, other)
    one.join(late)
    assert K not in one
    deep(one, A)

    innermost = one.get(K).get(L)
    assert count_of(innermost, X) == 1


def test_a_value_that_becomes_empty_keeps_its_key() -> None:
    state, _ = both()
    state.update(A, K, ORSet, lambda elements, me: elements.add(me, X))
    state.update(A, K, ORSet, lambda elements, _: elements.remove(X))

    assert K in state
    assert len(state.get(K)) == 0


def test_however_often_a_value_changes_its_parts_are_few() -> None:
    one, other = both()
    for _ in range(1_000):
        counted(one, A)
    exchange(one, other)

    assert count_of(other) == 1_000
    # One more leaf says that the key is there.
    assert len(one.store.paths) == MAX_PARTS + 1
    other.remove(K)
    counted(one, A)
    exchange(one, other)
    # It went into a part that the removal had seen.
    assert count_of(one) is None


def test_a_write_to_a_register_makes_room_for_itself() -> None:
    one, _ = both()
    for now in range(100):
        one.update(A, K, LWWRegister, lambda register, me, now=now: register.set(me, X, now=now))

    assert len(one.store.paths) == 2


def test_a_map_of_one_key_stays_small_whatever_becomes_of_the_key() -> None:
    one, other = both()
    for _ in range(2_000):
        counted(one, A, 3)
        other.join(one.remove(K))
        other.join(counted(one, A, 2))

    assert other == one
    assert count_of(one) == 2
    assert len(one.serialize()) < 100


def test_a_failed_change_changes_nothing() -> None:
    state, _ = both()
    counted(state, A)
    before = state.serialize()

    with pytest.raises(ValueError, match="0 or more"):
        counted(state, A, -1)
    assert state.serialize() == before


def test_maps_nest_to_a_limit() -> None:
    state, _ = both()

    def deeper(levels: int):
        def change(inner: ORMap, me: Replica) -> ORMap:
            if levels == 0:
                return inner.create(me, K, GCounter)
            return inner.update(me, K, ORMap, deeper(levels - 1))

        return change

    deeper(15)(state, A)
    assert ORMap.parse(state.serialize(), TYPES) == state
    before = state.serialize()
    with pytest.raises(NestedTooDeep, match="at most 16"):
        deeper(16)(state, A)
    assert state.serialize() == before


def test_a_type_that_the_map_does_not_know_is_refused() -> None:
    state = ORMap.bottom(Registry([ORMap, Flag]))

    with pytest.raises(UnknownType, match="'gcounter'"):
        counted(state, A)
    with pytest.raises(UnknownType):
        state.create(A, K, GCounter)
    assert state.is_bottom()


def test_a_value_inside_a_map_is_written_with_its_map() -> None:
    state, _ = both()
    state.create(A, K, ORSet)
    inside: Lattice = state.get(K)

    for attempt in (inside.serialize, inside.copy, lambda: inside.join(ORSet.bottom(TYPES))):
        with pytest.raises(TypeError, match="with its map"):
            attempt()
    assert repr(inside) == "<orset inside a map>"
