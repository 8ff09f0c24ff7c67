"""Seeing that a clock is ahead, by what is written into registers.

Such a write stays until the clocks of the nodes have come as far, whether another node's clock is
wrong or a handler has chosen the number; with the reverse clock, where the first write should stay,
every other one beats it. It is not refused: then replicas would not be equal any more. Whoever runs
the nodes is told.
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from cloudstate_core.clock import Clock
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.types.dotted import DottedLattice
from cloudstate_crdt.types.lwwregister import LWWRegister

__all__ = ["MAX_AHEAD_S", "ClockWatch"]

log = structlog.get_logger()

#: Clocks of one cluster are closer together than that.
MAX_AHEAD_S = 60.0

#: No more often than that is the same said again, in seconds.
_SILENCE_S = 60.0

#: A number from here on was chosen as one, and is no time in milliseconds (the year 5138).
_NO_TIME_FROM_MS = 10**14

_MAY_HOLD_REGISTERS = (LWWRegister, DottedLattice)


class ClockWatch:
    """Looks at what is written, here and elsewhere."""

    def __init__(self, clock: Clock) -> None:
        """Compare with this node's clock."""
        self._clock = clock
        self._silent_until_s = clock.monotonic_s()

    def look_at(self, entity_id: str, change: Lattice) -> None:
        """Log it, once in a while, if a register was written in the future."""
        if not isinstance(change, _MAY_HOLD_REGISTERS):
            return
        latest_ms = max(_times_ms(change), default=None)
        if latest_ms is None:
            return
        ahead_s = latest_ms / 1000 - self._clock.unix_time_s()
        now_s = self._clock.monotonic_s()
        if ahead_s > MAX_AHEAD_S and now_s >= self._silent_until_s:
            self._silent_until_s = now_s + _SILENCE_S
            log.warning("register_written_in_the_future", entity_id=entity_id, ahead_s=ahead_s)


def _times_ms(change: Lattice) -> Iterator[int]:
    """Yield when the registers in a state or delta were written; the reverse clock negates it."""
    for register in _registers_in(change):
        if register.timestamp is not None and abs(register.timestamp) < _NO_TIME_FROM_MS:
            yield abs(register.timestamp)


def _registers_in(change: Lattice) -> Iterator[LWWRegister]:
    if isinstance(change, LWWRegister):
        yield change
    elif isinstance(change, DottedLattice):
        parts = map(change.store.part_of, change.store.paths)
        yield from (part for part in parts if isinstance(part, LWWRegister))
