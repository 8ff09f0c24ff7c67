"""A set in which an addition wins over a removal that had not seen it."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.any_pb2 import Any

from cloudstate_crdt.dot_store import Branch
from cloudstate_crdt.errors import MalformedState
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Types
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.types.dotted import DottedLattice

__all__ = ["ORSet"]


class ORSet(DottedLattice):
    """A set in which an addition wins over a removal that had not seen it.

    An element is there as long as a dot of it is. An addition puts one dot in place of all that it
    has seen; a removal takes away those that it has seen.
    """

    __slots__ = ()

    type_name = "orset"

    def __len__(self) -> int:
        return len(self._below())

    def __iter__(self) -> Iterator[Any]:
        return (segment.item() for segment in self._below())

    def __contains__(self, element: Any) -> bool:
        return Segment.of(element) in self._below()

    def add(self, replica: Replica, element: Any) -> ORSet:
        """Add an element and return the delta.

        Adding an element that is there is a change too: removals that had not seen it lose.

        Raises:
            NestedTooDeep: The set lies too deep inside maps. Nothing was changed.
        """
        segment = Segment.of(element)
        there = self._below().get(segment)
        seen = [] if there is None else list(there.leaves)
        return self._delta(self._store.write(replica, self._at(segment), None, seen))

    def remove(self, element: Any) -> ORSet:
        """Remove an element and return the delta, which is empty if it was not there."""
        there = self._below().get(Segment.of(element))
        return self._delta(self._store.drop([] if there is None else list(there.leaves)))

    def clear(self) -> ORSet:
        """Remove all elements and return the delta."""
        dots = [dot for branch in self._below().values() for dot in branch.leaves]
        return self._delta(self._store.drop(dots))

    @classmethod
    def check_leaves(cls, branch: Branch, types: Types) -> None:
        if any(part is not None for part in branch.leaves.values()):
            raise MalformedState("expected no part of a value beside the elements, found one")
        for segment, child in branch.children.items():
            if segment.type_name or child.children:
                raise MalformedState("expected elements, found something else in a set")
