"""The two sets on the protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from cloudstate.crdt_pb2 import GSetDelta, ORSetDelta
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.translation.dotted import joined
from cloudstate_crdt.translation.faults import Incompatible
from cloudstate_crdt.translation.translation import (
    KeyedTranslation,
    Viewpoint,
    Writer,
)
from cloudstate_crdt.types.gset import GSet
from cloudstate_crdt.types.orset import ORSet

__all__ = ["GSetTranslation", "ORSetTranslation"]

Elements = set[Segment]


def _elements(items: Iterable[Any]) -> Elements:
    return set(map(Segment.of, items))


def _items(elements: Iterable[Segment]) -> list[Any]:
    return [element.item() for element in sorted(elements)]


class GSetTranslation(KeyedTranslation[GSet, Elements, GSetDelta, bool]):
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
        return self.advance(None if had is None else set(had), delta)

    def advance(self, had: Elements | None, delta: GSetDelta) -> Elements:
        elements = set() if had is None else had
        elements.update(_elements(delta.added))
        return elements

    def places(
        self, state: GSet, keys: Iterable[Segment], viewpoint: Viewpoint
    ) -> Mapping[Segment, bool]:
        return {key: key.item() in state for key in keys}

    def difference_in(self, had: Elements, places: Mapping[Segment, bool]) -> GSetDelta | None:
        added = {key for key, is_there in places.items() if is_there and key not in had}
        return self.whole(added) if added else None

    def put(self, had: Elements, places: Mapping[Segment, bool]) -> None:
        had.update(key for key, is_there in places.items() if is_there)

    def write(self, state: GSet, delta: GSetDelta, writer: Writer) -> GSet:
        changed = GSet()
        for element in delta.added:
            changed.join(state.add(element))
        return changed


class ORSetTranslation(KeyedTranslation[ORSet, Elements, ORSetDelta, bool]):
    """A set is known by its elements."""

    state_type: ClassVar[type[Lattice]] = ORSet
    delta_class: ClassVar[type[Message]] = ORSetDelta

    def content(self, state: ORSet, viewpoint: Viewpoint) -> Elements:
        return _elements(state)

    def whole(self, content: Elements) -> ORSetDelta:
        return ORSetDelta(added=_items(content))

    def difference(self, had: Elements, has: Elements) -> ORSetDelta | None:
        return _change(had, removed=had - has, added=has - had)

    def after(self, had: Elements | None, delta: ORSetDelta) -> Elements:
        return self.advance(None if had is None else set(had), delta)

    def advance(self, had: Elements | None, delta: ORSetDelta) -> Elements:
        elements = set() if had is None else had
        if delta.cleared:
            elements.clear()
        elements.difference_update(_elements(delta.removed))
        elements.update(_elements(delta.added))
        return elements

    def places(
        self, state: ORSet, keys: Iterable[Segment], viewpoint: Viewpoint
    ) -> Mapping[Segment, bool]:
        return {key: key.item() in state for key in keys}

    def difference_in(self, had: Elements, places: Mapping[Segment, bool]) -> ORSetDelta | None:
        return _change(
            had,
            removed={key for key, is_there in places.items() if not is_there and key in had},
            added={key for key, is_there in places.items() if is_there and key not in had},
        )

    def put(self, had: Elements, places: Mapping[Segment, bool]) -> None:
        for key, is_there in places.items():
            (had.add if is_there else had.discard)(key)

    def write(self, state: ORSet, delta: ORSetDelta, writer: Writer) -> ORSet:
        return ORSet(joined(_changes(state, delta, writer), state))


def _changes(state: ORSet, delta: ORSetDelta, writer: Writer) -> Iterator[ORSet]:
    """Carry out one part of a delta after another; yield what each changes."""
    if delta.cleared:
        yield state.clear()
    for element in delta.removed:
        yield state.remove(element)
    for element in delta.added:
        yield state.add(writer.replica, element)


def _change(had: Elements, removed: Elements, added: Elements) -> ORSetDelta | None:
    if not removed and not added:
        return None
    if len(removed) + len(added) > len(had) - len(removed) + len(added):
        return ORSetDelta(cleared=True, added=_items((had - removed) | added))
    return ORSetDelta(removed=_items(removed), added=_items(added))
