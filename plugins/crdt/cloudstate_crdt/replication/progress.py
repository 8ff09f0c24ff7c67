"""Which changes of one process of another node have arrived here."""

from __future__ import annotations

__all__ = ["MAX_BEYOND", "Progress", "ranges_of"]

#: How many changes may be known beyond a gap. With more, the gap is left to a comparison.
MAX_BEYOND = 10_000

#: How many ranges one request holds.
_MAX_RANGES = 64

#: How often what is missing is asked for, until it is left to a comparison.
_MAX_REQUESTS = 8

#: How many times as long as at first one waits at most before asking again.
_MAX_PATIENCE = 4


class Progress:
    """The numbers that have arrived: all up to one, and some beyond a gap.

    Attributes:
        up_to: All up to this number have arrived, or are not waited for any more.
        last: The greatest number that is known to exist.
    """

    def __init__(self, up_to: int, ask_again_s: float) -> None:
        self.up_to = up_to
        self.last = up_to
        self._beyond: set[int] = set()
        self._lost_again: set[int] = set()
        self._ask_again_s = ask_again_s
        self._asked_s: float | None = None
        self._requests = 0

    def __contains__(self, sequence: int) -> bool:
        if sequence in self._lost_again:
            return False
        return sequence <= self.up_to or sequence in self._beyond

    def see(self, sequence: int) -> None:
        """Take note that a change has arrived."""
        self.last = max(self.last, sequence)
        self._lost_again.discard(sequence)
        if sequence > self.up_to:
            self._beyond.add(sequence)
            self._advance()

    def lose(self, sequence: int) -> bool:
        """Take note that a change that has arrived was not kept; return if that fits in."""
        if len(self._lost_again) >= MAX_BEYOND:
            return False
        self._lost_again.add(sequence)
        return True

    def skip(self, up_to: int) -> None:
        """Wait no longer for what is missing up to a number."""
        self.last = max(self.last, up_to)
        self._lost_again = {each for each in self._lost_again if each > up_to}
        if up_to > self.up_to:
            self._beyond = {each for each in self._beyond if each > up_to}
            self.up_to = up_to
            self._advance()

    @property
    def is_behind(self) -> bool:
        """Whether anything is missing."""
        return self.up_to < self.last or bool(self._lost_again)

    def ask(self, now_s: float) -> list[tuple[int, int]]:
        """Return the ranges to ask for now; none if nothing is missing, or it is too early."""
        if not self.is_behind:
            self._asked_s, self._requests = None, 0
            return []
        if self._asked_s is None:
            # What is late is not lost: it gets as long to arrive as an answer does.
            self._asked_s = now_s
            return []
        if now_s < self._asked_s + self._ask_again_s * min(2**self._requests, _MAX_PATIENCE):
            return []
        self._asked_s = now_s
        self._requests += 1
        return self._missing()

    @property
    def is_hopeless(self) -> bool:
        """Whether what is missing is to be left to a comparison."""
        return self._requests > _MAX_REQUESTS or len(self._beyond) > MAX_BEYOND

    def _missing(self) -> list[tuple[int, int]]:
        missing = ranges_of(sorted(self._lost_again))
        after = self.up_to
        for sequence in sorted(self._beyond):
            if sequence > after + 1:
                missing.append((after + 1, sequence - 1))
            after = sequence
        if self.last > after:
            missing.append((after + 1, self.last))
        return missing[:_MAX_RANGES]

    def _advance(self) -> None:
        while self.up_to + 1 in self._beyond:
            self.up_to += 1
            self._beyond.discard(self.up_to)
            # Something arrives: who is asked does answer.
            self._requests = 0


def ranges_of(ordered: list[int]) -> list[tuple[int, int]]:
    """Put numbers that follow each other together: first and last of each range."""
    ranges: list[tuple[int, int]] = []
    for number in ordered:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
