"""Elements of sets and keys of maps: `google.protobuf.Any`, compared by value."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.any_pb2 import Any

__all__ = ["Segment"]


class Segment(NamedTuple):
    """An element, or a key together with the type of what is under it.

    Attributes:
        type_url: Of the element or key.
        value: Its bytes; whoever packs it packs equal ones equally.
        type_name: The type of the value under a key; empty for an element.
    """

    type_url: str
    value: bytes
    type_name: str = ""

    @classmethod
    def of(cls, item: Any, type_name: str = "") -> Segment:
        return cls(item.type_url, item.value, type_name)

    def item(self) -> Any:
        """Return the element or key."""
        return Any(type_url=self.type_url, value=self.value)
