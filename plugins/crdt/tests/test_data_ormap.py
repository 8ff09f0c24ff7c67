"""A map as a handler sees it."""

from __future__ import annotations

import pytest
from deltas import flag, gcounter, gset, ormap, orset, pncounter, register
from google.protobuf.any_pb2 import Any

from cloudstate_core.anys import AnyError, encode
from cloudstate_crdt.data import (
    Flag,
    GCounter,
    LWWRegister,
    ORMap,
    ORSet,
    PNCounter,
    WrongDelta,
)


def map_of(**entries: object) -> ORMap:
    made = ORMap()
    made.apply(ormap(entries))  # type: ignore[arg-type]
    return made


# --- Done by a handler ---------------------------------------------------------------


def test_a_new_entry_is_sent_with_its_value_even_if_that_is_the_first_one() -> None:
    carts = ORMap()
    carts.get_or_create("zero", PNCounter)
    carts.get_or_create("empty", ORSet)
    carts.get_or_create("count", GCounter).increment(3)
    carts.get_or_create("name", lambda: LWWRegister("x")).set("y")

    assert carts.take_delta() == ormap(
        {"zero": pncounter(0), "empty": orset(), "count": gcounter(3), "name": register("y")}
    )
    carts.get_or_create("zero", PNCounter)
    assert carts.take_delta() is None


def test_an_entry_that_was_there_is_sent_with_its_change() -> None:
    carts = map_of(a=gcounter(1), b=orset("x"), c=flag(False))
    carts["a"].increment(2)
    carts["b"].remove("x")
    carts["b"].add("x")

    assert carts.take_delta() == ormap(updated={"a": gcounter(2)})
    assert carts["a"].value == 3
    assert carts.take_delta() is None


def test_a_map_within_a_map_is_changed_in_place() -> None:
    outer = map_of(inner=ormap({"n": pncounter(123)}))
    outer["inner"]["n"].decrement(456)
    outer["inner"].get_or_create("new", Flag)

    inner = ormap({"new": flag(False)}, {"n": pncounter(-456)})
    assert outer.take_delta() == ormap(updated={"inner": inner})
    assert outer["inner"]["n"].value == -333
    assert outer.take_delta() is None


def test_an_entry_that_was_there_is_sent_as_removed() -> None:
    carts = map_of(a=gcounter(1), b=gcounter(1), c=gcounter(1))
    carts["a"].increment()
    del carts["a"]
    carts.remove("b")
    carts.discard("no")

    assert carts.keys() == ["c"]
    assert carts.take_delta() == ormap(removed="ab")


def test_an_entry_that_is_made_and_removed_was_not_there() -> None:
    carts = ORMap()
    carts.get_or_create("a", GCounter).increment()
    del carts["a"]

    assert carts.take_delta() is None


def test_an_entry_that_is_removed_and_made_again_is_sent_as_both() -> None:
    carts = map_of(a=gcounter(1))
    del carts["a"]
    carts.get_or_create("a", ORSet).add("x")
    assert carts.take_delta() == ormap({"a": orset("x")}, removed="a")

    del carts["a"]
    carts.get_or_create("a", ORSet)
    del carts["a"]
    assert carts.take_delta() == ormap(removed="a")


def test_a_map_that_is_cleared_says_so_and_forgets_what_was_before() -> None:
    carts = map_of(a=gcounter(1), b=gcounter(1))
    del carts["a"]
    carts.get_or_create("c", GCounter)
    carts.clear()
    carts.get_or_create("d", GCounter).increment(123)

    assert carts.take_delta() == ormap({"d": gcounter(123)}, cleared=True)
    assert len(carts) == 1
    empty = ORMap()
    empty.clear()
    assert empty.take_delta() == ormap(cleared=True)


def test_a_map_is_like_a_dict() -> None:
    carts = map_of(a=gcounter(1), b=orset("x"))

    assert "a" in carts
    assert "c" not in carts
    assert None not in carts
    assert len(carts) == 2
    assert list(carts) == ["a", "b"]
    assert carts.get("a") is carts["a"]
    assert carts.get("c") is None
    assert carts.get("c", 7) == 7
    assert [key for key, _ in carts.items()] == carts.keys()
    assert carts.values() == [carts["a"], carts["b"]]
    assert "GCounter(1)" in repr(carts)
    for key in carts.keys():  # noqa: SIM118  # what there was before the loop
        del carts[key]
    assert len(carts) == 0


