"""What a user function is told of a state, and what its deltas do to one."""

from __future__ import annotations

from functools import partial

import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds_of_values import VALUES, item, ormap, ormap_three_deep
from receiving_function import received

from cloudstate.crdt_pb2 import (
    CrdtClock,
    CrdtDelta,
    FlagDelta,
    GCounterDelta,
    GSetDelta,
    LWWRegisterDelta,
    ORMapDelta,
    ORMapEntryDelta,
    ORSetDelta,
    PNCounterDelta,
    VoteDelta,
)
from cloudstate_crdt import (
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
    standard_types,
)
from cloudstate_crdt.translation.deltas import (
    after,
    difference,
    is_foreseen,
    state_type_of,
    view_of,
    whole,
    write,
)
from cloudstate_crdt.translation.faults import BadDelta, Incompatible
from cloudstate_crdt.translation.translation import View, Viewpoint, Writer

TYPES = standard_types()
ME, OTHER = Replica("a", 1), Replica("b", 1)
HERE = Viewpoint("a", ("a", "b", "c"))
NOW_MS = 1_700_000_000_000
WRITER = Writer(ME, NOW_MS)
A, B, C, D = (item(each) for each in "abcd")


def gcounter(increment: int) -> CrdtDelta:
    return CrdtDelta(gcounter=GCounterDelta(increment=increment))


def gset(*added: Any) -> CrdtDelta:
    return CrdtDelta(gset=GSetDelta(added=added))


def orset(*added: Any, removed: tuple[Any, ...] = (), cleared: bool = False) -> CrdtDelta:
    return CrdtDelta(orset=ORSetDelta(cleared=cleared, removed=removed, added=added))


def register(value: Any | None, clock: int = CrdtClock.DEFAULT, custom: int = 0) -> CrdtDelta:
    return CrdtDelta(
        lwwregister=LWWRegisterDelta(value=value, clock=clock, custom_clock_value=custom)
    )


def flag(*, on: bool) -> CrdtDelta:
    return CrdtDelta(flag=FlagDelta(value=on))


def entry(key: Any, delta: CrdtDelta) -> ORMapEntryDelta:
    return ORMapEntryDelta(key=key, delta=delta)


def written(*deltas: CrdtDelta, writer: Writer = WRITER, state: Lattice | None = None) -> Lattice:
    """Return a state to which deltas were applied."""
    if state is None:
        state = state_type_of(deltas[0]).bottom(TYPES)
    for delta in deltas:
        write(state, delta, writer)
    return state


def seen(state: Lattice) -> View:
    return view_of(state, HERE)


# --- A state as a delta --------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "delta"),
    [
        (GCounter(), gcounter(0)),
        (written(gcounter(42)), gcounter(42)),
        (PNCounter(), CrdtDelta(pncounter=PNCounterDelta())),
        (
            written(CrdtDelta(pncounter=PNCounterDelta(change=-3))),
            CrdtDelta(pncounter=PNCounterDelta(change=-3)),
        ),
        (GSet(), gset()),
        (written(gset(B, A)), gset(A, B)),
        (ORSet.bottom(TYPES), orset()),
        (written(orset(B, A)), orset(A, B)),
        (written(register(A, CrdtClock.CUSTOM, 123)), register(A)),
        (written(register(None)), register(Any())),
        (Flag(), flag(on=False)),
        (Flag(enabled=True), flag(on=True)),
        (ORMap.bottom(TYPES), CrdtDelta(ormap=ORMapDelta())),
        (
            Vote({"a": (1, 1), "b": (1, 1), "gone": (1, 1)}),
            CrdtDelta(vote=VoteDelta(self_vote=True, votes_for=2, total_voters=3)),
        ),
    ],
)
def test_a_whole_state_is_told_as_a_delta_from_nothing(state: Lattice, delta: CrdtDelta) -> None:
    told = whole(seen(state))

    assert told == delta
    assert told.WhichOneof("delta") == state.type_name
    assert difference(None, seen(state)) == delta


def test_a_map_is_told_with_all_that_is_in_it() -> None:
    inner = CrdtDelta(ormap=ORMapDelta(added=[entry(C, gcounter(2))]))
    delta = CrdtDelta(ormap=ORMapDelta(added=[entry(A, gset(D)), entry(B, inner)]))

    assert whole(seen(written(delta))) == delta


