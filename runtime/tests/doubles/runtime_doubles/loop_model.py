"""An event loop with a limit on what is let in, as arithmetic: no time passes."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from cloudstate_runtime.adaptive_limit import AdaptiveLimit

#: In how many turns of the loop a request is served.
TURNS = 4


@dataclass(slots=True)
class Served:
    """A request that was let in.

    Attributes:
        came_s: When.
        waits_s: How long its handler waits on purpose, in the middle.
        took_s: How long it took, without that wait.
    """

    came_s: float
    waits_s: float
    generation: int
    turns_left: int = TURNS
    took_s: float = math.inf


@dataclass
class LoopModel:
    """Serves requests one after another, as an event loop with one processor does.

    Attributes:
        limit: Says who is let in.
        service_s: Processor time of a request, spread over its turns.
        refusal_s: Processor time of a refusal.
        retries: How often a refused request comes again.
        served: Those that were answered, in that order.
        refused: When each refused one came, and how long it took to refuse it.
        limits: The limit after each turn, with its time.
    """

    limit: AdaptiveLimit
    service_s: float
    refusal_s: float = 0.0
    retries: int = 0
    served: list[Served] = field(default_factory=list)
    refused: list[tuple[float, float]] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self._ready: list[Served] = []
        self._asleep: list[tuple[float, int, Served]] = []
        self._coming: list[tuple[float, int, float, int]] = []
        self._number = count()
        self._random = Random(5)

    def run(self, arrivals: Iterable[tuple[float, float]], until_s: float) -> None:
        """Let requests come, each with its time and how long it waits, and go on to a time."""
        for came_s, waits_s in arrivals:
            self._come(came_s, waits_s, self.retries)
        while self.now_s < until_s:
            began_s, came = self.now_s, self._let_in()
            self._work()
            if came:
                self.limit.observe(self.now_s, self.now_s - began_s)
            self.limits.append((self.now_s, self.limit.limit))
            if not self._ready:
                following = [queue[0][0] for queue in (self._coming, self._asleep) if queue]
                self.now_s = max(self.now_s, min([*following, until_s]))

    def block(self, seconds: float) -> None:
        """Do something else meanwhile, as a collection of garbage does."""
        self.now_s += seconds

    def _come(self, came_s: float, waits_s: float, retries: int) -> None:
        heapq.heappush(self._coming, (came_s, next(self._number), waits_s, retries))

    def _let_in(self) -> int:
        came, now_s = 0, self.now_s
        while self._coming and self._coming[0][0] <= now_s:
            came_s, _, waits_s, retries = heapq.heappop(self._coming)
            came += 1
            if self.limit.room() > 0:
                self._ready.append(Served(came_s, waits_s, self.limit.enter()))
                continue
            self.limit.felt()
            self.now_s += self.refusal_s
            self.refused.append((came_s, self.now_s - came_s))
            if retries:
                self._come(self.now_s + 0.5 + self._random.random() / 2, waits_s, retries - 1)
        return came

    def _work(self) -> None:
        while self._asleep and self._asleep[0][0] <= self.now_s:
            self._ready.append(heapq.heappop(self._asleep)[2])
        turn, self._ready = self._ready, []
        for each in turn:
            self.now_s += self.service_s / TURNS
            each.turns_left -= 1
            if each.turns_left == 0:
                self.limit.leave(each.generation)
                each.took_s = self.now_s - each.came_s - each.waits_s
                self.served.append(each)
            elif each.waits_s and each.turns_left == TURNS - 1:
                heapq.heappush(self._asleep, (self.now_s + each.waits_s, next(self._number), each))
            else:
                self._ready.append(each)


def arriving(
    rate: float, from_s: float, to_s: float, *, waits_s: float = 0.0, seed: int = 1
) -> list[tuple[float, float]]:
    """Return requests that come at a rate, at random moments."""
    random, now_s, found = Random(seed), from_s, []
    while (now_s := now_s + random.expovariate(rate)) < to_s:
        found.append((now_s, waits_s))
    return found


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which a share of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
