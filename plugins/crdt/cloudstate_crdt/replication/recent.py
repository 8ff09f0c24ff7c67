"""The last changes of this node, kept so that what gets lost can be sent again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from cloudstate_crdt.replicas import Change, Deleted

__all__ = ["Interval", "RecentChanges"]

#: How many changes are joined for one answer.
_MAX_PER_ANSWER = 4_096


class Interval:
    """Several changes of one entity, joined.

    Attributes:
        entity_id: The entity.
        change: What they amount to.
        sequences: Their numbers.
    """

    def __init__(self, entity_id: str, change: Change, sequence: int) -> None:
        self.entity_id = entity_id
        self.change = change if isinstance(change, Deleted) else change.copy()
        self.sequences = [sequence]

    def extend(self, sequence: int, change: Change) -> None:
        """Join a further change."""
        self.sequences.append(sequence)
        if isinstance(change, Deleted):
            self.change = change
        elif not isinstance(self.change, Deleted):
            self.change.join(change)


class RecentChanges:
    """The last changes, as many as there is room for."""

    def __init__(self, max_changes: int, max_bytes: int) -> None:
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._kept: OrderedDict[int, tuple[str, Change, int]] = OrderedDict()
        self._bytes = 0
        self._forgotten = 0

    def add(self, sequence: int, entity_id: str, change: Change, size: int) -> None:
        """Keep a change of `size` bytes; older ones make room."""
        self._kept[sequence] = (entity_id, change, size)
        self._bytes += size
        while self._bytes > self._max_bytes or len(self._kept) > self._max_changes:
            self._forgotten, (_, _, taken) = self._kept.popitem(last=False)
            self._bytes -= taken

    def intervals(
        self, ranges: Iterable[tuple[int, int]], max_bytes: int
    ) -> tuple[list[Interval], int]:
        """Return what there is of some ranges, joined by entity.

        Returns:
            The changes, of about `max_bytes` at most; and up to which number those asked for that
            are not among them are kept no longer: 0 if all are.
        """
        found: dict[str, Interval] = {}
        forgotten = 0
        left = _MAX_PER_ANSWER
        for first, last in ranges:
            if first <= self._forgotten:
                forgotten = max(forgotten, min(last, self._forgotten))
            for sequence in range(max(first, self._forgotten + 1), last + 1):
                kept = self._kept.get(sequence)
                if kept is None or left == 0 or max_bytes < 0:
                    break
                entity_id, change, size = kept
                left -= 1
                max_bytes -= size
                if entity_id in found:
                    found[entity_id].extend(sequence, change)
                else:
                    found[entity_id] = Interval(entity_id, change, sequence)
        return list(found.values()), forgotten
