"""The map on the protocol: its entries are translated as their types say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar, Protocol

from google.protobuf.message import Message

from cloudstate.crdt_pb2 import CrdtDelta, ORMapDelta, ORMapEntryDelta
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.translation.dotted import joined
from cloudstate_crdt.translation.faults import Incompatible
from cloudstate_crdt.translation.translation import KeyedTranslation, View, Viewpoint, Writer
from cloudstate_crdt.types.ormap import ORMap

__all__ = ["Entries", "ORMapTranslation", "Values"]

Entries = dict[Segment, View]


class Values(Protocol):
    """How values of any type are translated."""

    def view(self, state: Lattice, viewpoint: Viewpoint) -> View: ...

    def whole(self, view: View) -> CrdtDelta: ...

    def difference(self, had: View | None, has: View) -> CrdtDelta | None: ...

    def after(self, had: View | None, delta: CrdtDelta) -> View: ...

    def advance(self, had: View | None, delta: CrdtDelta) -> View: ...

    def is_foreseen(self, had: View | None, delta: CrdtDelta) -> bool: ...

    def state_type(self, delta: CrdtDelta) -> type[Lattice]: ...

    def write(self, state: Lattice, delta: CrdtDelta, writer: Writer) -> Lattice: ...


class ORMapTranslation(KeyedTranslation[ORMap, Entries, ORMapDelta, View | None]):
    """A map is known by what is under each of its keys."""

    state_type: ClassVar[type[Lattice]] = ORMap
    delta_class: ClassVar[type[Message]] = ORMapDelta

    def __init__(self, values: Values) -> None:
        """Keep how values are translated."""
        self._values = values

    def content(self, state: ORMap, viewpoint: Viewpoint) -> Entries:
        return {key: self._values.view(value, viewpoint) for key, value in state.entries()}

    def places(
        self, state: ORMap, keys: Iterable[Segment], viewpoint: Viewpoint
    ) -> Mapping[Segment, View | None]:
        values = ((key, state.get(key.item())) for key in keys)
        return {
            key: None if value is None else self._values.view(value, viewpoint)
            for key, value in values
        }

    def whole(self, content: Entries) -> ORMapDelta:
        return ORMapDelta(
            added=[
                ORMapEntryDelta(key=key.item(), delta=self._values.whole(content[key]))
                for key in sorted(content)
            ]
        )

    def difference(self, had: Entries, has: Entries) -> ORMapDelta | None:
        if had == has:
            return None
        return self.difference_in(had, {key: has.get(key) for key in had.keys() | has.keys()})

    def difference_in(
        self, had: Entries, places: Mapping[Segment, View | None]
    ) -> ORMapDelta | None:
        changed = {key: view for key, view in places.items() if had.get(key) != view}
        if not changed:
            return None
        kept = [view for view in places.values() if view is not None]
        if not kept and had.keys() <= places.keys():
            return ORMapDelta(cleared=True)
        delta = ORMapDelta()
        for key in sorted(changed):
            self._tell(delta, key, had.get(key), changed[key])
        return delta

    def _tell(self, delta: ORMapDelta, key: Segment, was: View | None, view: View | None) -> None:
        """Add to a delta what has become of an entry."""
        update = None if was is None or view is None else self._update(was, view)
        if update is not None:
            delta.updated.add(key=key.item(), delta=update)
            return
        if was is not None:
            delta.removed.append(key.item())
        if view is not None:
            delta.added.add(key=key.item(), delta=self._values.whole(view))

    def _update(self, was: View, view: View) -> CrdtDelta | None:
        try:
            return self._values.difference(was, view)
        except Incompatible:
            # Removed and put there again by another node: of another type, or begun anew.
            return None

    def put(self, had: Entries, places: Mapping[Segment, View | None]) -> None:
        for key, view in places.items():
            if view is None:
                had.pop(key, None)
            else:
                had[key] = view

    def after(self, had: Entries | None, delta: ORMapDelta) -> Entries:
        return self._changed({} if had is None else dict(had), delta, self._values.after)

    def advance(self, had: Entries | None, delta: ORMapDelta) -> Entries:
        return self._changed({} if had is None else had, delta, self._values.advance)

    @staticmethod
    def _changed(
        entries: Entries, delta: ORMapDelta, after: Callable[[View | None, CrdtDelta], View]
    ) -> Entries:
        if delta.cleared:
            entries.clear()
        for item in delta.removed:
            entries.pop(Segment.of(item), None)
        for entry in delta.updated:
            key = Segment.of(entry.key)
            present = entries.get(key)
            if present is not None and present.type_name == entry.delta.WhichOneof("delta"):
                entries[key] = after(present, entry.delta)
        for entry in delta.added:
            key = Segment.of(entry.key)
            present = entries.get(key)
            if present is not None and present.type_name != entry.delta.WhichOneof("delta"):
                present = None
            entries[key] = after(present, entry.delta)
        return entries

    def is_foreseen(self, had: Entries | None, delta: ORMapDelta) -> bool:
        present = {} if had is None or delta.cleared else had
        removed = set(map(Segment.of, delta.removed))

        def is_foreseen(entry: ORMapEntryDelta) -> bool:
            key = Segment.of(entry.key)
            value = None if key in removed else present.get(key)
            return self._values.is_foreseen(value, entry.delta)

        return all(map(is_foreseen, (*delta.updated, *delta.added)))

    def write(self, state: ORMap, delta: ORMapDelta, writer: Writer) -> ORMap:
        return ORMap(joined(self._changes(state, delta, writer), state))

    def _changes(self, state: ORMap, delta: ORMapDelta, writer: Writer) -> Iterator[ORMap]:
        """Carry out one part of a delta after another; yield what each changes."""
        if delta.cleared:
            yield state.clear()
        for key in delta.removed:
            yield state.remove(key)
        for entry in delta.updated:
            # What another node has removed or replaced meanwhile is left as that node wants it.
            if state.type_of(entry.key) is self._values.state_type(entry.delta):
                yield self._write_entry(state, entry, writer)
        for entry in delta.added:
            yield self._write_entry(state, entry, writer)

    def _write_entry(self, state: ORMap, entry: ORMapEntryDelta, writer: Writer) -> ORMap:
        def change(value: Lattice, replica: Replica) -> Lattice:
            return self._values.write(value, entry.delta, writer._replace(replica=replica))

        type_ = self._values.state_type(entry.delta)
        return state.update(writer.replica, entry.key, type_, change)
