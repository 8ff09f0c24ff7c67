"""Looking at one copy again and again, at the cost of what has changed meanwhile."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.touched import Touched
from cloudstate_crdt.translation.deltas import portion_of, view_of
from cloudstate_crdt.translation.translation import Portion, View, Viewpoint
from cloudstate_crdt.types.dotted import DottedLattice
from cloudstate_crdt.types.gset import GSet

__all__ = ["Viewer"]

#: How many changed keys or elements are looked at one by one: as many as there are in all, within
#: these bounds. A copy at which nobody looks for a long time must not keep all that was ever in it.
_FEWEST, _MOST = 100, 1_000


class Noting(Protocol):
    """What takes note of where it is changed.

    Attributes:
        touched: Where; None if nobody wants to know.
    """

    touched: Touched | None

    @property
    def size(self) -> int:
        """How many keys or elements there are."""
        ...


class Viewer:
    """Shows a copy as a user function can know it; the whole of it at first.

    A set or a map takes note of what is changed in it. It does so for one who looks: whoever finds
    that it did not do so for him, since it was read from the store again or shown to somebody else,
    looks at the whole.
    """

    def __init__(self, node: str) -> None:
        """Start with nothing seen; `node` is from where it is looked."""
        self._node = node
        self._members: frozenset[str] = frozenset()
        self._touched: Touched | None = None

    def look(self, state: Lattice, members: Collection[str]) -> View | Portion:
        """Return how a state looks, or what can look otherwise than the last time.

        Args:
            state: The copy, which must not be changed meanwhile.
            members: Names of the nodes whose voices count.

        Raises:
            Incompatible: The state is of a type that the protocol does not have.
        """
        viewpoint = Viewpoint(self._node, members)
        segments = self._changed_since_last(state, frozenset(members))
        if segments is None:
            return view_of(state, viewpoint)
        # What is under a key may have been of several types.
        keys = {segment._replace(type_name="") for segment in segments}
        return portion_of(state, keys, viewpoint)

    def _changed_since_last(
        self, state: Lattice, members: frozenset[str]
    ) -> Collection[Segment] | None:
        """Return what can look otherwise, and begin anew; None if that is everything."""
        noting = _noting(state)
        seen, self._touched = self._touched, None
        was, self._members = self._members, members
        if noting is None:
            return None
        noted, at_most = noting.touched, min(max(noting.size, _FEWEST), _MOST)
        self._touched = noting.touched = Touched(at_most)
        # A vote in a map looks otherwise when the members are others.
        return noted.segments if noted is not None and noted is seen and was == members else None


def _noting(state: Lattice) -> Noting | None:
    if isinstance(state, DottedLattice):
        return state.store
    return state if isinstance(state, GSet) else None
