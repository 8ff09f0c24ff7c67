"""A set in which an addition wins over a removal that did not know of it."""

from __future__ import annotations

from collections.abc import MutableSet
from typing import ClassVar

from cloudstate.crdt_pb2 import CrdtDelta, ORSetDelta
from cloudstate_core.anys import AnyError
from cloudstate_crdt.data.elements import E, Element, ElementSet

__all__ = ["ORSet"]


class ORSet(ElementSet[E], MutableSet[E]):
    """A set; where one node adds what another one removes at the same time, it stays.

    It has the methods and operators of `set` for adding and removing. `ORSet[str]` says what is in
    it, to type checkers.
    """

    delta_name: ClassVar[str] = "orset"

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self._cleared = False
        self._removed: dict[Element, None] = {}
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
        if element in self._elements:
            return
        self._before_change()
        self._elements[element] = None
        # What was there before this command, was taken out and is put back, is as it was.
        if element in self._removed:
            del self._removed[element]
        else:
            self._added[element] = None

    def discard(self, value: E) -> None:
        """Take an element out; nothing happens if it is not there."""
        try:
            element = Element.of(value)
        except AnyError:
            return
        if element not in self._elements:
            return
        self._before_change()
        del self._elements[element]
        # The last one is told like any other, and not as `cleared`: that would also take out what
        # another node has added and this one has not heard of.
        if element in self._added:
            del self._added[element]
        else:
            self._removed[element] = None

    def clear(self) -> None:
        """Take everything out, also what was added elsewhere and has just arrived at the runtime.

        It is a change even if the set is empty.
        """
        self._before_change()
        self._cleared = True
        for elements in (self._elements, self._removed, self._added):
            elements.clear()

    def pending(self) -> CrdtDelta | None:
        if not (self._cleared or self._removed or self._added):
            return None
        return CrdtDelta(
            orset=ORSetDelta(
                cleared=self._cleared,
                removed=[element.to_wire() for element in self._removed],
                added=[element.to_wire() for element in self._added],
            )
        )

    def forget_pending(self) -> None:
        self._cleared = False
        self._removed.clear()
        self._added.clear()

    def whole(self) -> CrdtDelta:
        added = [element.to_wire() for element in self._elements]
        return CrdtDelta(orset=ORSetDelta(added=added))

    def _apply(self, inner: ORSetDelta) -> None:
        if inner.cleared:
            self._elements.clear()
        for removed in inner.removed:
            self._elements.pop(Element.from_wire(removed), None)
        self._elements.update(dict.fromkeys(map(Element.from_wire, inner.added)))
