"""Who waits for a change to be stored by other nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_crdt.replicas import Consistency
from cloudstate_crdt.replication.words import Settle
from cloudstate_crdt.replication_pb2 import EntityChange

__all__ = ["Waiting", "Waits"]


class Waiting:
    """A change that somebody waits for.

    Attributes:
        change: What is sent again to those who have not confirmed it.
        stored_by: Who has stored it: a node in one of its lives, which does not speak for another.
        waiters: Who waits, for which consistency, until when.
    """

    def __init__(self, change: EntityChange, now_s: float, again_s: float) -> None:
        self.change = change
        self.stored_by: set[NodeIdentity] = set()
        self.waiters: list[tuple[int, str, float]] = []
        self._again_s = again_s
        self._due_s = now_s + again_s

    def is_due(self, now_s: float) -> bool:
        """Whether it is to be sent again; each further time takes twice as long."""
        if now_s < self._due_s:
            return False
        self._again_s *= 2
        self._due_s = now_s + self._again_s
        return True

    def stored(self, members: Members) -> int:
        """How many members have it, this node among them."""
        return 1 + sum(members.epochs.get(each.name) == each.epoch for each in self.stored_by)

    def unconfirmed(self, members: Members, own_name: str) -> list[str]:
        """Names of the other members that have not said that they have it."""
        confirmed = {each.name for each in self.stored_by if _is_member(each, members)}
        return [name for name in members.epochs if name != own_name and name not in confirmed]


class Waits:
    """All changes that somebody waits for, by number."""

    def __init__(self, node: NodeIdentity, timeout_s: float, again_s: float) -> None:
        self._node = node
        self._timeout_s = timeout_s
        self._again_s = again_s
        self._waiting: dict[int, Waiting] = {}

    def wait(
        self,
        sequence: int,
        change: EntityChange,
        waiters: list[tuple[int, str, float]],
        now_s: float,
    ) -> None:
        """Wait for a change; each waiter has begun at a time of its own."""
        waiting = self._waiting[sequence] = Waiting(change, now_s, self._again_s)
        waiting.waiters = [
            (waiter, consistency, began_s + self._timeout_s)
            for waiter, consistency, began_s in waiters
        ]

    def stored(self, sequence: int, by: NodeIdentity) -> None:
        """Take note that a node has stored a change."""
        waiting = self._waiting.get(sequence)
        if waiting is not None:
            waiting.stored_by.add(by)

    def due(self, now_s: float) -> list[Waiting]:
        """Return what is to be sent again."""
        return [each for each in self._waiting.values() if each.is_due(now_s)]

    def settle(
        self, members: Members, now_s: float, sequences: Iterable[int] | None = None
    ) -> list[Settle]:
        """Return who need not wait any longer for some of the changes; None for all of them."""
        settled: list[Settle] = []
        for sequence in list(self._waiting) if sequences is None else sequences:
            waiting = self._waiting.get(sequence)
            if waiting is None:
                continue
            settled += self._settle(waiting, members, now_s)
            if not waiting.waiters:
                del self._waiting[sequence]
        return settled

    def _settle(self, waiting: Waiting, members: Members, now_s: float) -> Iterator[Settle]:
        stored = waiting.stored(members)
        is_member = _is_member(self._node, members)
        left = []
        for waiter, consistency, until_s in waiting.waiters:
            is_all = consistency == Consistency.ALL
            needed = len(members.epochs) if is_all else members.majority
            if not is_member:
                yield Settle(waiter, stored, needed, "this node is no member any more")
            elif stored >= needed:
                yield Settle(waiter, stored, needed)
            elif now_s >= until_s:
                why = f"the others did not say so within {self._timeout_s:g} s"
                yield Settle(waiter, stored, needed, why)
            else:
                left.append((waiter, consistency, until_s))
        waiting.waiters = left


def _is_member(node: NodeIdentity, members: Members) -> bool:
    return members.epochs.get(node.name) == node.epoch
