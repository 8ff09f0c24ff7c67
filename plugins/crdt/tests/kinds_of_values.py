"""How values of each type are changed, for the laws and the mutants."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from hypothesis import strategies as st

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
    Registry,
    Vote,
    standard_types,
)
from cloudstate_crdt.testing import LatticeLaws, Mutation


def item(name: str) -> Any:
    return Any(type_url="p.cloudstate.io/string", value=name.encode())


ITEMS = st.sampled_from([item("x"), item("y"), Any(type_url="p.cloudstate.io/bytes", value=b"x")])
KEYS = st.sampled_from([item("k"), item("l")])


def gcounter() -> st.SearchStrategy[Mutation[GCounter]]:
    return st.integers(0, 300).map(lambda by: lambda state, me: state.increment(me, by))


def pncounter() -> st.SearchStrategy[Mutation[PNCounter]]:
    return st.integers(-3, 3).map(lambda by: lambda state, me: state.change(me, by))


def gset() -> st.SearchStrategy[Mutation[GSet]]:
    return ITEMS.map(lambda element: lambda state, me: state.add(element))


def orset() -> st.SearchStrategy[Mutation[ORSet]]:
    add = ITEMS.map(lambda element: lambda state, me: state.add(me, element))
    remove = ITEMS.map(lambda element: lambda state, me: state.remove(element))
    return st.one_of(add, add, remove, st.just(lambda state, me: state.clear()))


def flag() -> st.SearchStrategy[Mutation[Flag]]:
    return st.just(lambda state, me: state.enable())


def vote() -> st.SearchStrategy[Mutation[Vote]]:
    return st.booleans().map(lambda is_for: lambda state, me: state.vote(me, is_for=is_for))


def register(clocks: tuple[Clock, ...] = tuple(Clock)) -> st.SearchStrategy[Mutation[LWWRegister]]:
    def write(element: Any, now: int, clock: Clock) -> Mutation[LWWRegister]:
        return lambda state, me: state.set(me, element, now=now, clock=clock)

    return st.builds(write, ITEMS, st.integers(-2, 2), st.sampled_from(clocks))


#: What can be under a key of a map.
VALUES: dict[type[Lattice], st.SearchStrategy[Mutation]] = {
    GCounter: gcounter(),
    PNCounter: pncounter(),
    GSet: gset(),
    ORSet: orset(),
    Flag: flag(),
    Vote: vote(),
    LWWRegister: register(),
}


def ormap(values: dict[type[Lattice], st.SearchStrategy[Mutation]]):
    """Changes of a map whose values are of the types given."""

    def update(key: Any, type_: type[Lattice], change: Mutation) -> Mutation[ORMap]:
        return lambda state, me: state.update(me, key, type_, change)

    types = st.sampled_from(list(values))
    updates = types.flatmap(lambda each: st.builds(update, KEYS, st.just(each), values[each]))
    creates = st.tuples(KEYS, types).map(lambda of: lambda state, me: state.create(me, *of))
    removes = KEYS.map(lambda key: lambda state, me: state.remove(key))
    clears = st.just(lambda state, me: state.clear())
    return st.one_of(updates, updates, updates, creates, removes, clears)


def ormap_three_deep():
    inner = ormap({GCounter: gcounter(), ORSet: orset(), LWWRegister: register()})
    return ormap({ORMap: ormap({ORMap: inner, Flag: flag()}), PNCounter: pncounter()})


class Laws(LatticeLaws[Lattice]):
    """The laws for one of the types here, which subclasses name."""

    __test__ = False

    types: Registry = standard_types()
    type_: type[Lattice]

    def bottom(self) -> Lattice:
        return self.type_.bottom(self.types)

    def look(self, state: Lattice) -> object:
        return look(state)


def look(state: Lattice) -> object:
    """What a user sees of a value, not who wrote it; of a vote, what those say that stay."""
    match state:
        case ORMap():
            return {key.SerializeToString(): look(state.get(key)) for key in state}
        case ORSet() | GSet():
            return {element.SerializeToString() for element in state}
        case Vote():
            return [state.voice_of(node) for node in "bc"]
        case GCounter() | PNCounter() | LWWRegister():
            return getattr(state.value, "value", state.value)
        case Flag():
            return state.enabled
        case _:
            return state.serialize()
