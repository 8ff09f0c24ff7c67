"""What the operator is told, and how often."""

from __future__ import annotations

from cloudstate_crdt.replication.words import Report

__all__ = ["Reports"]

#: How many things are remembered to have been reported.
_MAX_REMEMBERED = 1_000


class Reports:
    """Reports the same of the same node from time to time only, and how often it was in between."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._made: dict[tuple[str, str], tuple[float, int]] = {}

    def report(self, what: str, node: str, now_s: float, **fields: object) -> list[Report]:
        """Return the report, or nothing if it is too early for another."""
        made_s, left_out = self._made.pop((what, node), (-self._every_s, 0))
        if now_s < made_s + self._every_s:
            self._made[what, node] = (made_s, left_out + 1)
            return []
        if len(self._made) >= _MAX_REMEMBERED:
            del self._made[next(iter(self._made))]
        self._made[what, node] = (now_s, 0)
        return [Report(what, {"node": node, **fields, "left_out": left_out})]
