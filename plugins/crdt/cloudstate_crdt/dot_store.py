"""A tree of dotted leaves: what ORSet and ORMap are made of.

Every leaf carries the dot of the change that wrote it, and the store remembers all dots that it has
seen. A dot that was seen and has no leaf was removed. So a removal leaves nothing behind but the
dots, which compact to a number for each replica; and what was removed cannot come back, since its
dots are known.

The whole tree, however deep, has one context. A value inside a map is a branch of its map's store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from cloudstate_crdt.causal import CausalContext, Dot
from cloudstate_crdt.departed import Departed
from cloudstate_crdt.errors import DotReused
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.succession import NO_SUCCESSION, NOTHING, Succession
from cloudstate_crdt.touched import Touched

__all__ = ["Branch", "DotStore", "Path"]

#: Where a leaf is.
Path = tuple[Segment, ...]


class Branch:
    """A place in the tree. It exists as long as there is a leaf here or below.

    Attributes:
        leaves: By dot, a part of the value that lives here; None says only that something does.
        children: The places below.
    """

    __slots__ = ("children", "leaves")

    def __init__(self) -> None:
        self.leaves: dict[Dot, Lattice | None] = {}
        self.children: dict[Segment, Branch] = {}

    def dots(self) -> Iterator[Dot]:
        """Every dot here and below."""
        yield from self.leaves
        for child in self.children.values():
            yield from child.dots()


class DotStore:
    """Leaves in a tree, each under the dot of the change that wrote it.

    Attributes:
        types: The types that parts of values may have.
        context: Every dot that was ever seen.
        paths: Where the leaf of each live dot is.
        root: The tree.
        succession: Which leaves stand in for leaves of departed writers.
        touched: Takes note of where something changes; None if nobody wants to know.
    """

    __slots__ = ("context", "paths", "root", "succession", "touched", "types")

    def __init__(self, types: Types) -> None:
        self.types = types
        self.context = CausalContext()
        self.paths: dict[Dot, Path] = {}
        self.root = Branch()
        self.succession = NO_SUCCESSION
        self.touched: Touched | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DotStore):
            return NotImplemented
        return (
            self.context == other.context
            and self.paths == other.paths
            and self.succession == other.succession
            and all(self.part_of(dot) == other.part_of(dot) for dot in self.paths)
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def branch(self, path: Path) -> Branch | None:
        """Return the place, or None if nothing is there."""
        branch: Branch | None = self.root
        for segment in path:
            if branch is None:
                return None
            branch = branch.children.get(segment)
        return branch

    # --- Changes; each returns its delta ---------------------------------------------

    def write(
        self, replica: Replica, path: Path, part: Lattice | None, instead_of: Collection[Dot] = ()
    ) -> DotStore:
        """Put a leaf under a new dot, in place of live ones; return the delta, which owns it."""
        delta = self.drop(instead_of)
        self._write(replica, path, part, delta)
        return delta

    def _write(
        self,
        replica: Replica,
        path: Path,
        part: Lattice | None,
        delta: DotStore,
        stands_for: frozenset[Dot] = NOTHING,
    ) -> None:
        dot = self.context.next_dot(replica)
        delta.insert(dot, path, part, stands_for)
        self.insert(dot, path, None if part is None else part.copy(), stands_for)

    def grow(self, dot: Dot, part: Lattice) -> DotStore:
        """Let a leaf that has a part grow by another; return the delta, which owns `part`."""
        delta = DotStore(self.types)
        delta.insert(dot, self.paths[dot], part, self.succession.stands_for(dot))
        self.join(delta)
        return delta

    def drop(self, dots: Collection[Dot]) -> DotStore:
        """Remove the leaves of live dots; return the delta."""
        delta = DotStore(self.types)
        for dot in dots:
            delta.context.add(dot)
            self._remove(dot)
        if self.succession:
            for dot in self.end_successions(dots):
                delta.context.add(dot)
        return delta

    def adopt(self, replica: Replica, departed: Departed) -> DotStore:
        """Let leaves of a replica stand in for those of departed writers; return the delta.

        What several have left in one place gets one leaf. Its part still has in it who wrote what:
        so it may well be adopted twice, by replicas that do not know of each other.
        """
        places: dict[tuple[Path, bool], list[Dot]] = {}
        for dot in self.adoptable(departed):
            place = self.paths[dot], self.part_of(dot) is not None
            places.setdefault(place, []).append(dot)
        delta = DotStore(self.types)
        for path, is_part in sorted(places):
            dots = places[path, is_part]
            part = self._joined_parts(dots) if is_part else None
            self._write(replica, path, part, delta, frozenset(dots))
        return delta

    def adoptable(self, departed: Departed) -> list[Dot]:
        """Return live dots of departed writers for which no leaf of another stands in."""
        heirs_of = self.succession.heirs_of
        return [
            dot
            for dot in self.live_dots(departed)
            if all(heir.replica in departed for heir in heirs_of(dot))
        ]

    def _joined_parts(self, dots: Iterable[Dot]) -> Lattice:
        first, *others = [part for part in map(self.part_of, dots) if part is not None]
        joined = first.copy()
        for part in others:
            joined.join(part)
        return joined

    # --- Joining ---------------------------------------------------------------------

    def join(self, other: DotStore) -> bool:
        """Take in another store; return whether anything changed.

        Raises:
            DotReused: A dot has a leaf in two places. Nothing was changed.
        """
        if self is other:
            return False
        both = self.paths.keys() & other.paths.keys() if self.paths else set()
        stands_for = other.succession.stands_for
        self._expect_same(both, other)
        removed = self._removed_by(other)
        changed = bool(removed)
        for dot in both:
            changed |= self._grow(dot, other.part_of(dot))
            changed |= self._stand_in(dot, stands_for(dot))
        for dot, path in other.paths.items():
            if dot not in both and dot not in self.context:
                part = other.part_of(dot)
                self.insert(dot, path, None if part is None else part.copy(), stands_for(dot))
                changed = True
        for dot in removed:
            self._remove(dot)
        changed |= self.context.join(other.context)
        if self.succession:
            changed |= bool(self.end_successions(removed))
        return changed

    def _expect_same(self, dots: Iterable[Dot], other: DotStore) -> None:
        """Check that leaves which both have are of the same changes."""
        own, others = self.succession, other.succession
        for dot in dots:
            is_same = self.paths[dot] == other.paths[dot]
            if is_same and others and own.stands_for(dot) and others.stands_for(dot):
                is_same = own.stands_for(dot) == others.stands_for(dot)
            if not is_same:
                raise DotReused(
                    f"replica {dot.replica!r} gave two changes the number {dot.sequence}:"
                    " restart the node with a greater epoch"
                )

    def _removed_by(self, other: DotStore) -> list[Dot]:
        """Our live dots that the other has seen and holds no longer."""
        seen = other.context.count()
        if not self.paths or seen == len(other.paths):
            return []
        # A delta has seen a few dots, a whole state millions: look at whichever are fewer.
        if seen <= len(self.paths):
            return [dot for dot in other.context if dot in self.paths and dot not in other.paths]
        return [dot for dot in self.paths if dot in other.context and dot not in other.paths]

    def _grow(self, dot: Dot, part: Lattice | None) -> bool:
        own = self.part_of(dot)
        if own is None or part is None or not own.join(part):
            return False
        if self.touched is not None:
            self.touched.add(self.paths[dot])
        return True

    def _stand_in(self, dot: Dot, stands_for: frozenset[Dot]) -> bool:
        if not stands_for or self.succession.stands_for(dot):
            return False
        if self.succession is NO_SUCCESSION:
            self.succession = Succession()
        self.succession.add(dot, stands_for)
        return True

    def end_successions(self, removed: Collection[Dot] = ()) -> list[Dot]:
        """Remove what stands in for nothing that is there; return the dots.

        What was never seen may come, and counts as being there.
        """
        succession, ended = self.succession, []
        looked_at = succession.that_may_end(removed)
        while looked_at:
            heir = looked_at.pop()
            dots = succession.stands_for(heir)
            if all(map(self.context.__contains__, dots)):
                succession.unsettled.discard(heir)
                if self.paths.keys().isdisjoint(dots):
                    looked_at.update(succession.heirs_of(heir))
                    ended.append(heir)
                    self._remove(heir)
        return ended

    @property
    def size(self) -> int:
        """How many keys or elements there are at the top."""
        return len(self.root.children)

    # --- Leaves ----------------------------------------------------------------------

    def insert(
        self, dot: Dot, path: Path, part: Lattice | None, stands_for: frozenset[Dot] = NOTHING
    ) -> None:
        """Put a leaf where there is none of that dot, and have seen the dot."""
        branch = self.root
        for segment in path:
            child = branch.children.get(segment)
            if child is None:
                child = branch.children[segment] = Branch()
            branch = child
        branch.leaves[dot] = part
        self.paths[dot] = path
        self.context.add(dot)
        if stands_for:
            self._stand_in(dot, stands_for)
        if self.touched is not None:
            self.touched.add(path)

    def part_of(self, dot: Dot) -> Lattice | None:
        """Return the part that the leaf of a live dot holds, if it holds one."""
        branch = self.branch(self.paths[dot])
        assert branch is not None
        return branch.leaves[dot]

    def _remove(self, dot: Dot) -> None:
        path = self.paths.pop(dot)
        if self.succession:
            self.succession.drop(dot)
        if self.touched is not None:
            self.touched.add(path)
        branches = [self.root]
        for segment in path:
            branches.append(branches[-1].children[segment])
        del branches[-1].leaves[dot]
        for segment in reversed(path):
            branch = branches.pop()
            if branch.leaves or branch.children:
                return
            del branches[-1].children[segment]

    # --- Whole stores ----------------------------------------------------------------

    def copy(self) -> DotStore:
        copied = DotStore(self.types)
        for dot, path in self.paths.items():
            part = self.part_of(dot)
            stands_for = self.succession.stands_for(dot)
            copied.insert(dot, path, None if part is None else part.copy(), stands_for)
        copied.context = self.context.copy()
        return copied

    # --- Writers that have departed --------------------------------------------------

    def live_dots(self, departed: Departed) -> list[Dot]:
        """Return the dots of departed writers that have a leaf."""
        if not self._seen_of(departed):
            return []
        return [dot for dot in self.paths if dot.replica in departed]

    def part_of_writers(self, departed: Departed) -> DotStore:
        """Return a store of their dots, the leaves of the live ones, and what stands in for them.

        The latter without their parts, which may grow. It is to be read, and shares parts with this
        one.
        """
        theirs = DotStore(self.types)
        theirs.context = self.context.only(self._seen_of(departed))
        for dot in self.live_dots(departed):
            theirs.insert(dot, self.paths[dot], self.part_of(dot))
        for dot in self.succession.of(departed):
            part = self.part_of(dot) if dot.replica in departed else None
            theirs.insert(dot, self.paths[dot], part, self.succession.stands_for(dot))
        return theirs

    def retire(self, departed: Departed, *, fold: bool) -> bool:
        """Drop their dots and leaves as if they had never been; return whether there were any.

        What stands in for them stays; it is an ordinary leaf when it stands in for nobody else.

        Args:
            departed: Who.
            fold: Whether what they have added to parts that stay is added up there, or dropped.
        """
        seen = self._seen_of(departed)
        for dot in self.live_dots(departed):
            self._remove(dot)
        self.context.forget(seen)
        heirs = list(self.succession.of(departed))
        for heir in heirs:
            self.succession.retire(heir, departed)
            part = self.part_of(heir)
            if part is not None:
                # Whom a part is written by: see `ORMap`.
                writer = heir.replica._replace(strand=heir.sequence)
                part.retire(departed, into=writer if fold else None)
        return bool(seen or heirs)

    def _seen_of(self, departed: Departed) -> list[Replica]:
        return [replica for replica in self.context.replicas() if replica in departed]
