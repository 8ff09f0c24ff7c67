"""What the operator is told, and how often."""

from __future__ import annotations

from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.replicas import Change
from cloudstate_crdt.replication.words import Report
from cloudstate_crdt.types.lwwregister import LWWRegister
from cloudstate_crdt.types.ormap import ORMap

__all__ = ["Reports", "ahead_of"]

#: How many things are remembered to have been reported.
_MAX_REMEMBERED = 1_000

# A number beyond the year 3000 is no time in milliseconds, but one that the application has chosen.
_MAX_TIME_MS = 32_503_680_000_000


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


def ahead_of(change: Change, unix_time_s: float) -> float:
    """Return how many seconds after `unix_time_s` a register says it was written; 0 for none."""
    latest_ms = max((t for t in _times(change) if t < _MAX_TIME_MS), default=0)
    return max(0.0, latest_ms / 1000 - unix_time_s)


def _times(change: object) -> list[int]:
    if isinstance(change, LWWRegister):
        # The reverse clock counts downwards.
        return [] if change.timestamp is None else [abs(change.timestamp)]
    if isinstance(change, ORMap):
        return [time for key in change for time in _times(_value(change, key))]
    return []


def _value(found: ORMap, key: object) -> Lattice | None:
    return found.get(key)  # type: ignore[arg-type]
