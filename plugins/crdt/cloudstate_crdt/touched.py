"""Which keys and elements of a large state have changed since somebody looked at it."""

from __future__ import annotations

from collections.abc import Sequence

from cloudstate_crdt.items import Segment

__all__ = ["Touched"]


class Touched:
    """The first steps of the paths below which leaves have come, grown or gone.

    Attributes:
        segments: These steps; None if there were too many.
    """

    __slots__ = ("_at_most", "segments")

    def __init__(self, at_most: int) -> None:
        """Start with none.

        Args:
            at_most: How many are kept apart.
        """
        self.segments: set[Segment] | None = set()
        self._at_most = at_most

    def add(self, path: Sequence[Segment]) -> None:
        """Take note of a change at the end of a path."""
        segments = self.segments
        if segments is None:
            return
        segments.add(path[0])
        if len(segments) > self._at_most:
            self.segments = None
