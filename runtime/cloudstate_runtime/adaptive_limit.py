"""How many requests may be in work at once, learned from how late the event loop is. No I/O.

What costs a runtime its life under overload is the queue in its own event loop: each turn of the
loop takes longer, every request needs several turns, and in the end all of them are answered when
nobody waits any more. So the loop is asked how late it is, and not the requests how long they took:
a request that takes long because its handler waits, for a timer or for somebody's answer, makes the
loop no later, and a limit on latency would refuse others for its sake.

Two ideas are borrowed. From CoDel (RFC 8289): a queue that comes and goes is good, one that stands
is not, and a window of about 100 ms tells them apart. (CoDel takes the least delay in it. Turns of
a loop alternate between long and short ones, as answers of a store come back together, so here more
than half of the turns must be late.) From TCP's control of congestion (RFC 5681): what is limited
is how much is in work, so that each answer makes room for one request and no estimate of a rate is
needed. When a queue stands the limit is cut in proportion to the delay; it grows a little after
each window in which it was felt, and is doubled once that has gone well for a while.
"""

from __future__ import annotations

import math

__all__ = ["AdaptiveLimit"]

#: How long a window is at least, in seconds: CoDel's interval.
_WINDOW_S = 0.1

#: How many turns of the loop a window has at least.
_WINDOW_TURNS = 3

#: How many turns a generation of requests has at least. A command needs fewer from its arrival to
#: its answer, however late the loop is.
_GENERATION_TURNS = 16

#: Two turns in a row that are late by so many times `max_lag_s`, and no more are let in than leave.
#: A window is too long for this: where each turn lets in what came in the one before, both grow
#: without bounds. One such turn may be a pause.
_VERY_LATE = 4

#: How much of the limit is left at least after one window.
_DEEPEST_CUT = 1 / 8

#: By what the limit grows after a window, as a share of itself.
_STEP = 0.05

#: So many windows without a standing queue, and the limit is doubled instead.
_CALM_WINDOWS = 10

#: So many, and nothing is left of what was learned: it was another load, about a minute ago.
_FORGOTTEN_AFTER_WINDOWS = 600


class AdaptiveLimit:
    """Counts requests, and says how many more may come.

    The limit is on those of this generation and the one before it. An older one has had more turns
    of the loop than a command needs, so it is not the loop that it waits for: a stream, or a
    handler that waits, counts for `ceiling` only.

    Args:
        floor: So many are let in, however late the loop is.
        ceiling: So many are let in at most, old ones included.
        max_lag_s: By how much a turn of the loop may be late, in seconds; infinity for any, which
            leaves only the ceiling.

    Attributes:
        limit: How many may be in work that came lately.
        in_flight: How many are in work.
    """

    __slots__ = (
        "_calm_windows",
        "_ceiling",
        "_earlier",
        "_floor",
        "_generation",
        "_generation_opened_s",
        "_generation_turns",
        "_lag_s",
        "_late_turns",
        "_lately",
        "_max_lag_s",
        "_most",
        "_turns",
        "_very_late_turns",
        "_was_felt",
        "_window_opened_s",
        "in_flight",
        "limit",
    )

    def __init__(self, floor: int, ceiling: int, max_lag_s: float) -> None:
        self.limit = ceiling
        self.in_flight = 0
        self._floor = min(floor, ceiling)
        self._ceiling = ceiling
        self._max_lag_s = max_lag_s
        self._generation = 0
        self._generation_opened_s = -math.inf
        self._generation_turns = 0
        self._lately = self._earlier = 0  # in work, of this generation; of the one before
        self._window_opened_s = -math.inf
        self._turns = self._late_turns = self._very_late_turns = 0
        self._lag_s = 0.0  # of all turns of the window together
        self._most = 0
        self._was_felt = False
        self._calm_windows = _CALM_WINDOWS

    def room(self) -> int:
        """Return how many requests may come now; not more than 0 if none."""
        return min(self.limit - self._lately - self._earlier, self._ceiling - self.in_flight)

    def room_within(self) -> int:
        """Return how many may come that requests in work wait for: they must not be refused."""
        return self._ceiling - self.in_flight

    def enter(self) -> int:
        """Count a request; return what to give to `leave` when it has ended."""
        self.in_flight += 1
        self._lately += 1
        return self._generation

    def leave(self, generation: int) -> None:
        """Forget a request."""
        self.in_flight -= 1
        if generation == self._generation:
            self._lately -= 1
        elif generation == self._generation - 1:
            self._earlier -= 1

    def felt(self) -> None:
        """Take note that a request was refused."""
        self._was_felt = True

    def observe(self, now_s: float, lag_s: float) -> None:
        """Learn how late the loop is.

        Args:
            now_s: The monotonic time.
            lag_s: How long something that could have been done at once has waited for its turn.
        """
        self._turns += 1
        self._late_turns += lag_s > self._max_lag_s
        self._lag_s += lag_s
        self._most = max(self._most, self._lately + self._earlier)
        self._hold(lag_s)
        if self._turns >= _WINDOW_TURNS and now_s - self._window_opened_s >= _WINDOW_S:
            self._adjust()
            self._open_window(now_s)
        self._generation_turns += 1
        if (
            self._generation_turns >= _GENERATION_TURNS
            and now_s - self._generation_opened_s >= _WINDOW_S
        ):
            self._open_generation(now_s)

    def _hold(self, lag_s: float) -> None:
        if lag_s <= self._max_lag_s * _VERY_LATE:
            self._very_late_turns = 0
            return
        self._very_late_turns += 1
        if self._very_late_turns > 1:
            self.limit = max(self._floor, min(self.limit, self._lately + self._earlier))

    def _adjust(self) -> None:
        if self._late_turns * 2 > self._turns:
            self._calm_windows = 0
            share = max(_DEEPEST_CUT, min(1.0, self._max_lag_s * self._turns / self._lag_s))
            self.limit = max(self._floor, int(min(self.limit, self._most) * share))
            return
        self._calm_windows += 1
        if self._calm_windows >= _FORGOTTEN_AFTER_WINDOWS:
            self.limit = self._ceiling
        elif self._was_felt:
            is_calm = self._calm_windows > _CALM_WINDOWS
            step = self.limit if is_calm else max(1, int(self.limit * _STEP))
            self.limit = min(self._ceiling, self.limit + step)

    def _open_window(self, now_s: float) -> None:
        self._window_opened_s = now_s
        self._turns = self._late_turns = self._most = 0
        self._lag_s = 0.0
        self._was_felt = False

    def _open_generation(self, now_s: float) -> None:
        self._generation += 1
        self._generation_opened_s = now_s
        self._generation_turns = 0
        self._earlier, self._lately = self._lately, 0
