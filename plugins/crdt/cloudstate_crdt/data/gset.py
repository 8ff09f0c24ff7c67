"""A set that only grows."""

from __future__ import annotations

from typing import ClassVar

from cloudstate.crdt_pb2 import CrdtDelta, GSetDelta
from cloudstate_crdt.data.elements import E, Element, ElementSet

__all__ = ["GSet"]


class GSet(ElementSet[E]):
    """A set that only grows; it has what any node has added.

    `GSet[str]` says what is in it, to type checkers.
    """

    delta_name: ClassVar[str] = "gset"

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self._added: dict[Element, None] = {}

    def add(self, value: E) -> None:
        """Put an element in; nothing happens if it is there.

        Args:
            value: A message, str, bytes, int, float, bool or `Json`. Values of different types are
                different elements, even if Python holds them to be equal.

        Raises:
            AnyError: It cannot be packed. Nothing was changed.
        """
        element = Element.of(value)
        if element not in self._elements:
            self._before_change()
            self._elements[element] = self._added[element] = None

    def pending(self) -> CrdtDelta | None:
        return _delta(self._added) if self._added else None

    def forget_pending(self) -> None:
        self._added.clear()

    def whole(self) -> CrdtDelta:
        return _delta(self._elements)

    def _apply(self, inner: GSetDelta) -> None:
        self._elements.update(dict.fromkeys(map(Element.from_wire, inner.added)))


def _delta(added: dict[Element, None]) -> CrdtDelta:
    return CrdtDelta(gset=GSetDelta(added=[element.to_wire() for element in added]))
