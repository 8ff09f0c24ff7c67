"""The rules of one replicated entity in the runtime: what is shown of a part of its copy."""

from __future__ import annotations

import pytest
from driven_machine import READ, Driven, counter, seen
from kinds_of_values import item
from puppets import reply, update

from cloudstate.crdt_pb2 import CrdtDelta, ORSetDelta
from cloudstate_crdt import ORSet, Replica, standard_types
from cloudstate_crdt.instructions import (
    Committed,
    CopyChanged,
    CopyNotRead,
    CopyRead,
    Send,
)
from cloudstate_crdt.items import Segment
from cloudstate_crdt.translation.translation import Portion, View

A, B, C, D = (item(each) for each in "abcd")


def elements(*items) -> View:
    state = ORSet.bottom(standard_types())
    for each in items:
        state.add(Replica("b"), each)
    return seen(state)


def portion(**places: bool) -> Portion:
    return Portion("orset", {Segment.of(item(key)): there for key, there in places.items()})


def shown(driven: Driven, view: View | Portion) -> CrdtDelta | None:
    assert driven.give(CopyChanged()) == READ
    instructions = driven.give(CopyRead(view))
    if not instructions:
        return None
    (send,) = instructions
    assert isinstance(send, Send)
    return send.message.delta


def test_of_a_part_that_is_shown_the_difference_is_told_and_known() -> None:
    driven = Driven(elements(A, B, C))

    assert shown(driven, portion(b=False, d=True, a=True)) == CrdtDelta(
        orset=ORSetDelta(removed=[B], added=[D])
    )
    assert shown(driven, portion(b=False, d=True)) is None
    assert shown(driven, elements(A, C, D)) is None


def test_what_the_user_function_has_done_itself_is_not_told_with_the_part() -> None:
    driven = Driven(elements(A))
    driven.command(1)
    added = CrdtDelta(orset=ORSetDelta(removed=[A], added=[B]))
    driven.give(Committed(driven.commits(reply(change=update(added))).operation))

    assert shown(driven, portion(a=False, b=True)) is None
    assert shown(driven, elements(B)) is None


def test_a_copy_that_was_not_looked_at_is_looked_at_after_the_command() -> None:
    driven = Driven(elements(A))
    assert driven.machine.may_compare()
    assert driven.give(CopyChanged()) == READ
    driven.command(1)

    assert not driven.machine.may_compare()
    assert driven.give(CopyNotRead()) == ()
    commit = driven.commits(reply())
    assert not driven.machine.may_compare()
    assert driven.give(Committed(commit.operation)) == READ
    assert driven.machine.may_compare()


def test_a_part_is_not_to_be_shown_in_the_middle_of_a_command() -> None:
    driven = Driven(elements(A))
    driven.give(CopyChanged())
    driven.command(1)

    with pytest.raises(AssertionError):
        driven.give(CopyRead(portion(b=True)))


def test_a_part_of_another_type_than_was_known_is_a_crash() -> None:
    for driven in (Driven(), Driven(counter(1))):
        driven.give(CopyChanged())
        driven.crashes(driven.give(CopyRead(portion(a=True))))
