"""Which changes have been seen: dots, and sets of them.

A replica numbers its changes 1, 2, 3, ... A dot is such a number with its replica. A causal context
is the set of all dots that were seen. Where nothing is missing in between it takes one number for
each replica, however many dots there were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from cloudstate_crdt.replica import Replica

__all__ = ["CausalContext", "Dot"]


class Dot(NamedTuple):
    """One change of one replica.

    Attributes:
        replica: Who made it. Its strand is 0.
        sequence: Its number, from 1.
    """

    replica: Replica
    sequence: int


class CausalContext:
    """A set of dots: for each replica all up to some number, and a few beyond a gap.

    Attributes:
        up_to: The last dot before the first gap, by replica; none is 0.
        beyond: The dots after the first gap, by replica; none is empty.
    """

    __slots__ = ("beyond", "up_to")

    def __init__(self, dots: Iterable[Dot] = ()) -> None:
        self.up_to: dict[Replica, int] = {}
        self.beyond: dict[Replica, set[int]] = {}
        for dot in dots:
            self.add(dot)

    def __contains__(self, dot: Dot) -> bool:
        replica, sequence = dot
        return sequence <= self.up_to.get(replica, 0) or (
            replica in self.beyond and sequence in self.beyond[replica]
        )

    def count(self) -> int:
        """Return how many dots there are; a peer can make it more than `len` can say."""
        return sum(self.up_to.values()) + sum(map(len, self.beyond.values()))

    def __iter__(self) -> Iterator[Dot]:
        for replica, last in self.up_to.items():
            for sequence in range(1, last + 1):
                yield Dot(replica, sequence)
        for replica, sequences in self.beyond.items():
            for sequence in sequences:
                yield Dot(replica, sequence)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CausalContext):
            return NotImplemented
        return self.up_to == other.up_to and self.beyond == other.beyond

    __hash__ = None  # type: ignore[assignment]  # it changes

    def next_dot(self, replica: Replica) -> Dot:
        """Return the dot after all that this replica has given out."""
        last = self.up_to.get(replica, 0)
        return Dot(replica, max(self.beyond.get(replica, ()), default=last) + 1)

    def add(self, dot: Dot) -> bool:
        """Take in one dot; return whether it is new."""
        replica, sequence = dot
        last = self.up_to.get(replica, 0)
        if sequence == last + 1:
            self._advance(replica, sequence)
            return True
        if sequence <= last:
            return False
        beyond = self.beyond.setdefault(replica, set())
        if sequence in beyond:
            return False
        beyond.add(sequence)
        return True

    def join(self, other: CausalContext) -> bool:
        """Take in all dots of another context; return whether any is new."""
        grown = False
        for replica, last in other.up_to.items():
            if last > self.up_to.get(replica, 0):
                self._advance(replica, last)
                grown = True
        for replica, sequences in other.beyond.items():
            # In order, so that what fills a gap is never kept beyond it.
            for sequence in sorted(sequences):
                grown |= self.add(Dot(replica, sequence))
        return grown

    def copy(self) -> CausalContext:
        copied = CausalContext()
        copied.up_to = self.up_to.copy()
        copied.beyond = {replica: set(these) for replica, these in self.beyond.items()}
        return copied

    def replicas(self) -> set[Replica]:
        return {*self.up_to, *self.beyond}

    def only(self, replicas: Iterable[Replica]) -> CausalContext:
        """Return the dots of some replicas, which are in here; shares nothing with this one."""
        taken = CausalContext()
        for replica in replicas:
            if replica in self.up_to:
                taken.up_to[replica] = self.up_to[replica]
            if replica in self.beyond:
                taken.beyond[replica] = set(self.beyond[replica])
        return taken

    def forget(self, replicas: Collection[Replica]) -> None:
        """Drop all dots of some replicas, as if they had never been seen."""
        for replica in replicas:
            self.up_to.pop(replica, None)
            self.beyond.pop(replica, None)

    def _advance(self, replica: Replica, last: int) -> None:
        """Have seen everything up to `last`, and what follows it without a gap."""
        beyond = self.beyond.get(replica)
        if beyond is not None:
            while last + 1 in beyond:
                last += 1
            left = {sequence for sequence in beyond if sequence > last}
            if left:
                self.beyond[replica] = left
            else:
                del self.beyond[replica]
        self.up_to[replica] = last
