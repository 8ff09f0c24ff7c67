"""What the types with removal have in common: they stand on a store of dotted leaves."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

from cloudstate_crdt.departed import Departed
from cloudstate_crdt.dot_store import Branch, DotStore, Path
from cloudstate_crdt.dotted_wire import MAX_DEPTH, read_store, write_store
from cloudstate_crdt.errors import MalformedState, NestedTooDeep
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.lattices_pb2 import DottedState
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.wire import expect_canonical, message_from, to_bytes

__all__ = ["DottedLattice"]


class DottedLattice(Lattice):
    """A lattice whose state is a store of dotted leaves, or a branch of its map's store.

    A value under a key of a map shares the store, and with it the causal context, of the map. It is
    read, and changed within `ORMap.update`; what is joined, written down and compared is the map.
    """

    __slots__ = ("_path", "_store")

    shares_dots = True

    def __init__(self, store: DotStore, path: Path = ()) -> None:
        self._store = store
        self._path = path

    @property
    def store(self) -> DotStore:
        """The leaves."""
        return self._store

    @classmethod
    def bottom(cls, types: Types) -> Self:
        return cls(DotStore(types))

    @classmethod
    @abstractmethod
    def check_leaves(cls, branch: Branch, types: Types) -> None:
        """Check that leaves below a place are of the shape that this type writes.

        Raises:
            StateRefused: They are not.
        """

    @classmethod
    def parse(cls, data: bytes, types: Types) -> Self:
        store = DotStore(types)
        read_store(message_from(DottedState, data), store)
        if store.root.leaves:
            raise MalformedState("expected no leaf above all keys and elements, found one")
        cls.check_leaves(store.root, types)
        read = cls(store)
        expect_canonical(read, data)
        return read

    def join(self, other: Self) -> bool:
        self.expect_same_type(other)
        self._expect_whole()
        return self._store.join(other._store)

    def serialize(self) -> bytes:
        self._expect_whole()
        return to_bytes(write_store(self._store))

    def copy(self) -> Self:
        self._expect_whole()
        return type(self)(self._store.copy())

    def is_bottom(self) -> bool:
        context = self._store.context
        return not (context.up_to or context.beyond)

    def trace_of(self, departed: Departed) -> bytes:
        self._expect_whole()
        return to_bytes(write_store(self._store.part_of_writers(departed)))

    def must_adopt(self, departed: Departed) -> bool:
        self._expect_whole()
        return bool(self._store.adoptable(departed))

    def adopt(self, replica: Replica, departed: Departed) -> Self:
        self._expect_whole()
        return self._delta(self._store.adopt(replica, departed))

    def retire(self, departed: Departed, *, into: Replica | None) -> bool:
        self._expect_whole()
        return self._store.retire(departed, fold=into is not None)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._path == other._path and self._store == other._store

    __hash__ = None

    def __repr__(self) -> str:
        return f"<{self.type_name} inside a map>" if self._path else super().__repr__()

    def _delta(self, store: DotStore) -> Self:
        return type(self)(store, self._path)

    def _below(self) -> dict[Segment, Branch]:
        branch = self._store.branch(self._path)
        return {} if branch is None else branch.children

    def _at(self, segment: Segment) -> Path:
        if len(self._path) == MAX_DEPTH:
            raise NestedTooDeep(f"expected at most {MAX_DEPTH} keys above each other, found more")
        return (*self._path, segment)

    def _expect_whole(self) -> None:
        if self._path:
            raise TypeError("a value inside a map is joined, copied and written with its map")
