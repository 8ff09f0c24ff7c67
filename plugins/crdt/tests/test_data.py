"""Counters, sets, registers, flags and votes as a handler sees them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from deltas import flag, gcounter, gset, orset, pncounter, register, vote
from google.protobuf.any_pb2 import Any
from puppet.puppet_pb2 import Word

from cloudstate.crdt_pb2 import CrdtDelta, LWWRegisterDelta
from cloudstate_core.anys import AnyError, Json, encode_primitive
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
    WrongDelta,
    crdt_from,
)

MAKES: list[Callable[[], Crdt]] = [
    GCounter,
    PNCounter,
    GSet,
    ORSet,
    lambda: LWWRegister("first"),
    Flag,
    ORMap,
    Vote,
]
each_type = pytest.mark.parametrize("make", MAKES, ids=lambda make: type(make()).__name__)


def orset_of(*values: object) -> ORSet:
    made = ORSet()
    made.apply(orset(values))
    return made


# --- All types -----------------------------------------------------------------------


@each_type
def test_a_new_value_has_changed_nothing_except_for_a_register(make: Callable[[], Crdt]) -> None:
    made = make()

    expected = register("first") if isinstance(made, LWWRegister) else None
    assert made.take_delta() == expected
    assert made.take_delta() is None


@each_type
def test_the_whole_of_a_value_leads_to_the_same_value(make: Callable[[], Crdt]) -> None:
    whole = make().whole()

    found = crdt_from(whole)

    assert type(found) is type(make())
    assert found.whole() == whole
    assert found.take_delta() is None


@each_type
def test_a_delta_for_another_type_is_refused(make: Callable[[], Crdt]) -> None:
    made = make()
    other = gset("a") if isinstance(made, GCounter) else gcounter(1)

    with pytest.raises(WrongDelta, match=f"expected a delta of type '{made.delta_name}', found"):
        made.apply(other)
    with pytest.raises(WrongDelta, match="found None"):
        made.apply(CrdtDelta())


def test_there_is_no_value_of_no_type() -> None:
    with pytest.raises(WrongDelta, match="found one of none"):
        crdt_from(CrdtDelta())


# --- Counters ------------------------------------------------------------------------


def test_what_is_added_to_a_gcounter_is_sent_as_one_sum() -> None:
    counter = GCounter()
    counter.increment(1)
    counter += 2
    counter.increment()

    assert (counter.value, int(counter), repr(counter)) == (4, 4, "GCounter(4)")
    assert counter.take_delta() == gcounter(4)
    counter.apply(gcounter(10))
    assert counter.value == 14
    assert counter.take_delta() is None
    counter.increment(5)
    assert counter.take_delta() == gcounter(5)


def test_adding_nothing_changes_nothing() -> None:
    counter, both_ways = GCounter(), PNCounter()
    counter.increment(0)
    both_ways += 3
    both_ways -= 3

    assert counter.take_delta() is None
    assert both_ways.take_delta() is None


def test_a_gcounter_does_not_shrink() -> None:
    counter = GCounter()

    with pytest.raises(ValueError, match=r"a GCounter cannot shrink.* found -1; a PNCounter can"):
        counter.increment(-1)
    assert counter.take_delta() is None


def test_a_pncounter_grows_and_shrinks() -> None:
    counter = PNCounter()
    counter.increment(1)
    counter.decrement(2)
    counter += 3

    assert counter.value == 2
    assert counter.take_delta() == pncounter(2)
    counter.apply(pncounter(-44))
    counter.decrement()
    assert counter.take_delta() == pncounter(-1)
    assert int(counter) == -43


@pytest.mark.parametrize("by", [1.5, "1", None, True])
@pytest.mark.parametrize("make", [GCounter, PNCounter])
def test_a_counter_counts_in_ints(make: type[GCounter | PNCounter], by: int) -> None:
    with pytest.raises(TypeError, match="expected an int, found"):
        make().increment(by)


def test_a_change_that_no_message_can_hold_is_refused_before_it_is_made() -> None:
    counter, both_ways = GCounter(), PNCounter()
    counter.increment(2**63 - 1)
    both_ways.decrement(2**63)

    with pytest.raises(OverflowError, match="in one command"):
        counter.increment(1)
    with pytest.raises(OverflowError, match="in one command"):
        both_ways.decrement(1)
    assert counter.take_delta() == gcounter(2**63 - 1)
    assert both_ways.take_delta() == pncounter(-(2**63))


# --- Sets ----------------------------------------------------------------------------


def test_a_gset_sends_only_what_is_new() -> None:
    elements = GSet()
    elements.apply(gset("ab"))
    elements.add("b")
    elements.update(["c", "d"], ("a",))

    assert elements == {"a", "b", "c", "d"}
    assert elements.take_delta() == gset("cd")
    elements.apply(gset("de"))
    assert list(elements) == ["a", "b", "c", "d", "e"]
    assert elements.take_delta() is None


@pytest.mark.parametrize("make", [GSet, ORSet])
def test_a_set_is_like_a_set(make: type[GSet | ORSet]) -> None:
    elements = make()
    elements.update("ab")

    assert "a" in elements
    assert "c" not in elements
    assert None not in elements
    assert len(elements) == 2
    assert elements == {"a", "b"}
    assert elements != {"a"}
    assert elements < {"a", "b", "c"}
    assert elements.isdisjoint({"c"})
    assert elements & {"a"} == {"a"}
    assert elements | {"c"} == {"a", "b", "c"}
    assert elements - {"a"} == {"b"}
    assert repr(elements) == f"{make.__name__}(['a', 'b'])"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "text",
        b"bytes",
        0,
        -1,
        2.5,
        True,
        Word(text="message"),
        Json("j", {"b": [1]}),
    ],
    ids=repr,
)
def test_an_element_may_be_whatever_can_be_packed(value: object) -> None:
    elements = ORSet()
    elements.add(value)
    elements.add(value)

    assert list(elements) == [value]
    assert value in elements
    assert elements.take_delta() == orset([value])
    elements.discard(value)
    assert len(elements) == 0


def test_elements_are_told_apart_by_type() -> None:
    elements = GSet()
    elements.update([1, True, 1.0, encode_primitive("int32", 1)])

    assert len(elements) == 4


def test_what_cannot_be_packed_is_refused() -> None:
    for make in (GSet, ORSet):
        elements = make()
        with pytest.raises(AnyError, match="found list"):
            elements.add([])
        assert elements.take_delta() is None
    ORSet().discard([])


def test_an_element_of_an_unknown_type_is_an_error_only_to_whoever_looks_at_it() -> None:
    unknown = Any(type_url="type.googleapis.com/no.Such", value=b"x")
    elements = orset_of(unknown, "a")
    elements.add("b")

    assert unknown in elements
    assert len(elements) == 3
    assert elements.take_delta() == orset(["b"])
    with pytest.raises(AnyError, match=r"no\.Such"):
        list(elements)
    assert "no.Such" in repr(elements)


def test_a_set_must_not_change_while_it_is_iterated_over() -> None:
    elements = orset_of("a", "b")

    with pytest.raises(RuntimeError, match="changed"):
        deque(map(elements.remove, elements))


def test_an_orset_sends_what_was_put_in_and_what_was_taken_out() -> None:
    elements = orset_of("a", "b", "c")
    elements.remove("b")
    elements.discard("d")
    elements.add("e")
    elements |= {"a", "f"}

    assert elements == {"a", "c", "e", "f"}
    assert elements.take_delta() == orset("ef", "b")


def test_what_is_put_in_and_taken_out_again_was_not_there() -> None:
    elements = orset_of("a")
    elements.add("b")
    elements.remove("b")

    assert elements.take_delta() is None


def test_what_is_taken_out_and_put_back_was_always_there() -> None:
    elements = orset_of("a", "b")
    elements.remove("a")
    elements.add("a")

    assert elements.take_delta() is None


def test_a_set_that_is_cleared_says_so_even_if_it_is_empty() -> None:
    elements = ORSet()
    elements.clear()
    assert elements.take_delta() == orset(cleared=True)

    elements.add("a")
    elements.clear()
    elements.add("x")
    assert elements == {"x"}
    assert elements.take_delta() == orset("x", cleared=True)
    assert elements.take_delta() is None


def test_the_last_element_is_taken_out_alone_so_that_an_unknown_one_stays() -> None:
    elements = orset_of("a")
    elements.remove("a")

    assert elements.take_delta() == orset(removed="a")


def test_taking_out_what_is_not_there_is_an_error_as_for_a_set() -> None:
    elements = orset_of("a")

    with pytest.raises(KeyError, match="b"):
        elements.remove("b")
    assert elements.pop() == "a"
    with pytest.raises(KeyError):
        elements.pop()


def test_an_orset_takes_in_what_other_nodes_do() -> None:
    elements = orset_of("a", "b")
    elements.apply(orset("cd", "a"))
    assert elements == {"b", "c", "d"}

    elements.apply(orset("x", cleared=True))
    assert elements == {"x"}
    elements.apply(orset(removed="y"))
    assert elements.take_delta() is None


# --- Register ------------------------------------------------------------------------


def test_a_register_sends_its_last_value() -> None:
    cell = LWWRegister("")
    cell.set("one")
    cell.value = "two"

    assert cell.value == "two"
    assert cell.take_delta() == register("two")
    cell.set("two")
    assert cell.take_delta() is None


def test_what_comes_from_elsewhere_takes_the_place_of_the_first_value() -> None:
    cell = LWWRegister("")
    cell.apply(register("one"))

    assert cell.value == "one"
    assert cell.take_delta() is None


@pytest.mark.parametrize(
    ("clock", "number"),
    [(Clock.REVERSE, None), (Clock.CUSTOM, 123), (Clock.CUSTOM_AUTO_INCREMENT, -456)],
)
def test_a_write_with_a_clock_is_one_even_of_the_same_value(
    clock: Clock, number: int | None
) -> None:
    cell = LWWRegister("A")
    cell.take_delta()

    cell.set("A", clock=clock, custom_clock=number)

    assert cell.take_delta() == register("A", int(clock), number or 0)
    made = LWWRegister("A", clock=clock, custom_clock=number)
    assert made.take_delta() == register("A", int(clock), number or 0)


def test_a_number_goes_with_a_custom_clock_alone() -> None:
    cell = LWWRegister("A")

    with pytest.raises(ValueError, match="clock REVERSE: expected no custom_clock, found 1"):
        cell.set("B", clock=Clock.REVERSE, custom_clock=1)
    with pytest.raises(ValueError, match="clock CUSTOM: expected custom_clock, found none"):
        cell.set("B", clock=Clock.CUSTOM)
    with pytest.raises(ValueError, match="64 bits"):
        cell.set("B", clock=Clock.CUSTOM, custom_clock=2**63)
    with pytest.raises(ValueError, match="9 is not a valid Clock"):
        cell.set("B", clock=9)  # type: ignore[arg-type]
    assert cell.value == "A"


def test_a_message_in_a_register_is_a_copy() -> None:
    word = Word(text="a")
    cell = LWWRegister(word)
    word.text = "b"
    cell.value.text = "c"

    assert cell.value == Word(text="a")
    with pytest.raises(AnyError, match="found NoneType"):
        cell.set(None)


def test_a_register_of_another_language_may_have_no_value() -> None:
    cell = crdt_from(CrdtDelta(lwwregister=LWWRegisterDelta()))

    assert isinstance(cell, LWWRegister)
    assert cell.value is None
    assert repr(cell) == "LWWRegister('', b'')"


# --- Flag ----------------------------------------------------------------------------


def test_a_flag_is_turned_on_once() -> None:
    switch = Flag()
    assert not switch
    switch.enabled = False
    assert switch.take_delta() is None

    switch.enable()
    switch.enabled = True
    assert switch.enabled
    assert switch.take_delta() == flag(True)
    switch.enable()
    assert switch.take_delta() is None


def test_a_flag_cannot_be_turned_off() -> None:
    switch = Flag()
    switch.apply(flag(True))
    switch.apply(flag(False))

    with pytest.raises(ValueError, match="a Flag cannot be turned off"):
        switch.enabled = False
    assert switch.enabled
    assert repr(switch) == "Flag(True)"


# --- Vote ----------------------------------------------------------------------------


def test_a_vote_counts_ones_own_voice_at_once_and_sends_nothing_else() -> None:
    poll = Vote()
    poll.vote(True)
    assert (poll.self_vote, poll.votes_for, poll.total_voters) == (True, 1, 1)
    assert poll.is_unanimous()
    assert poll.take_delta() == vote(True)

    poll.apply(vote(True, 4, 7))
    poll.vote(False)
    assert (poll.self_vote, poll.votes_for, poll.total_voters) == (False, 3, 7)
    assert not poll.is_majority()
    assert repr(poll) == "Vote(False, 3 of 7)"
    assert poll.take_delta() == vote(False)


def test_whoever_changes_their_mind_twice_has_not_voted() -> None:
    poll = Vote()
    poll.vote(True)
    poll.vote(False)
    assert poll.take_delta() is None

    poll.apply(vote(True, 2, 3))
    poll.vote(True)
    assert poll.take_delta() is None
    with pytest.raises(TypeError, match="expected a bool, found 1"):
        poll.vote(1)  # type: ignore[arg-type]