# --- What has changed ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("had", "has", "delta"),
    [
        (gcounter(2), gcounter(5), gcounter(3)),
        (gcounter(2), gcounter(2), None),
        (
            CrdtDelta(pncounter=PNCounterDelta(change=2)),
            CrdtDelta(pncounter=PNCounterDelta(change=-1)),
            CrdtDelta(pncounter=PNCounterDelta(change=-3)),
        ),
        (gset(A), gset(A, B), gset(B)),
        (orset(A, B, C), orset(B, C, D), orset(D, removed=(A,))),
        (orset(A, B), orset(), orset(cleared=True)),
        # Naming all of it is shorter than naming what went.
        (orset(A, B, C), orset(A), orset(A, cleared=True)),
        (register(A), register(B), register(B)),
        (register(A), register(A, CrdtClock.CUSTOM, 5), None),
        (flag(on=False), flag(on=True), flag(on=True)),
    ],
)
def test_what_has_changed_is_told(had: CrdtDelta, has: CrdtDelta, delta: CrdtDelta | None) -> None:
    assert difference(seen(written(had)), seen(written(has))) == delta


def test_a_map_tells_what_is_gone_what_has_changed_and_what_is_new() -> None:
    state = ORMap.bottom(TYPES)
    for key, type_ in ((A, GCounter), (B, GSet), (C, Flag)):
        state.create(ME, key, type_)
    had = seen(state)
    state.remove(A)
    state.update(OTHER, B, GSet, lambda value, _: value.add(D))
    state.remove(C)
    state.create(OTHER, C, PNCounter)
    state.create(OTHER, D, Flag)

    delta = difference(had, seen(state))

    assert delta is not None
    assert list(delta.ormap.removed) == [A, C]
    assert list(delta.ormap.updated) == [entry(B, gset(D))]
    zero = CrdtDelta(pncounter=PNCounterDelta())
    assert list(delta.ormap.added) == [entry(C, zero), entry(D, flag(on=False))]
    assert not delta.ormap.cleared
    state.clear()
    assert difference(had, seen(state)) == CrdtDelta(ormap=ORMapDelta(cleared=True))


def test_an_entry_that_was_begun_anew_is_told_as_a_new_one() -> None:
    state = written(CrdtDelta(ormap=ORMapDelta(added=[entry(A, gcounter(5))])))
    had = seen(state)
    state.remove(A)
    state.update(OTHER, A, GCounter, lambda value, me: value.increment(me, 1))

    assert difference(had, seen(state)) == CrdtDelta(
        ormap=ORMapDelta(removed=[A], added=[entry(A, gcounter(1))])
    )


def test_any_part_of_a_vote_that_differs_is_told() -> None:
    had = seen(Vote({"b": (1, 1)}))
    told = VoteDelta(self_vote=True, votes_for=2, total_voters=3)

    assert difference(had, seen(Vote({"a": (1, 1), "b": (1, 1)}))) == CrdtDelta(vote=told)
    assert difference(had, seen(Vote({"b": (1, 3)}))) is None


@pytest.mark.parametrize(
    ("had", "has"),
    [
        (gcounter(5), gcounter(4)),
        (gset(A, B), gset(A)),
        (flag(on=True), flag(on=False)),
        (gcounter(0), flag(on=False)),
    ],
)
def test_what_cannot_have_come_from_one_state_is_incompatible(
    had: CrdtDelta, has: CrdtDelta
) -> None:
    with pytest.raises(Incompatible):
        difference(seen(written(had)), seen(written(has)))


def test_a_total_that_no_delta_can_carry_is_incompatible() -> None:
    state = GCounter({Replica(name): 2**63 - 1 for name in "abc"})

    with pytest.raises(Incompatible, match="64 bits"):
        whole(seen(state))
    with pytest.raises(Incompatible, match="64 bits"):
        whole(seen(PNCounter(state)))


# --- What a user function sends ------------------------------------------------------


