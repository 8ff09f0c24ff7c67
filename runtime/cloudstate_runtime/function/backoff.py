"""How long to wait between attempts. Pure: time and randomness are handed in."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

__all__ = ["JITTER", "Pace", "backoff_s"]

#: Each wait is up to this fraction longer, so that many who lost the same peer do not return at
#: once.
JITTER = 0.2


def backoff_s(random: Random, *, min_s: float, max_s: float) -> Iterator[float]:
    """Yield waits in seconds, doubling from `min_s` to `max_s`, without end."""
    wait_s = min_s
    while True:
        yield wait_s * (1 + random.random() * JITTER)
        wait_s = min(wait_s * 2, max_s)


class Pace:
    """How fast to return to a peer that was lost: at once, unless it is lost all the time."""

    def __init__(self, random: Random, *, min_s: float, max_s: float) -> None:
        """Start as if it had never been lost.

        Args:
            random: For the spread of waits.
            min_s: First wait if it is lost again soon, in seconds.
            max_s: Longest wait, in seconds; also how long it must be there to be trusted again.
        """
        self._random = random
        self._min_s = min_s
        self._max_s = max_s
        self._waits: Iterator[float] | None = None

    def wait_s(self, was_there_s: float) -> float:
        """Return how long to wait now, after the peer was there for some seconds."""
        if self._waits is None or was_there_s >= self._max_s:
            self._waits = backoff_s(self._random, min_s=self._min_s, max_s=self._max_s)
            return 0.0
        return next(self._waits)
