"""A counter that only grows."""

from __future__ import annotations

from cloudstate_crdt.departed import RETIRED, Departed
from cloudstate_crdt.errors import MalformedState
from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.lattices_pb2 import GCounterState
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.wire import (
    counts_from,
    expect_canonical,
    message_from,
    to_bytes,
    write_counts,
)

__all__ = ["MAX_COUNT", "GCounter", "counter_from"]

#: What one replica can count to. The protocol takes an increment from 2^63 on for a negative one.
MAX_COUNT = 2**63 - 1


class GCounter(Lattice):
    """A counter that only grows, kept as one count per replica.

    Replicas of which one has counted further than the other take the greater count, so that what
    arrives twice counts once.
    """

    __slots__ = ("counts",)

    type_name = "gcounter"

    def __init__(self, counts: dict[Replica, int] | None = None) -> None:
        self.counts: dict[Replica, int] = counts or {}

    @property
    def value(self) -> int:
        return sum(self.counts.values())

    def increment(self, replica: Replica, by: int = 1) -> GCounter:
        """Add `by` on behalf of `replica` and return the delta.

        Raises:
            ValueError: `by` is negative, or the replica cannot count that far. Nothing was changed.
        """
        if by < 0:
            raise ValueError(f"expected an increment of 0 or more, found {by!r}")
        if by == 0:
            return GCounter()
        count = self.counts.get(replica, 0) + by
        if count > MAX_COUNT:
            raise ValueError(f"expected a count of at most {MAX_COUNT}, found {count!r}")
        self.counts[replica] = count
        return GCounter({replica: count})

    @classmethod
    def bottom(cls, types: Types) -> GCounter:
        return cls()

    @classmethod
    def parse(cls, data: bytes, types: Types) -> GCounter:
        counter = counter_from(message_from(GCounterState, data))
        expect_canonical(counter, data)
        return counter

    def join(self, other: GCounter) -> bool:
        self.expect_same_type(other)
        grown = False
        for replica, count in other.counts.items():
            if count > self.counts.get(replica, 0):
                self.counts[replica] = count
                grown = True
        return grown

    def covers(self, other: GCounter) -> bool:
        return all(self.counts.get(each, 0) >= count for each, count in other.counts.items())

    def serialize(self) -> bytes:
        state = GCounterState()
        write_counts(self.counts, state)
        return to_bytes(state)

    def copy(self) -> GCounter:
        return GCounter(self.counts.copy())

    def is_bottom(self) -> bool:
        return not self.counts

    def part_of(self, departed: Departed) -> GCounter:
        """Return what `trace_of` is made of: their counts, and what theirs would be added to."""
        counts = {replica: count for replica, count in self.counts.items() if replica in departed}
        if counts:
            counts |= {each: n for each, n in self.counts.items() if each.node == RETIRED.node}
        return GCounter(counts)

    def trace_of(self, departed: Departed) -> bytes:
        return self.part_of(departed).serialize()

    def retire(self, departed: Departed, *, into: Replica | None) -> bool:
        left = {replica: count for replica, count in self.counts.items() if replica not in departed}
        if len(left) == len(self.counts):
            return False
        total = self.value - sum(left.values())
        if into is not None and into != RETIRED:
            left[into] = left.get(into, 0) + total
            if left[into] > MAX_COUNT:
                return False
        self.counts = left
        if into == RETIRED:
            self._add_to_retired(total)
        return True

    def _add_to_retired(self, count: int) -> None:
        # What does not fit into one strand is counted by the next, which begins when the one before
        # is full: so the greater of two counts, strand by strand, is the greater total.
        strand = RETIRED
        while count:
            there = self.counts.get(strand, 0)
            taken = min(count, MAX_COUNT - there)
            if taken:
                self.counts[strand] = there + taken
            count -= taken
            strand = strand._replace(strand=strand.strand + 1)

    def __eq__(self, other: object) -> bool:
        return self.counts == other.counts if isinstance(other, GCounter) else NotImplemented

    __hash__ = None


def counter_from(message: GCounterState) -> GCounter:
    """Return the counter that was written so; that there is no other way to is not checked.

    Raises:
        MalformedState: No replica writes such counts.
    """
    counts = counts_from(message.counts)
    retired = sorted(each for each in counts if each.node == RETIRED.node)
    # Damaged strands would be added to as if they were whole.
    for position, each in enumerate(retired):
        fits = counts[each] <= MAX_COUNT if each == retired[-1] else counts[each] == MAX_COUNT
        if each != RETIRED._replace(strand=position) or not fits:
            raise MalformedState("expected what was forgotten in full counts but the last")
    return GCounter(counts)
