"""What type checkers know of what is in a CRDT.

mypy looks at this file, and `assert_type` is for it. Strict mode refuses a `type: ignore` that is
not needed, so each line of `what_checkers_refuse` has to be an error.
"""

from __future__ import annotations

from typing import Any, assert_type

from google.protobuf.wrappers_pb2 import StringValue

from cloudstate.crdt_entity import Crdt, GCounter, GSet, LWWRegister, ORMap, ORSet, Vote


def test_elements_of_sets() -> None:
    for members in (ORSet[str](), GSet[str]()):
        members.add("ann")
        members.update(["joe"])
        assert [assert_type(each, str) for each in members] == ["ann", "joe"]
    elements = ORSet[int]()
    elements |= {1, 2}
    elements -= {2}
    assert assert_type(elements.pop(), int) == 1


def test_values_of_registers() -> None:
    register = assert_type(LWWRegister("first"), LWWRegister[str])
    register.value = "second"
    register.set("third")
    assert assert_type(register.value, str) == "third"
    profile = LWWRegister(StringValue(value="ann"))
    assert assert_type(profile.value, StringValue) == StringValue(value="ann")


def test_keys_and_values_of_maps() -> None:
    counts = ORMap[str, GCounter]()
    assert_type(counts.get_or_create("a", GCounter), GCounter).increment()
    assert [(assert_type(key, str), value.value) for key, value in counts.items()] == [("a", 1)]
    assert_type(counts["a"], GCounter)
    assert_type(counts.get("a"), GCounter | None)
    assert_type(counts.keys(), list[str])
    assert_type(counts.values(), list[GCounter])


def test_maps_of_several_types_know_each_by_what_makes_it() -> None:
    profile = ORMap[str, Crdt]()
    assert_type(profile.get_or_create("visits", GCounter), GCounter).increment()
    friends = assert_type(profile.get_or_create("friends", ORSet[str]), ORSet[str])
    friends.add("joe")
    assert profile.get_or_create("friends", ORSet[str]) is friends
    name = profile.get_or_create("name", lambda: LWWRegister(""))
    assert assert_type(name.value, str) == ""
    assert_type(profile["visits"], Crdt)


def test_maps_within_maps() -> None:
    rooms = ORMap[str, ORMap[str, Vote]]()
    votes = assert_type(rooms.get_or_create("lobby", ORMap), ORMap[str, Vote])
    votes.get_or_create("ann", Vote).vote(is_for=True)
    assert rooms["lobby"]["ann"].votes_for == 1


def test_who_names_no_type_gets_any() -> None:
    def take(members: ORSet, register: LWWRegister, counts: ORMap) -> None:
        members.add("ann")
        register.set(3)
        assert_type(members.pop(), Any)
        assert_type(register.value, Any)
        assert_type(counts.get_or_create("a", GCounter), GCounter)
        assert_type(counts["a"], Any)

    take(ORSet(), LWWRegister(""), ORMap())


def what_checkers_refuse(
    names: ORSet[str], name: LWWRegister[str], counts: ORMap[str, GCounter], any_: ORMap[str, Crdt]
) -> None:
    names.add(3)  # type: ignore[arg-type]
    names.update(["ann"], [4])  # type: ignore[list-item]
    names.discard(3)  # type: ignore[arg-type]
    names |= {3}  # type: ignore[arg-type]
    name.set(3)  # type: ignore[arg-type]
    name.value = 3  # type: ignore[assignment]
    counts.get_or_create("a", ORSet)  # type: ignore[arg-type]
    counts.get_or_create(3, GCounter)  # type: ignore[arg-type]
    counts[3]  # type: ignore[index]
    any_["a"].increment()  # type: ignore[attr-defined]