def test_what_is_not_in_a_map_is_an_error_as_for_a_dict() -> None:
    carts = ORMap()

    with pytest.raises(KeyError, match="a"):
        carts["a"]
    with pytest.raises(KeyError, match="a"):
        del carts["a"]
    with pytest.raises(KeyError, match="a"):
        carts.remove("a")
    with pytest.raises(AnyError, match="found list"):
        carts.get_or_create([], GCounter)
    assert carts.take_delta() is None


def test_an_entry_of_another_type_is_an_error() -> None:
    carts = map_of(a=gcounter(1))

    with pytest.raises(TypeError, match="key 'a': expected a value of type Flag, found a GCounter"):
        carts.get_or_create("a", Flag)
    with pytest.raises(TypeError, match="expected a value of type LWWRegister, found a GCounter"):
        carts.get_or_create("a", lambda: LWWRegister(""))
    with pytest.raises(TypeError, match=r"expected one of Flag, GCounter.*, found 7"):
        carts.get_or_create("b", lambda: 7)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="an LWWRegister begins with a value"):
        carts.get_or_create("b", LWWRegister)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an LWWRegister begins with a value"):
        carts.get_or_create("b", LWWRegister[str])  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="this GCounter is in use already"):
        carts.get_or_create("b", lambda: carts["a"])
    assert carts.take_delta() is None


def test_an_entry_that_was_removed_must_not_be_changed_any_more() -> None:
    carts = map_of(a=gcounter(1), b=ormap({"c": orset("x")}), d=flag(False))
    counter, deep, switch = carts["a"], carts["b"]["c"], carts["d"]
    del carts["a"]
    carts.apply(ormap(removed="b"))
    carts.clear()

    for change in (counter.increment, deep.clear, switch.enable):
        with pytest.raises(RuntimeError, match="this value was removed from its map"):
            change()
    assert counter.value == 1


# --- Done by others ------------------------------------------------------------------


def test_a_map_takes_in_what_other_nodes_do() -> None:
    carts = map_of(a=gcounter(1), b=orset("x"))
    kept = carts["b"]
    carts.apply(ormap({"c": gset("1")}, {"b": orset("y")}, removed="a"))

    assert carts.keys() == ["b", "c"]
    assert carts["b"] is kept
    assert kept == {"x", "y"}
    carts.apply(ormap({"d": flag(True)}, cleared=True))
    assert carts.keys() == ["d"]
    assert carts.take_delta() is None


def test_what_comes_as_added_takes_the_place_of_the_entry() -> None:
    carts = ORMap()
    carts.get_or_create("a", GCounter)
    carts.take_delta()
    carts.apply(ormap({"a": gcounter(42)}))
    carts["a"].increment(7)

    assert carts["a"].value == 49
    assert carts.take_delta() == ormap(updated={"a": gcounter(7)})


def test_a_change_of_an_entry_that_is_not_there_is_left_out() -> None:
    carts = ORMap()
    carts.apply(ormap(updated={"a": gcounter(1)}, removed="b"))

    assert len(carts) == 0


def test_a_change_of_another_type_of_entry_is_refused() -> None:
    carts = map_of(a=gcounter(1))

    with pytest.raises(WrongDelta, match="expected a delta of type 'gcounter', found 'flag'"):
        carts.apply(ormap(updated={"a": flag(True)}))


def test_a_key_of_an_unknown_type_is_an_error_only_to_whoever_looks_at_it() -> None:
    unknown = Any(type_url="type.googleapis.com/no.Such", value=b"x")
    delta = ormap({"a": gcounter(1)})
    delta.ormap.added[0].key.CopyFrom(unknown)
    carts = ORMap()
    carts.apply(delta)
    carts[unknown].increment()

    assert carts.values()[0].value == 2
    taken = carts.take_delta()
    assert taken is not None
    assert taken.ormap.updated[0].key == encode(unknown)
    with pytest.raises(AnyError, match=r"no\.Such"):
        carts.keys()
