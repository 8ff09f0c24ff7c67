"""Random changes of one entity of each type."""

from __future__ import annotations

from random import Random

from google.protobuf.any_pb2 import Any

from cloudstate_crdt import (
    Clock,
    Flag,
    GCounter,
    GSet,
    Lattice,
    LWWRegister,
    ORMap,
    ORSet,
    PNCounter,
    Replica,
    Vote,
)

TYPES: tuple[type[Lattice], ...] = (
    GCounter,
    PNCounter,
    GSet,
    ORSet,
    LWWRegister,
    Flag,
    Vote,
    ORMap,
)
_IN_MAPS: tuple[type[Lattice], ...] = (GCounter, ORSet, LWWRegister, ORMap, PNCounter)


def item(number: int) -> Any:
    return Any(type_url="p.cloudstate.io/string", value=b"%d" % number)


def change(state: Lattice, me: Replica, random: Random, now_ms: int) -> tuple[Lattice, int]:
    """Change a state; return the delta, and what it adds to a counter."""
    if isinstance(state, GCounter):
        by = random.randint(1, 9)
        return state.increment(me, by), by
    if isinstance(state, PNCounter):
        by = random.choice([-3, -2, -1, 1, 2, 3])
        return state.change(me, by), by
    return _other_change(state, me, random, now_ms), 0


def _other_change(state: Lattice, me: Replica, random: Random, now_ms: int) -> Lattice:
    element = item(random.randrange(4))
    match state:
        case GSet():
            return state.add(element)
        case ORSet():
            if random.random() < 0.4:
                return state.remove(element)
            return state.add(me, element)
        case LWWRegister():
            return state.set(me, element, now=now_ms, clock=random.choice(list(Clock)[:2]))
        case Flag():
            return state.enable()
        case Vote():
            return state.vote(me, is_for=random.random() < 0.5)
        case ORMap():
            return _change_of_map(state, me, random, now_ms)
    raise AssertionError(state)


def _change_of_map(state: ORMap, me: Replica, random: Random, now_ms: int) -> ORMap:
    key = item(random.randrange(2))
    if random.random() < 0.25:
        return state.remove(key)
    type_ = state.type_of(key) or random.choice(_IN_MAPS)
    return state.update(
        me, key, type_, lambda value, writer: change(value, writer, random, now_ms)[0]
    )
