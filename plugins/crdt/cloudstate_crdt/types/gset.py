"""A set that only grows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.any_pb2 import Any

from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.lattices_pb2 import GSetState
from cloudstate_crdt.touched import Touched
from cloudstate_crdt.wire import expect_canonical, message_from, to_bytes

__all__ = ["GSet"]


class GSet(Lattice):
    """A set that only grows.

    Attributes:
        touched: Takes note of what comes into it; None if nobody wants to know.
    """

    __slots__ = ("_elements", "touched")

    type_name = "gset"

    def __init__(self, elements: Iterable[Any] = ()) -> None:
        self._elements = {Segment.of(element) for element in elements}
        self.touched: Touched | None = None

    def __len__(self) -> int:
        return len(self._elements)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return len(self._elements)

    def __iter__(self) -> Iterator[Any]:
        return (element.item() for element in self._elements)

    def __contains__(self, element: Any) -> bool:
        return Segment.of(element) in self._elements

    def add(self, element: Any) -> GSet:
        """Add an element and return the delta, which is empty if the element was there."""
        delta = GSet() if element in self else GSet([element])
        self.join(delta)
        return delta

    @classmethod
    def bottom(cls, types: Types) -> GSet:
        return cls()

    @classmethod
    def parse(cls, data: bytes, types: Types) -> GSet:
        read = cls(message_from(GSetState, data).elements)
        expect_canonical(read, data)
        return read

    def join(self, other: GSet) -> bool:
        self.expect_same_type(other)
        new = other._elements - self._elements
        self._elements |= new
        if self.touched is not None:
            for element in new:
                self.touched.add((element,))
        return bool(new)

    def covers(self, other: GSet) -> bool:
        return other._elements <= self._elements

    def serialize(self) -> bytes:
        return to_bytes(GSetState(elements=(each.item() for each in sorted(self._elements))))

    def copy(self) -> GSet:
        copied = GSet()
        copied._elements = self._elements.copy()
        return copied

    def is_bottom(self) -> bool:
        return not self._elements

    def __eq__(self, other: object) -> bool:
        return self._elements == other._elements if isinstance(other, GSet) else NotImplemented

    __hash__ = None
