"""Looking at a copy in part: what is told is what it would be if all of it were looked at."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from random import Random
from typing import Any as AnyType

import pytest
from kinds_of_values import item

from cloudstate_crdt import (
    GCounter,
    GSet,
    Lattice,
    ORMap,
    ORSet,
    PNCounter,
    Replica,
    Vote,
    standard_types,
)
from cloudstate_crdt.items import Segment
from cloudstate_crdt.touched import Touched
from cloudstate_crdt.translation.deltas import (
    advance,
    after,
    catch_up,
    difference,
    is_foreseen,
    portion_of,
    view_of,
    write,
)
from cloudstate_crdt.translation.translation import Portion, View, Viewpoint, Writer
from cloudstate_crdt.viewing import Viewer

TYPES = standard_types()
ME, OTHER = Replica("a", 1), Replica("b", 1)
MEMBERS = ("a", "b")
HERE = Viewpoint("a", MEMBERS)
WRITER = Writer(ME, 1_700_000_000_000)

KEYS = [item("k"), item("l")]


def change(state: AnyType, me: Replica, random: Random) -> AnyType:
    """Change something in a state, in a way that chance says; return the delta."""
    key = random.choice(KEYS)
    match state:
        case GCounter():
            return state.increment(me, random.randint(0, 2))
        case Vote():
            return state.vote(me, is_for=random.random() < 0.5)
        case GSet():
            return state.add(key)
        case ORSet() if random.random() < 0.1:
            return state.clear()
        case ORSet() if random.random() < 0.3:
            return state.remove(key)
        case ORSet():
            return state.add(me, key)
        case _ if random.random() < 0.03:
            return state.clear()
        case _ if random.random() < 0.1:
            return state.remove(key)
        case _:
            # Most often there is one type under a key.
            types = [Vote, ORSet, GSet, ORMap] if random.random() < 0.3 else [GCounter]
            return state.update(me, key, random.choice(types), partial(change, random=random))


class Watched:
    """A copy, one who looks at it, and what the user function has."""

    def __init__(self, type_: type[Lattice]) -> None:
        self.state: AnyType = type_.bottom(TYPES)
        self.elsewhere: AnyType = type_.bottom(TYPES)
        self.viewer = Viewer("a")
        self.known: View | None = None
        self.portions = 0
        self.look(MEMBERS)

    def look(self, members: tuple[str, ...]) -> None:
        viewpoint = Viewpoint("a", members)
        has = view_of(self.state, viewpoint)
        had = deepcopy(self.known)

        seen = self.viewer.look(self.state, members)
        self.known, told = catch_up(self.known, seen)

        self.portions += isinstance(seen, Portion)
        assert self.known == has
        assert told == difference(had, has)

    def command(self, random: Random) -> None:
        """Let the user function make of what it has what a change makes of a state."""
        made = self.state.copy()
        change(made, ME, random)
        delta = difference(view_of(self.state, HERE), view_of(made, HERE))
        if delta is None or self.known != view_of(self.state, HERE):
            return  # it has something else, and would do something else
        had = deepcopy(self.known)

        self.known, foreseen = advance(self.known, delta)

        assert (self.known, foreseen) == (after(had, delta), is_foreseen(had, delta))
        write(self.state, delta, WRITER)

    def read_again(self) -> None:
        """Go on with the copy as the store has it."""
        self.state = self.state.copy()


def run(type_: type[Lattice], seed: int) -> int:
    """Let chance say what happens; return how often a part was looked at."""
    random, watched = Random(seed), Watched(type_)
    steps = {
        "change": lambda: change(watched.state, ME, random),
        "elsewhere": lambda: change(watched.elsewhere, OTHER, random),
        "command": lambda: watched.command(random),
        "join": lambda: watched.state.join(watched.elsewhere),
        "back": lambda: watched.elsewhere.join(watched.state),
        "look": lambda: watched.look(MEMBERS),
        "members": lambda: watched.look(random.choice([("a",), MEMBERS])),
        "read": watched.read_again,
    }
    for name in random.choices([*steps], [6, 6, 6, 4, 2, 4, 1, 1], k=60):
        steps[name]()
    watched.look(MEMBERS)
    return watched.portions


@pytest.mark.parametrize("type_", [GSet, ORSet, ORMap])
def test_what_is_told_of_a_part_is_what_is_told_of_the_whole(type_: type[Lattice]) -> None:
    portions = [run(type_, seed) for seed in range(200)]

    assert sum(portions) > 1_000


# --- The comparison finds what is wrong ----------------------------------------------


def forgets_the_last(touched: Touched) -> None:
    if touched.segments:
        touched.segments.pop()


def test_a_place_that_is_not_noted_is_found() -> None:
    watched = Watched(ORSet)
    for element in (item("x"), item("y")):
        watched.state.add(OTHER, element)
    assert watched.state.store.touched is not None
    forgets_the_last(watched.state.store.touched)

    with pytest.raises(AssertionError):
        watched.look(MEMBERS)


def test_an_element_that_comes_into_a_growing_set_and_is_not_noted_is_found() -> None:
    watched = Watched(GSet)
    watched.state.add(item("x"))
    forgets_the_last(watched.state.touched)

    with pytest.raises(AssertionError):
        watched.look(MEMBERS)


# --- What is looked at ---------------------------------------------------------------


def map_of(count: int, counter: type[Lattice] = GCounter) -> ORMap:
    state = ORMap.bottom(TYPES)
    for number in range(count):
        state.update(OTHER, item(str(number)), counter, lambda value, me: value.increment(me, 1))
    return state


def places(seen: View | Portion) -> set[bytes]:
    assert isinstance(seen, Portion)
    return {key.value for key in seen.places}


def test_only_what_has_changed_since_the_last_time_is_looked_at() -> None:
    state, viewer = map_of(5), Viewer("a")
    first = viewer.look(state, MEMBERS)
    assert isinstance(first, View)
    assert len(first.content) == 5
    assert places(viewer.look(state, MEMBERS)) == set()

    state.remove(item("1"))
    state.update(ME, item("2"), GCounter, lambda value, me: value.increment(me, 1))
    state.update(ME, item("new"), PNCounter, lambda value, me: value.change(me, -1))
    seen = viewer.look(state, MEMBERS)

    assert places(seen) == {b"1", b"2", b"new"}
    assert isinstance(seen, Portion)
    assert {key.value: view and view.content for key, view in seen.places.items()} == {
        b"1": None,
        b"2": 2,
        b"new": -1,
    }
    assert places(viewer.look(state, MEMBERS)) == set()


def test_the_whole_is_looked_at_if_it_is_another_copy_or_others_are_members() -> None:
    state, viewer = map_of(2), Viewer("a")
    viewer.look(state, MEMBERS)

    assert isinstance(viewer.look(state.copy(), MEMBERS), View)
    assert isinstance(viewer.look(state, MEMBERS), View)
    assert isinstance(viewer.look(state, ("a", "b", "c")), View)
    assert isinstance(viewer.look(state, ("c", "b", "a")), Portion)


def test_two_who_look_at_one_copy_both_see_everything() -> None:
    state, one, two = map_of(2), Viewer("a"), Viewer("a")
    one.look(state, MEMBERS)
    two.look(state, MEMBERS)
    state.remove(item("0"))

    for viewer in (two, one):
        known = catch_up(None, view_of(map_of(2), HERE))[0]
        assert catch_up(known, viewer.look(state, MEMBERS))[0] == view_of(state, HERE)


@pytest.mark.parametrize(("size", "at_most"), [(0, 100), (300, 300), (1_200, 1_000)])
def test_what_is_kept_for_one_who_does_not_look_is_bounded(size: int, at_most: int) -> None:
    state, viewer = ORSet.bottom(TYPES), Viewer("a")
    for number in range(size):
        state.add(OTHER, item(str(number)))
    viewer.look(state, MEMBERS)

    for number in range(at_most):
        element = item(f"brief {number}")
        state.add(ME, element)
        state.remove(element)
    assert state.store.touched is not None
    assert len(state.store.touched.segments or ()) == at_most
    state.add(ME, item("x"))
    assert state.store.touched.segments is None
    state.add(ME, item("y"))

    assert isinstance(viewer.look(state, MEMBERS), View)
    assert isinstance(viewer.look(state, MEMBERS), Portion)


def test_a_type_without_keys_is_looked_at_as_a_whole() -> None:
    state, viewer = GCounter(), Viewer("a")
    for total in range(3):
        assert viewer.look(state, MEMBERS) == View("gcounter", total)
        state.increment(ME, 1)


def test_places_may_be_looked_at_where_nothing_is() -> None:
    keys = [Segment.of(key) for key in KEYS]
    for state in (ORMap.bottom(TYPES), ORSet.bottom(TYPES)):
        seen = portion_of(state, keys, HERE)
        assert catch_up(view_of(state, HERE), seen) == (view_of(state, HERE), None)
