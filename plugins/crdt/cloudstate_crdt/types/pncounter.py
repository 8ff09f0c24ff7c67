"""A counter that grows and shrinks."""

from __future__ import annotations

from cloudstate_crdt.departed import Departed
from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.lattices_pb2 import PNCounterState
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.types.gcounter import GCounter, counter_from
from cloudstate_crdt.wire import expect_canonical, message_from, to_bytes, write_counts

__all__ = ["PNCounter"]


class PNCounter(Lattice):
    """A counter that grows and shrinks, kept as two that only grow."""

    __slots__ = ("decrements", "increments")

    type_name = "pncounter"

    def __init__(
        self, increments: GCounter | None = None, decrements: GCounter | None = None
    ) -> None:
        self.increments = increments or GCounter()
        self.decrements = decrements or GCounter()

    @property
    def value(self) -> int:
        return self.increments.value - self.decrements.value

    def change(self, replica: Replica, by: int) -> PNCounter:
        """Add `by`, which may be negative, on behalf of `replica` and return the delta.

        Raises:
            ValueError: The replica cannot count that far. Nothing was changed.
        """
        if by < 0:
            return PNCounter(decrements=self.decrements.increment(replica, -by))
        return PNCounter(increments=self.increments.increment(replica, by))

    @classmethod
    def bottom(cls, types: Types) -> PNCounter:
        return cls()

    @classmethod
    def parse(cls, data: bytes, types: Types) -> PNCounter:
        message = message_from(PNCounterState, data)
        counter = cls(counter_from(message.increments), counter_from(message.decrements))
        expect_canonical(counter, data)
        return counter

    def join(self, other: PNCounter) -> bool:
        self.expect_same_type(other)
        grown = self.increments.join(other.increments)
        return self.decrements.join(other.decrements) or grown

    def covers(self, other: PNCounter) -> bool:
        return self.increments.covers(other.increments) and self.decrements.covers(other.decrements)

    def serialize(self) -> bytes:
        message = PNCounterState()
        # A part that nobody has counted in is not written at all.
        if not self.increments.is_bottom():
            write_counts(self.increments.counts, message.increments)
        if not self.decrements.is_bottom():
            write_counts(self.decrements.counts, message.decrements)
        return to_bytes(message)

    def copy(self) -> PNCounter:
        return PNCounter(self.increments.copy(), self.decrements.copy())

    def is_bottom(self) -> bool:
        return self.increments.is_bottom() and self.decrements.is_bottom()

    def trace_of(self, departed: Departed) -> bytes:
        parts = (each.part_of(departed) for each in (self.increments, self.decrements))
        return PNCounter(*parts).serialize()

    def retire(self, departed: Departed, *, into: Replica | None) -> bool:
        counters = (self.increments, self.decrements)
        changed = [each.retire(departed, into=into) for each in counters]
        return any(changed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PNCounter):
            return NotImplemented
        return self.increments == other.increments and self.decrements == other.decrements

    __hash__ = None
