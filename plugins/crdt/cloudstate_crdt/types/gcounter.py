"""A counter that only grows."""

from __future__ import annotations

from collections.abc import Collection

from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.lattices_pb2 import GCounterState
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.wire import counts_from, counts_to, expect_canonical, message_from, to_bytes

__all__ = ["MAX_COUNT", "RETIRED", "GCounter"]

#: What one replica can count to. The protocol takes an increment from 2^63 on for a negative one.
MAX_COUNT = 2**63 - 1

#: Stands for all nodes that have departed. No node has an empty name.
RETIRED = Replica("", 0)


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
        counter = cls(counts_from(message_from(GCounterState, data).counts))
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
        return to_bytes(GCounterState(counts=counts_to(self.counts)))

    def copy(self) -> GCounter:
        return GCounter(self.counts.copy())

    def is_bottom(self) -> bool:
        return not self.counts

    def prune(self, departed: Collection[str]) -> None:
        gone = [replica for replica in self.counts if replica.node in departed]
        retired = sum(self.counts.pop(replica) for replica in gone)
        if retired:
            self.counts[RETIRED] = self.counts.get(RETIRED, 0) + retired

    def __eq__(self, other: object) -> bool:
        return self.counts == other.counts if isinstance(other, GCounter) else NotImplemented

    __hash__ = None
