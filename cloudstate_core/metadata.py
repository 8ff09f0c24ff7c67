"""Metadata: the headers of a call, as an ordered, immutable multi-map.

Keys are case-insensitive; a key may occur several times; values are text or bytes (Cloudstate
protocol, `Metadata`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloudstate.entity_pb2 import Metadata as WireMetadata
from cloudstate.entity_pb2 import MetadataEntry

__all__ = ["EMPTY_METADATA", "Metadata"]


class Metadata:
    """An ordered multi-map of headers. Changing it returns a copy.

    Example:
        >>> Metadata([("a", "1")]).add("A", "2").get_all("a")
        ('1', '2')
    """

    __slots__ = ("_entries",)

    def __init__(self, entries: Iterable[tuple[str, str | bytes]] = ()) -> None:
        """Keep `entries` in order.

        Args:
            entries: Pairs of key and value.
        """
        self._entries = tuple(entries)

    @classmethod
    def from_wire(cls, wire: WireMetadata) -> Metadata:
        """Read the protocol's form. An entry without a value counts as empty text."""
        return cls(
            (entry.key, entry.bytes_value)
            if entry.WhichOneof("value") == "bytes_value"
            else (entry.key, entry.string_value)
            for entry in wire.entries
        )

    def to_wire(self) -> WireMetadata:
        """Return the protocol's form, entries in the same order."""
        return WireMetadata(
            entries=[
                MetadataEntry(key=key, bytes_value=value)
                if isinstance(value, bytes)
                else MetadataEntry(key=key, string_value=value)
                for key, value in self._entries
            ]
        )

    def get(self, key: str) -> str | bytes | None:
        """Return the first value of `key`, or None."""
        wanted = key.lower()
        return next((value for name, value in self._entries if name.lower() == wanted), None)

    def get_all(self, key: str) -> tuple[str | bytes, ...]:
        """Return every value of `key`, in order."""
        wanted = key.lower()
        return tuple(value for name, value in self._entries if name.lower() == wanted)

    def add(self, key: str, value: str | bytes) -> Metadata:
        """Return a copy with one more entry at the end."""
        return Metadata((*self._entries, (key, value)))

    def set(self, key: str, value: str | bytes) -> Metadata:
        """Return a copy in which `value` is the only one of `key`."""
        return self.remove(key).add(key, value)

    def remove(self, key: str) -> Metadata:
        """Return a copy without `key`."""
        unwanted = key.lower()
        return Metadata((name, value) for name, value in self._entries if name.lower() != unwanted)

    def __iter__(self) -> Iterator[tuple[str, str | bytes]]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metadata) and self._entries == other._entries

    def __hash__(self) -> int:
        return hash(self._entries)

    def __repr__(self) -> str:
        # Values may be credentials, and a repr ends up in logs.
        return f"Metadata({[key for key, _ in self._entries]!r})"


#: Metadata without entries, shared because most calls within a process have none.
EMPTY_METADATA = Metadata()