@pytest.mark.parametrize(
    ("had", "delta", "fault"),
    [
        (None, CrdtDelta(), "none"),
        (None, gcounter(2**63), "at most"),
        (flag(on=True), flag(on=False), "stay on"),
        (None, register(A, 17), "clock"),
        (None, CrdtDelta(ormap=ORMapDelta(added=[entry(A, CrdtDelta())])), "none"),
    ],
)
def test_a_delta_that_the_protocol_does_not_allow_is_refused(
    had: CrdtDelta | None, delta: CrdtDelta, fault: str
) -> None:
    with pytest.raises(BadDelta, match=fault):
        after(None if had is None else seen(written(had)), delta)


def test_a_delta_of_another_type_is_incompatible() -> None:
    with pytest.raises(Incompatible):
        after(seen(GCounter()), flag(on=True))
    with pytest.raises(Incompatible):
        write(GCounter(), flag(on=True), WRITER)


def test_a_count_beyond_what_one_node_can_count_is_refused() -> None:
    state = written(gcounter(2**63 - 1))

    with pytest.raises(BadDelta):
        write(state, gcounter(1), WRITER)
    assert state == GCounter({ME: 2**63 - 1})


def test_a_set_is_cleared_then_removed_from_then_added_to() -> None:
    state = written(orset(A, B, C))

    write(state, orset(B, D, removed=(D, B), cleared=True), WRITER)

    assert {each.value for each in state} == {b"b", b"d"}


def test_a_map_leaves_alone_what_was_removed_or_replaced_meanwhile() -> None:
    update = CrdtDelta(ormap=ORMapDelta(updated=[entry(A, gcounter(1)), entry(B, gcounter(2))]))
    state = ORMap.bottom(TYPES)
    state.create(OTHER, B, Flag)

    write(state, update, WRITER)

    assert seen(state).content == {k: v for k, v in seen(state).content.items() if k.value == b"b"}
    assert state.type_of(B) is Flag


def test_a_flag_that_was_turned_on_meanwhile_stays_on() -> None:
    assert written(flag(on=False), state=Flag(enabled=True)) == Flag(enabled=True)


@pytest.mark.parametrize(
    ("earlier", "delta", "timestamp"),
    [
        (None, register(A), NOW_MS),
        (register(B, CrdtClock.CUSTOM, NOW_MS + 7), register(A), NOW_MS + 8),
        (None, register(A, CrdtClock.REVERSE), -NOW_MS),
        (register(B, CrdtClock.REVERSE), register(A, CrdtClock.REVERSE), -NOW_MS),
        (None, register(A, CrdtClock.CUSTOM, 123), 123),
        (register(B, CrdtClock.CUSTOM, 5), register(A, CrdtClock.CUSTOM_AUTO_INCREMENT, 3), 6),
        (register(B, CrdtClock.CUSTOM, 5), register(A, CrdtClock.CUSTOM_AUTO_INCREMENT, 9), 9),
        # A small number never beats a time, so what was written before stays.
        (register(B), register(A, CrdtClock.CUSTOM, 123), NOW_MS),
    ],
)
def test_a_register_is_dated_as_the_clock_says(
    earlier: CrdtDelta | None, delta: CrdtDelta, timestamp: int
) -> None:
    state = LWWRegister()
    for each in (earlier, delta):
        if each is not None:
            write(state, each, WRITER)

    assert state.timestamp == timestamp


def test_a_register_that_cannot_be_dated_later_is_refused() -> None:
    state = written(register(A, CrdtClock.CUSTOM, 2**63 - 1))

    with pytest.raises(BadDelta, match="64 bits"):
        write(state, register(B), WRITER)


def test_a_user_function_counts_its_own_voice_at_once() -> None:
    yes, no = (CrdtDelta(vote=VoteDelta(self_vote=voice)) for voice in (True, False))
    had = seen(Vote({"b": (1, 1)}))

    assert after(had, yes).content == (True, 2, 3)
    assert after(after(had, yes), yes).content == (True, 2, 3)
    assert after(after(had, yes), no).content == (False, 1, 3)
    assert after(None, yes).content == (True, 1, 1)


# --- Both ways -----------------------------------------------------------------------

CHANGES = {**VALUES, ORMap: st.one_of(ormap(VALUES), ormap_three_deep())}


