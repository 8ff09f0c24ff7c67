"""What is written of a copy: as much as the change, and the whole now and then."""

from __future__ import annotations

import kinds_of_values as kinds
import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st
from kinds_of_values import item

from cloudstate_core.errors import CorruptState
from cloudstate_core.store import MAX_AMENDMENTS, AmendValue, PutValue, StoredValue
from cloudstate_crdt import (
    Flag,
    GCounter,
    Lattice,
    ORMap,
    ORSet,
    Replica,
    StateTooLarge,
    standard_types,
)
from cloudstate_crdt.replicas import DELETED, digest_of
from cloudstate_crdt.stored_form import AMENDED_FROM_BYTES, Extent, StoredForm
from cloudstate_crdt.testing.histories import steps

TYPES = standard_types()
ME, OTHER = Replica("a", 1), Replica("b", 1)
FORM = StoredForm(TYPES, 1 << 20)


class Kept:
    """What a store would have of one copy."""

    def __init__(self, form: StoredForm = FORM) -> None:
        self.form = form
        self.stored = StoredValue(0, None)
        self.extent: Extent | None = None
        self.writes: list[PutValue | AmendValue] = []

    def grow(self, copy: Lattice, change: Lattice) -> None:
        write, self.extent = self.form.write_grown(copy, change, self.extent, self.stored.revision)
        self.take(write)

    def take(self, write: PutValue | AmendValue) -> None:
        assert write.expected_revision == self.stored.revision
        revision = self.stored.revision + 1
        if isinstance(write, PutValue):
            self.stored = StoredValue(revision, write.value)
        else:
            amendments = (*self.stored.amendments, write.amendment)
            self.stored = StoredValue(revision, self.stored.value, amendments)
        self.writes.append(write)

    def written_bytes(self) -> int:
        return sum(
            len((each.value if isinstance(each, PutValue) else each.amendment).value)
            for each in self.writes
        )


def large_set(count: int = 200) -> ORSet:
    elements = ORSet.bottom(TYPES)
    for number in range(count):
        elements.add(ME, item(f"element-{number}"))
    return elements


def test_a_small_change_of_a_large_copy_is_stored_by_itself() -> None:
    kept, copy = Kept(), large_set()
    kept.grow(copy, copy)
    for number in range(20):
        kept.grow(copy, copy.add(ME, item(f"more-{number}")))

    assert [type(each) for each in kept.writes] == [PutValue, *[AmendValue] * 20]
    read, extent = FORM.read("e", kept.stored)
    assert read == copy
    assert extent == kept.extent
    assert FORM.digest("e", kept.stored) == digest_of(copy)


def test_what_is_written_grows_with_the_changes_and_what_is_read_with_the_copy() -> None:
    kept, copy = Kept(), large_set()
    kept.grow(copy, copy)
    deltas = 0
    for number in range(3_000):
        delta = copy.add(ME, item(f"element-{number % 200}"))
        deltas += len(TYPES.write(delta))
        kept.grow(copy, delta)
        assert kept.extent is not None
        assert kept.extent.total_bytes <= 2 * kept.extent.whole_bytes

    assert kept.written_bytes() < 4 * deltas
    # As a whole each time it would be many times that.
    assert 3_000 * len(TYPES.write(copy)) > 50 * kept.written_bytes()


def test_a_short_copy_is_put_as_a_whole_each_time() -> None:
    kept, copy = Kept(), GCounter()
    for _ in range(5):
        kept.grow(copy, copy.increment(ME))

    assert [type(each) for each in kept.writes] == [PutValue] * 5
    assert len(TYPES.write(copy)) < AMENDED_FROM_BYTES


def test_a_value_takes_no_more_amendments_than_the_store_allows() -> None:
    copy = large_set()
    full = Extent(1 << 19, 0, MAX_AMENDMENTS)

    write, extent = FORM.write_grown(copy, copy.add(ME, item("x")), full, 7)

    assert isinstance(write, PutValue)
    assert extent.amendments == 0


def test_what_other_nodes_have_sent_is_one_amendment() -> None:
    copy = large_set()
    before = Extent(len(TYPES.write(copy)))
    there = copy.copy()
    changes = [there.add(OTHER, item(f"theirs-{number}")) for number in range(3)]
    for each in changes:
        copy.join(each)

    write, extent = FORM.write_joined(copy, changes, before, 4)

    assert isinstance(write, AmendValue)
    assert extent.amendments == 1
    amended = large_set()
    amended.join(TYPES.read(write.amendment.value))
    assert amended == copy


