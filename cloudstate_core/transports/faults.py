"""What a network does to messages, decided by chance that is handed in."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from cloudstate_core.value import value

__all__ = ["NO_FAULTS", "Faults"]


@value
class Faults:
    """What may happen to a message between two nodes.

    Messages whose delays differ overtake each other, unless `keeps_order`.

    Attributes:
        loss: How probable it is that a copy does not arrive.
        duplication: How probable it is that a second copy is sent, which has a fate of its own.
        min_delay_s: How long a copy takes at least, in seconds.
        max_delay_s: How long a copy takes at most, in seconds.
        late: How probable it is that a copy takes `late_by_s` longer than that.
        late_by_s: By how much, in seconds.
        keeps_order: Whether a copy waits for those that were sent before it.
    """

    loss: float = 0.0
    duplication: float = 0.0
    min_delay_s: float = 0.0
    max_delay_s: float = 0.0
    late: float = 0.0
    late_by_s: float = 0.0
    keeps_order: bool = False

    def delays_s(self, random: Random) -> Iterator[float]:
        """Draw when the copies of one message arrive, in seconds from now; none if it is lost."""
        copies = 2 if self.duplication and random.random() < self.duplication else 1
        for _ in range(copies):
            if self.loss and random.random() < self.loss:
                continue
            delay_s = random.uniform(self.min_delay_s, self.max_delay_s)
            if self.late and random.random() < self.late:
                delay_s += self.late_by_s
            yield delay_s


NO_FAULTS = Faults()
