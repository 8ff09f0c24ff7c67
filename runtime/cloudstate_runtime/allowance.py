"""How often something may be done: so often at once, and so often a second in the long run."""

from __future__ import annotations

from cloudstate_core.clock import Clock

__all__ = ["Allowance"]


class Allowance:
    """What is left of it, at any time.

    Args:
        clock: The time.
        at_once: How often at once, after a while in which nothing was done.
        per_s: How often a second in the long run.
    """

    def __init__(self, clock: Clock, *, at_once: int, per_s: float) -> None:
        self._clock = clock
        self._most = float(at_once)
        self._per_s = per_s
        self._left = self._most
        self._counted_at_s = clock.monotonic_s()

    def take(self) -> bool:
        """Use it once; return False if it may not be done now."""
        now_s = self._clock.monotonic_s()
        self._left = min(self._left + (now_s - self._counted_at_s) * self._per_s, self._most)
        self._counted_at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