def test_a_deletion_replaces_everything() -> None:
    write, _ = FORM.write_joined(DELETED, [GCounter({ME: 1}), DELETED], Extent(5_000), 4)

    assert isinstance(write, PutValue)
    assert FORM.read("e", StoredValue(5, write.value)) == (DELETED, None)


CASES = st.sampled_from(list(kinds.VALUES)).flatmap(
    lambda kind: st.tuples(st.just(kind), steps(kinds.VALUES[kind]))
) | st.tuples(st.just(ORMap), steps(kinds.ormap(kinds.VALUES)))


@given(CASES)
def test_what_is_read_is_what_was_written_whatever_was_done(case) -> None:  # type: ignore[no-untyped-def]
    kind, history = case
    form = StoredForm(TYPES, 1 << 20)
    kept, copy = Kept(form), kind.bottom(TYPES)
    # Long enough to be amended, whatever it is.
    kept.extent = Extent(AMENDED_FROM_BYTES * 100)
    kept.take(PutValue(0, form.write(copy)))
    for step in history:
        kept.grow(copy, step.mutation(copy, ME))
        assert form.read("e", kept.stored)[0] == copy
    assert len(kept.stored.amendments) == len(history)


# --- Limits --------------------------------------------------------------------------


def set_of(writer: Replica, at_most_bytes: int) -> ORSet:
    """A set that one more element would make longer than that."""
    elements = ORSet.bottom(TYPES)
    while True:
        more = elements.copy()
        more.add(writer, item(f"{writer.node}-{len(more):030}"))
        if len(TYPES.write(more)) > at_most_bytes:
            return elements
        elements = more


def test_commands_leave_room_for_what_other_nodes_have_added() -> None:
    form = StoredForm(TYPES, 6_000, 4_000)
    here, there = set_of(ME, 4_000), set_of(OTHER, 1_800)
    assert isinstance(form.write_grown(here, here, None, 0)[0], PutValue)
    more = here.copy()
    with pytest.raises(StateTooLarge, match="at most 4000 bytes"):
        form.write_grown(more, more.add(ME, item("x" * 40)), None, 0)

    here.join(there)
    write, extent = form.write_joined(here, [there], None, 0)

    assert isinstance(write, PutValue)
    assert extent.whole_bytes > 4_000


def test_what_others_have_made_too_large_can_still_be_made_smaller() -> None:
    form = StoredForm(TYPES, 6_000, 4_000)
    copy = set_of(OTHER, 5_500)
    _, extent = form.write_joined(copy, [copy], None, 0)
    larger = copy.copy()
    with pytest.raises(StateTooLarge, match="at most 5"):
        form.write_grown(larger, larger.add(ME, item("x" * 40)), extent, 1)

    delta = copy.remove(next(iter(copy)))

    form.write_grown(copy, delta, extent, 1)


def test_what_other_nodes_send_has_a_limit_too() -> None:
    form = StoredForm(TYPES, 6_000, 4_000)
    copy = set_of(ME, 4_000)
    _, extent = form.write_grown(copy, copy, None, 0)
    there = set_of(OTHER, 4_000)
    copy.join(there)

    with pytest.raises(StateTooLarge, match="at most 6000 bytes"):
        form.write_joined(copy, [there], extent, 1)


# --- What is no copy -----------------------------------------------------------------


@pytest.mark.parametrize(
    "stored",
    [
        StoredValue(1, Any(type_url="something/else")),
        StoredValue(2, FORM.write(GCounter({ME: 1})), (Any(type_url="something/else"),)),
        StoredValue(2, FORM.write(GCounter({ME: 1})), (FORM.write(Flag(enabled=True)),)),
        StoredValue(2, FORM.write(GCounter({ME: 1})), (FORM.write(DELETED),)),
        StoredValue(2, FORM.write(DELETED), (FORM.write(GCounter({ME: 1})),)),
    ],
)
def test_what_is_no_copy_is_not_read_as_one(stored: StoredValue) -> None:
    with pytest.raises(CorruptState, match="entity 'e'"):
        FORM.read("e", stored)
    with pytest.raises(CorruptState, match="entity 'e'"):
        FORM.digest("e", stored)
