"""What is due, and when, where all have the same time. Pure: time is handed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from itertools import islice, takewhile
from typing import Generic, TypeVar

__all__ = ["DueOrder"]

K = TypeVar("K", bound=Hashable)


class DueOrder(Generic[K]):
    """Things that are due some time after they were added, in the order of adding.

    Idle entities, for one: all have the same timeout, so they are due in the order in which they
    became idle.
    """

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

    def take_due(self, now_s: float, *, at_most: int | None = None) -> list[K]:
        """Remove and return what is due, what was added first first.

        Args:
            now_s: The time, on the clock of `add`.
            at_most: How many; None for all.
        """
        is_due = takewhile(lambda entry: entry[1] + self._timeout_s <= now_s, self._since_s.items())
        due = [key for key, _ in islice(is_due, at_most)]
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
