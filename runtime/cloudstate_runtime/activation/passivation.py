"""Which idle entities leave memory, and when. Pure: time is handed in."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["IdleEntities"]


class IdleEntities:
    """The entities of one region that are in memory and have nothing to do.

    All of them have the same timeout, so the order in which they became idle is the order in which
    they are due.
    """

    def __init__(self, timeout_s: float) -> None:
        """Start empty.

        Args:
            timeout_s: How long an entity stays in memory without a command, in seconds.
        """
        self._timeout_s = timeout_s
        self._idle_since_s: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._idle_since_s)

    def add(self, entity_id: str, now_s: float) -> None:
        """Note that an entity has become idle."""
        self._idle_since_s[entity_id] = now_s

    def remove(self, entity_id: str) -> None:
        """Note that an entity has something to do again, or is gone."""
        self._idle_since_s.pop(entity_id, None)

    def take_due(self, now_s: float, *, at_most: int) -> list[str]:
        """Remove and return entities whose time is over, the longest idle first.

        Args:
            now_s: The time, on the clock of `add`.
            at_most: How many.
        """
        due: list[str] = []
        for entity_id, since_s in self._idle_since_s.items():
            if len(due) >= at_most or since_s + self._timeout_s > now_s:
                break
            due.append(entity_id)
        for entity_id in due:
            del self._idle_since_s[entity_id]
        return due

    def take_longest_idle(self) -> str | None:
        """Remove and return the entity that is idle for the longest time; None if none is."""
        if not self._idle_since_s:
            return None
        return self._idle_since_s.popitem(last=False)[0]

    def next_due_in_s(self, now_s: float) -> float:
        """Return after how many seconds to look again; the whole timeout if nothing is idle."""
        for since_s in self._idle_since_s.values():
            return max(since_s + self._timeout_s - now_s, 0.0)
        return self._timeout_s
