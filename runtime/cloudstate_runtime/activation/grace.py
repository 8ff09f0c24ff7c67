"""How long what runs may still take."""

from __future__ import annotations

from cloudstate_core.clock import Clock

__all__ = ["Grace"]


class Grace:
    """A span that several parts of the runtime share: it begins once, for all of them.

    Without that, each of many services that stop one after another would be given the whole span.
    """

    def __init__(self, clock: Clock, span_s: float) -> None:
        """Keep the length of the span, in seconds; it has not begun."""
        self._clock = clock
        self._span_s = span_s
        self._ends_s: float | None = None

    def begin(self, span_s: float | None = None) -> None:
        """Begin, unless it has begun; a span of another length can only make it end earlier."""
        ends_s = self._clock.monotonic_s() + (self._span_s if span_s is None else span_s)
        self._ends_s = ends_s if self._ends_s is None else min(ends_s, self._ends_s)

    def left_s(self) -> float:
        """Return how much is left, in seconds; nothing once it is over."""
        if self._ends_s is None:
            return self._span_s
        return max(self._ends_s - self._clock.monotonic_s(), 0.0)
