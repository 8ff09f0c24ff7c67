"""The map on the protocol: its entries are translated as their types say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

from google.protobuf.message import Message

from cloudstate.crdt_pb2 import CrdtDelta, ORMapDelta, ORMapEntryDelta
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.translation.faults import Incompatible
from cloudstate_crdt.translation.translation import Translation, View, Viewpoint, Writer
from cloudstate_crdt.types.ormap import ORMap

__all__ = ["Entries", "ORMapTranslation", "Values"]

Entries = Mapping[Segment, View]


class Values(Protocol):
    """How values of any type are translated."""

    def view(self, state: Lattice, viewpoint: Viewpoint) -> View: ...

    def whole(self, view: View) -> CrdtDelta: ...

    def difference(self, had: View | None, has: View) -> CrdtDelta | None: ...

    def after(self, had: View | None, delta: CrdtDelta) -> View: ...

    def is_foreseen(self, had: View | None, delta: CrdtDelta) -> bool: ...

    def state_type(self, delta: CrdtDelta) -> type[Lattice]: ...

    def write(self, state: Lattice, delta: CrdtDelta, writer: Writer) -> Lattice: ...


class ORMapTranslation(Translation[ORMap, Entries, ORMapDelta]):
    """A map is known by what is under each of its keys."""

    state_type: ClassVar[type[Lattice]] = ORMap
    delta_class: ClassVar[type[Message]] = ORMapDelta

    def __init__(self, values: Values) -> None:
        """Keep how values are translated."""
        self._values = values

    def content(self, state: ORMap, viewpoint: Viewpoint) -> Entries:
        entries = {}
        for key in state:
            value = state.get(key)
            assert value is not None, "a key that is there has a value"
            entries[Segment.of(key)] = self._values.view(value, viewpoint)
        return entries

    def whole(self, content: Entries) -> ORMapDelta:
        return ORMapDelta(added=self._added(content, content))

    def difference(self, had: Entries, has: Entries) -> ORMapDelta | None:
        if had == has:
            return None
        if not has:
            return ORMapDelta(cleared=True)
        removed = {key for key in had if key not in has}
        added = {key for key in has if key not in had}
        updated = []
        for key in sorted(had.keys() & has.keys()):
            try:
                delta = self._values.difference(had[key], has[key])
            except Incompatible:
                # Removed and put there again by another node: of another type, or begun anew.
                removed.add(key)
                added.add(key)
                continue
            if delta is not None:
                updated.append(ORMapEntryDelta(key=key.item(), delta=delta))
        gone = [key.item() for key in sorted(removed)]
        return ORMapDelta(removed=gone, updated=updated, added=self._added(has, added))

    def after(self, had: Entries | None, delta: ORMapDelta) -> Entries:
        entries = {} if had is None or delta.cleared else dict(had)
        for item in delta.removed:
            entries.pop(Segment.of(item), None)
        for entry in delta.updated:
            key = Segment.of(entry.key)
            present = entries.get(key)
            if present is not None and present.type_name == entry.delta.WhichOneof("delta"):
                entries[key] = self._values.after(present, entry.delta)
        for entry in delta.added:
            key = Segment.of(entry.key)
            present = entries.get(key)
            if present is not None and present.type_name != entry.delta.WhichOneof("delta"):
                present = None
            entries[key] = self._values.after(present, entry.delta)
        return entries

    def is_foreseen(self, had: Entries | None, delta: ORMapDelta) -> bool:
        present = {} if had is None or delta.cleared else dict(had)
        for key in delta.removed:
            present.pop(Segment.of(key), None)
        return all(
            self._values.is_foreseen(present.get(Segment.of(entry.key)), entry.delta)
            for entry in (*delta.updated, *delta.added)
        )

    def write(self, state: ORMap, delta: ORMapDelta, writer: Writer) -> ORMap:
        # A map inside a map shares its store, and so do its deltas: they are joined there.
        changed = state.clear().store if delta.cleared else state.store.drop(())
        for key in delta.removed:
            changed.join(state.remove(key).store)
        for entry in delta.updated:
            # What another node has removed or replaced meanwhile is left as that node wants it.
            if state.type_of(entry.key) is self._values.state_type(entry.delta):
                changed.join(self._write_entry(state, entry, writer).store)
        for entry in delta.added:
            changed.join(self._write_entry(state, entry, writer).store)
        return ORMap(changed)

    def _write_entry(self, state: ORMap, entry: ORMapEntryDelta, writer: Writer) -> ORMap:
        def change(value: Lattice, replica: Replica) -> Lattice:
            return self._values.write(value, entry.delta, writer._replace(replica=replica))

        type_ = self._values.state_type(entry.delta)
        return state.update(writer.replica, entry.key, type_, change)

    def _added(self, entries: Entries, keys: Iterable[Segment]) -> list[ORMapEntryDelta]:
        return [
            ORMapEntryDelta(key=key.item(), delta=self._values.whole(entries[key]))
            for key in sorted(keys)
        ]
