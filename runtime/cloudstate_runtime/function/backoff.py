"""How long to wait between attempts. Pure: randomness is handed in."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

__all__ = ["JITTER", "backoff_s"]

#: Each wait is up to this fraction longer, so that many who lost the same peer do not return at
#: once.
JITTER = 0.2


def backoff_s(random: Random, *, min_s: float, max_s: float) -> Iterator[float]:
    """Yield waits in seconds, doubling from `min_s` to `max_s`, without end."""
    wait_s = min_s
    while True:
        yield wait_s * (1 + random.random() * JITTER)
        wait_s = min(wait_s * 2, max_s)
