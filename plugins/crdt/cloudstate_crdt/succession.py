"""Which leaves stand in for leaves of departed writers.

Before a departed writer is forgotten somebody copies what it has left alive into a leaf of his own,
which stands in for it. Until it is forgotten both are there: so who removes what the departed wrote
without knowing of the other leaf removes that, too, wherever the two meet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from cloudstate_crdt.causal import Dot
from cloudstate_crdt.departed import RETIRED, Departed

__all__ = ["NOTHING", "NO_SUCCESSION", "Succession"]

#: What an ordinary leaf stands in for.
NOTHING: frozenset[Dot] = frozenset()

#: Stands for whatever a leaf stood in for that is forgotten; nobody has ever seen it.
_FORGOTTEN = Dot(RETIRED, 1)


class Succession:
    """What each live leaf stands in for, by its dot; for most it is nothing.

    Attributes:
        unsettled: Leaves of which it was not looked up yet whether all that they stand in for was
            ever seen.
    """

    __slots__ = ("_heirs", "_stands_for", "unsettled")

    def __init__(self) -> None:
        self._stands_for: dict[Dot, frozenset[Dot]] = {}
        self._heirs: dict[Dot, set[Dot]] = {}
        self.unsettled: set[Dot] = set()

    def __bool__(self) -> bool:
        return bool(self._stands_for)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Succession):
            return NotImplemented
        return self._stands_for == other._stands_for

    __hash__ = None  # type: ignore[assignment]  # it changes

    def stands_for(self, heir: Dot) -> frozenset[Dot]:
        """Return what a leaf stands in for."""
        return self._stands_for.get(heir, NOTHING)

    def heirs_of(self, dot: Dot) -> Collection[Dot]:
        """Return what stands in for a leaf."""
        return self._heirs.get(dot, ())

    def that_may_end(self, removed: Iterable[Dot]) -> set[Dot]:
        """Return what may stand in for nothing any more, now that these were removed."""
        return self.unsettled.union(*map(self.heirs_of, removed))

    def of(self, departed: Departed) -> Iterator[Dot]:
        """Go through what stands in for something of departed writers."""
        for heir, dots in self._stands_for.items():
            if any(dot.replica in departed for dot in dots):
                yield heir

    def add(self, heir: Dot, dots: frozenset[Dot]) -> None:
        """Let a leaf stand in for others, of which there is one at least."""
        self._stands_for[heir] = dots
        self.unsettled.add(heir)
        for dot in dots:
            self._heirs.setdefault(dot, set()).add(heir)

    def retire(self, heir: Dot, departed: Departed) -> None:
        """Let a leaf stand in for nothing of writers that are forgotten.

        If it still stands in for something else, it stays all the same when that is removed: what
        is forgotten may have been there.
        """
        left = frozenset(dot for dot in self._stands_for[heir] if dot.replica not in departed)
        self.drop(heir)
        if left - {_FORGOTTEN}:
            self.add(heir, left | {_FORGOTTEN})

    def drop(self, heir: Dot) -> None:
        """Let a leaf stand in for nothing."""
        self.unsettled.discard(heir)
        for dot in self._stands_for.pop(heir, NOTHING):
            heirs = self._heirs[dot]
            heirs.discard(heir)
            if not heirs:
                del self._heirs[dot]


#: That of a store in which nothing stands in for anything, as in nearly all; not to be changed.
NO_SUCCESSION = Succession()
