"""Which keys and elements of a large state have changed since somebody looked at it."""

from __future__ import annotations

from collections.abc import Sequence

from cloudstate_crdt.items import Segment

__all__ = ["MAX_TOUCHED", "Touched"]

#: How many are kept apart. If there are more, nobody looks for a long time, or looks at the whole.
MAX_TOUCHED = 1_000


class Touched:
    """The first steps of the paths below which leaves have come, grown or gone.

    Attributes:
        segments: These steps; None if there were too many.
    """

    __slots__ = ("segments",)

    def __init__(self) -> None:
        """Start with none."""
        self.segments: set[Segment] | None = set()

    def add(self, path: Sequence[Segment]) -> None:
        """Take note of a change at the end of a path."""
        segments = self.segments
        if segments is None:
            return
        segments.add(path[0])
        if len(segments) > MAX_TOUCHED:
            self.segments = None
