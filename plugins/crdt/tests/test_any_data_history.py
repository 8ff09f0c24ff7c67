"""Whatever handlers and other nodes do: the runtime and the user function have the same state.

The runtime is modelled by its own view of what a user function has.
"""

from __future__ import annotations

from typing import Any as AnyType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloudstate_core.anys import encode
from cloudstate_crdt.data import (
    Clock,
    Crdt,
    Flag,
    GCounter,
    GSet,
    LWWRegister,
    ORMap,
    ORSet,
    PNCounter,
    Vote,
    crdt_from,
)
from cloudstate_crdt.items import Segment
from cloudstate_crdt.translation.deltas import after, difference, whole
from cloudstate_crdt.translation.single_values import Tally
from cloudstate_crdt.translation.translation import View

MAKES: list[AnyType] = [
    GCounter,
    PNCounter,
    GSet,
    ORSet,
    lambda: LWWRegister("first"),
    Flag,
    Vote,
    ORMap,
]

#: One command: what is done in it, as numbers; and whether another node does it.
Commands = list[tuple[bool, list[int]]]
commands = st.lists(
    st.tuples(st.booleans(), st.lists(st.integers(0, 10_000), max_size=6)), max_size=8
)


def do(value: AnyType, number: int) -> None:
    """Change a value somehow."""
    rest, choice = divmod(number, 8)
    match value:
        case GCounter():
            value.increment(choice)
        case PNCounter():
            value.increment(choice - 3)
        case GSet():
            value.add(choice)
        case ORSet() if choice == 0:
            value.clear()
        case ORSet():
            (value.add if choice < 5 else value.discard)(rest % 4)
        case LWWRegister():
            value.set(rest % 3, clock=Clock(choice % 2))
        case Flag():
            value.enable()
        case Vote():
            value.vote(choice % 2 == 0)
        case ORMap() if choice == 0:
            value.clear()
        case ORMap() if choice == 1:
            value.discard(rest % 3)
        case ORMap():
            key, rest = rest % 3, rest // 3
            if key not in value:
                value.get_or_create(key, MAKES[rest % len(MAKES)])
            else:
                do(value[key], rest)


def view_of(value: AnyType) -> View:
    """What a handler sees, as the runtime would put it."""
    content: object
    match value:
        case GCounter() | PNCounter():
            content = value.value
        case GSet() | ORSet():
            content = frozenset(Segment.of(encode(each)) for each in value)
        case LWWRegister():
            content = Segment.of(encode(value.value))
        case Flag():
            content = value.enabled
        case Vote():
            content = Tally(value.self_vote, value.votes_for, value.total_voters)
        case _:
            content = {Segment.of(encode(key)): view_of(each) for key, each in value.items()}
    return View(value.delta_name, content)


def run(make: AnyType, history: Commands) -> None:
    """Carry out commands here and elsewhere, and compare after each."""
    value: Crdt = make()
    known: View | None = None
    for is_elsewhere, numbers in history:
        if is_elsewhere and known is not None:
            elsewhere = crdt_from(whole(known))
            for number in numbers:
                do(elsewhere, number)
            told = difference(known, view_of(elsewhere))
            known = view_of(elsewhere)
            if told is not None:
                value.apply(told)
        else:
            for number in numbers:
                do(value, number)
            sent = value.take_delta()
            if sent is not None:
                known = after(known, sent)
        assert value.pending() is None
        assert known is None or view_of(value) == known


@pytest.mark.parametrize("make", MAKES, ids=lambda make: type(make()).__name__)
@given(commands)
@settings(max_examples=60, deadline=None)
def test_the_runtime_has_what_the_handler_sees(make: AnyType, history: Commands) -> None:
    run(make, history)


@given(commands)
@settings(max_examples=250, deadline=None)
@example([(False, [2]), (False, [1, 2])])
def test_the_runtime_has_what_the_handler_sees_of_a_map(history: Commands) -> None:
    run(ORMap, history)


# --- The comparison finds what is wrong ----------------------------------------------


class _ForgetsRemovals(ORSet):
    """Tells nobody what was taken out."""

    def discard(self, value: object) -> None:
        super().discard(value)
        self._removed.clear()


class _MixesUpNewAndOld(ORMap):
    """Sends new entries as if they had been there."""

    def get_or_create(self, key: object, make: AnyType) -> AnyType:
        made = super().get_or_create(key, make)
        self._touched.update(self._new)
        self._new.clear()
        return made


@pytest.mark.parametrize(
    ("broken", "history"),
    [
        (_ForgetsRemovals, [(False, [1, 9]), (False, [5])]),
        (_MixesUpNewAndOld, [(False, [2, 8 * 3 + 2])]),
    ],
)
def test_a_type_that_forgets_something_is_found(broken: AnyType, history: Commands) -> None:
    with pytest.raises(AssertionError):
        run(broken, history)