@st.composite
def histories(draw: st.DrawFn) -> tuple[Lattice, Lattice, Lattice]:
    """A state, what this node has made of it, and what this and another node have."""
    type_ = draw(st.sampled_from(list(CHANGES)))
    state = type_.bottom(TYPES)
    stages = []
    for replicas in ((ME, OTHER), (ME,), (OTHER,)):
        for change in draw(st.lists(CHANGES[type_], max_size=4)):
            change(state, draw(st.sampled_from(replicas)))
        stages.append(state.copy())
    return stages[0], stages[1], stages[2]


@given(histories())
def test_what_is_told_brings_a_user_function_to_the_state(
    history: tuple[Lattice, Lattice, Lattice],
) -> None:
    first, _, last = history
    had, has = seen(first), seen(last)

    delta = difference(had, has)

    assert (delta is None) == (had == has)
    assert received(had, delta) == has
    assert received(None, whole(has)) == has


@given(histories())
def test_a_user_functions_delta_makes_of_the_state_what_the_user_function_has(
    history: tuple[Lattice, Lattice, Lattice],
) -> None:
    # A user function that begins a vote does not know yet how many nodes there are.
    alone = partial(view_of, viewpoint=Viewpoint("a", ("a",)))
    first, second, _ = history
    delta = difference(alone(first), alone(second))
    if delta is None:
        return
    state = first.copy()

    changed = write(state, delta, WRITER)

    assert alone(state) == after(alone(first), delta) == alone(second)
    # What changed is all that another copy needs.
    elsewhere = first.copy()
    elsewhere.join(changed)
    assert elsewhere == state


CLOCKS = st.sampled_from(list(CrdtClock.values()))


def redated(delta: CrdtDelta, clocks: list[int]) -> CrdtDelta:
    """Return a delta whose registers are dated in other ways."""
    if delta.HasField("lwwregister"):
        delta.lwwregister.clock = clocks.pop() if clocks else CrdtClock.DEFAULT
    for each in (*delta.ormap.updated, *delta.ormap.added) if delta.HasField("ormap") else ():
        redated(each.delta, clocks)
    return delta


@given(histories(), st.lists(CLOCKS, max_size=2))
@settings(max_examples=200)
def test_what_a_delta_comes_to_is_foreseen_or_looked_at(
    history: tuple[Lattice, Lattice, Lattice], clocks: list[int]
) -> None:
    first, second, _ = history
    delta = difference(seen(first), seen(second))
    if delta is None:
        return
    had, state = seen(first), first.copy()
    delta = redated(delta, clocks)

    write(state, delta, WRITER)

    if is_foreseen(had, delta):
        assert seen(state) == after(had, delta)


def test_what_only_the_replicas_decide_is_not_foreseen() -> None:
    vote = CrdtDelta(vote=VoteDelta(self_vote=True))
    custom = register(A, CrdtClock.CUSTOM, 1)
    assert is_foreseen(seen(Vote()), vote)
    assert not is_foreseen(None, vote)
    assert is_foreseen(None, register(A))
    assert not is_foreseen(None, custom)
    for inner in (vote, custom):
        assert not is_foreseen(None, CrdtDelta(ormap=ORMapDelta(added=[entry(A, inner)])))
    here = written(CrdtDelta(ormap=ORMapDelta(added=[entry(A, vote)])))
    again = ORMapDelta(removed=[A], added=[entry(A, vote)])
    assert not is_foreseen(seen(here), CrdtDelta(ormap=again))
    assert is_foreseen(seen(here), CrdtDelta(ormap=ORMapDelta(updated=[entry(A, vote)])))


@given(histories(), st.data())
@settings(max_examples=60)
def test_what_is_told_after_a_command_mends_what_it_did_not_know(
    history: tuple[Lattice, Lattice, Lattice], data: st.DataObject
) -> None:
    first, second, _ = history
    delta = difference(seen(first), seen(second))
    if delta is None:
        return
    state = first.copy()
    for change in data.draw(st.lists(CHANGES[type(state)], max_size=4)):
        change(state, OTHER)
    known = after(seen(first), delta)

    write(state, delta, WRITER)
    try:
        correction = difference(known, seen(state))
    except Incompatible:
        # A concurrent removal inside a map has reset a value; the top level never is.
        assert isinstance(state, ORMap)
        raise

    assert received(known, correction) == seen(state)
