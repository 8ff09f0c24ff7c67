"""What is due, and when, where all have the same time. Pure: time is handed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["DueOrder"]

K = TypeVar("K", bound=Hashable)


class DueOrder(Generic[K]):
    """Things that are due some time after they were added, in the order of adding."""

    def __init__(self, timeout_s: float) -> None:
        """Start empty.

        Args:
            timeout_s: After how long each is due, in seconds.
        """
        self._timeout_s = timeout_s
        self._since_s: OrderedDict[K, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since_s)

    def add(self, key: K, now_s: float) -> None:
        """Begin to count for a thing, anew if it is there."""
        self._since_s[key] = now_s
        self._since_s.move_to_end(key)

    def remove(self, key: K) -> None:
        """Count for it no more."""
        self._since_s.pop(key, None)

    def take_due(self, now_s: float) -> list[K]:
        """Remove and return what is due."""
        due: list[K] = []
        for key, since_s in self._since_s.items():
            if since_s + self._timeout_s > now_s:
                break
            due.append(key)
        for key in due:
            del self._since_s[key]
        return due

    def take_first(self) -> K | None:
        """Remove and return what is due first; None if nothing is there."""
        return self._since_s.popitem(last=False)[0] if self._since_s else None

    def next_in_s(self, now_s: float) -> float:
        """Return after how many seconds to look again; the whole time if nothing is there."""
        for since_s in self._since_s.values():
            return max(since_s + self._timeout_s - now_s, 0.0)
        return self._timeout_s
