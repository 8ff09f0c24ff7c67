"""The two sets on the protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from cloudstate.crdt_pb2 import GSetDelta, ORSetDelta
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.translation.faults import Incompatible
from cloudstate_crdt.translation.translation import Translation, Viewpoint, Writer
from cloudstate_crdt.types.gset import GSet
from cloudstate_crdt.types.orset import ORSet

__all__ = ["GSetTranslation", "ORSetTranslation"]

Elements = frozenset[Segment]


def _elements(items: Iterable[Any]) -> Elements:
    return frozenset(map(Segment.of, items))


def _items(elements: Elements) -> list[Any]:
    return [element.item() for element in sorted(elements)]


class GSetTranslation(Translation[GSet, Elements, GSetDelta]):
    """A set that grows is known by its elements."""

    state_type: ClassVar[type[Lattice]] = GSet
    delta_class: ClassVar[type[Message]] = GSetDelta

    def content(self, state: GSet, viewpoint: Viewpoint) -> Elements:
        return _elements(state)

    def whole(self, content: Elements) -> GSetDelta:
        return GSetDelta(added=_items(content))

    def difference(self, had: Elements, has: Elements) -> GSetDelta | None:
        if missing := len(had - has):
            raise Incompatible(f"expected a set that grows, found one without {missing} elements")
        return self.whole(has - had) if has != had else None

    def after(self, had: Elements | None, delta: GSetDelta) -> Elements:
        return (had or frozenset()) | _elements(delta.added)

    def write(self, state: GSet, delta: GSetDelta, writer: Writer) -> GSet:
        changed = GSet()
        for element in delta.added:
            changed.join(state.add(element))
        return changed


class ORSetTranslation(Translation[ORSet, Elements, ORSetDelta]):
    """A set is known by its elements."""

    state_type: ClassVar[type[Lattice]] = ORSet
    delta_class: ClassVar[type[Message]] = ORSetDelta

    def content(self, state: ORSet, viewpoint: Viewpoint) -> Elements:
        return _elements(state)

    def whole(self, content: Elements) -> ORSetDelta:
        return ORSetDelta(added=_items(content))

    def difference(self, had: Elements, has: Elements) -> ORSetDelta | None:
        if had == has:
            return None
        removed, added = had - has, has - had
        if len(removed) + len(added) > len(has):
            return ORSetDelta(cleared=True, added=_items(has))
        return ORSetDelta(removed=_items(removed), added=_items(added))

    def after(self, had: Elements | None, delta: ORSetDelta) -> Elements:
        kept = frozenset() if had is None or delta.cleared else had
        return (kept - _elements(delta.removed)) | _elements(delta.added)

    def write(self, state: ORSet, delta: ORSetDelta, writer: Writer) -> ORSet:
        # A set inside a map shares the map's store, and so do its deltas: they are joined there.
        changed = state.clear().store if delta.cleared else state.store.drop(())
        for element in delta.removed:
            changed.join(state.remove(element).store)
        for element in delta.added:
            changed.join(state.add(writer.replica, element).store)
        return ORSet(changed)
