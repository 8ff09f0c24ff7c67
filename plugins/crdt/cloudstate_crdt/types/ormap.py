"""A map from keys to values of any replicated type."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from google.protobuf.any_pb2 import Any

from cloudstate_crdt.causal import Dot
from cloudstate_crdt.dot_store import Branch, DotStore, Path
from cloudstate_crdt.errors import MalformedState
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.types.dotted import DottedLattice

__all__ = ["MAX_PARTS", "ORMap"]

#: How many parts one replica's changes of one value are kept in. More parts let more changes
#: survive a removal that has not seen them, and cost memory.
MAX_PARTS = 4

LatticeT = TypeVar("LatticeT", bound=Lattice)


class ORMap(DottedLattice):
    """A map from keys to values of any replicated type, in which a change wins over a removal.

    A removal erases what it has seen of a key, and nothing else: what is under the key, to any
    depth. So what was removed never comes back, whatever arrives late, and a change that the
    removal had not seen survives by itself. Values of sets and maps have dots of their own. A
    value of another type is kept in parts, each with the dot of the change that began it. Each
    replica begins `MAX_PARTS`; its later changes go into the newest of them, and are erased with
    it by a removal that has seen it. A part that a later change covers, as with registers, votes
    and flags, makes room.

    Values of two types under one key, put there by two nodes at once, are both kept. The one whose
    type name comes first is seen; when it is removed, so is what was seen of the other.
    """

    __slots__ = ()

    type_name = "ormap"

    def __len__(self) -> int:
        return len(self._keys())

    def __iter__(self) -> Iterator[Any]:
        return (key.item() for key in self._keys())

    def __contains__(self, key: Any) -> bool:
        return self._segment(key) is not None

    def get(self, key: Any) -> Lattice | None:
        """Return the value under a key, to be read; None if there is none."""
        segment = self._segment(key)
        return None if segment is None else self._value(segment, self._below()[segment])

    def entries(self) -> Iterator[tuple[Segment, Lattice]]:
        """Go through all keys, with the value that is seen under each, to be read."""
        below = self._below()
        for key, segment in self._seen().items():
            yield key, self._value(segment, below[segment])

    def type_of(self, key: Any) -> type[Lattice] | None:
        """Return the type of the value under a key; None if there is none."""
        segment = self._segment(key)
        return None if segment is None else self._store.types.named(segment.type_name)

    def create(self, replica: Replica, key: Any, type_: type[Lattice]) -> ORMap:
        """Put an empty value under a key, or leave what is there, and return the delta.

        Creating what is there is a change too: a removal of the key that had not seen it loses.

        Raises:
            UnknownType: The map does not know the type. Nothing was changed.
            NestedTooDeep: The map lies too deep inside others. Nothing was changed.
        """
        path = self._path_of(key, type_)
        branch = self._store.branch(path)
        seen = [] if branch is None else _presence(branch)
        return self._delta(self._store.write(replica, path, None, seen))

    def update(
        self,
        replica: Replica,
        key: Any,
        type_: type[LatticeT],
        change: Callable[[LatticeT, Replica], LatticeT],
    ) -> ORMap:
        """Change the value under a key, which is created if need be, and return the delta.

        A value of another type that is there is left beside it; remove it first. What `change`
        raises passes through. A mutation of the value changes all or nothing; of several, those
        before the error stay, and are in no delta.

        Args:
            replica: Who changes.
            key: Where.
            type_: The type of the value.
            change: Is given the value and the replica to change it as, and returns the delta that
                the value's mutation returned; several deltas are joined first.

        Raises:
            UnknownType: The map does not know the type. Nothing was changed.
            NestedTooDeep: The map lies too deep inside others. Nothing was changed.
        """
        path = self._path_of(key, type_)
        if issubclass(type_, DottedLattice):
            changed = change(type_(self._store, path), replica)
            assert isinstance(changed, DottedLattice)
            delta = changed.store
        else:
            delta = self._changed_parts(replica, path, type_, change)
        delta.join(self._made_present(replica, path, has_left_something=bool(delta.paths)))
        return self._delta(delta)

    def remove(self, key: Any) -> ORMap:
        """Remove a key and all that is seen under it, and return the delta."""
        below = self._below()
        there = [below[each] for each in self._segments(key)]
        return self._delta(self._store.drop([dot for branch in there for dot in branch.dots()]))

    def clear(self) -> ORMap:
        """Remove all keys and return the delta."""
        dots = [dot for branch in self._below().values() for dot in branch.dots()]
        return self._delta(self._store.drop(dots))

    @classmethod
    def check_leaves(cls, branch: Branch, types: Types) -> None:
        if any(part is not None for part in branch.leaves.values()):
            raise MalformedState("expected no part of a value beside the keys, found one")
        for segment, child in branch.children.items():
            type_ = types.named(segment.type_name)
            if issubclass(type_, DottedLattice):
                type_.check_leaves(child, types)
            elif child.children:
                raise MalformedState(f"expected nothing below a {type_.type_name!r}, found keys")

    # --- Keys ------------------------------------------------------------------------

    def _keys(self) -> Collection[Segment]:
        return self._seen().keys()

    def _seen(self) -> dict[Segment, Segment]:
        """For each key, the same with the type of the value that is seen under it."""
        seen: dict[Segment, Segment] = {}
        for segment in self._below():
            key = Segment(segment.type_url, segment.value)
            other = seen.get(key)
            if other is None or segment.type_name < other.type_name:
                seen[key] = segment
        return seen

    def _segments(self, key: Any) -> list[Segment]:
        """What is under a key, in the order of the types' names."""
        below = self._below()
        each = (Segment.of(key, name) for name in self._store.types.names)
        return [segment for segment in each if segment in below]

    def _segment(self, key: Any) -> Segment | None:
        return next(iter(self._segments(key)), None)

    def _path_of(self, key: Any, type_: type[Lattice]) -> Path:
        self._store.types.named(type_.type_name)
        return self._at(Segment.of(key, type_.type_name))

    # --- Values ----------------------------------------------------------------------

    def _value(self, segment: Segment, branch: Branch) -> Lattice:
        type_ = self._store.types.named(segment.type_name)
        if issubclass(type_, DottedLattice):
            return type_(self._store, self._at(segment))
        return self._whole(type_, _parts_of(branch, type_))

    def _whole(self, type_: type[LatticeT], parts: dict[Dot, LatticeT]) -> LatticeT:
        value = type_.bottom(self._store.types)
        for part in parts.values():
            value.join(part)
        return value

    def _parts(self, path: Path, type_: type[LatticeT]) -> dict[Dot, LatticeT]:
        branch = self._store.branch(path)
        return {} if branch is None else _parts_of(branch, type_)

    def _made_present(self, replica: Replica, path: Path, *, has_left_something: bool) -> DotStore:
        """Let a dot say that the key is there, even if its value becomes empty again.

        A change that has written nothing, such as a removal inside the value, says so with a new
        dot, as one that has written does: a removal of the key that had not seen it loses.
        """
        branch = self._store.branch(path)
        seen = [] if branch is None else _presence(branch)
        if seen and has_left_something:
            return DotStore(self._store.types)
        return self._store.write(replica, path, None, seen)

    def _changed_parts(
        self,
        replica: Replica,
        path: Path,
        type_: type[LatticeT],
        change: Callable[[LatticeT, Replica], LatticeT],
    ) -> DotStore:
        parts = self._parts(path, type_)
        own = [dot for dot in parts if dot.replica == replica]
        begins = len(own) < MAX_PARTS
        dot = self._store.context.next_dot(replica) if begins else max(own)
        # Each part is written by a replica of its own, so that types which count per replica do
        # not count into a part what stands in another.
        part = change(self._whole(type_, parts), replica._replace(strand=dot.sequence))
        if part.is_bottom():
            return DotStore(self._store.types)
        if not begins:
            return self._store.grow(dot, part)
        covered = [each for each, earlier in parts.items() if part.covers(earlier)]
        return self._store.write(replica, path, part, covered)


def _parts_of(branch: Branch, type_: type[LatticeT]) -> dict[Dot, LatticeT]:
    return {dot: part for dot, part in branch.leaves.items() if isinstance(part, type_)}


def _presence(branch: Branch) -> list[Dot]:
    """The dots that only say that a key is there."""
    return [dot for dot, part in branch.leaves.items() if part is None]
