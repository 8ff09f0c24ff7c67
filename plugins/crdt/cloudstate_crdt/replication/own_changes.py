"""What this node changes itself: numbered, sent, kept for a while, and waited for."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cloudstate_crdt.replicas import Change, Consistency, Deleted
from cloudstate_crdt.replication.recent import Interval, RecentChanges
from cloudstate_crdt.replication.station import Peer, Station
from cloudstate_crdt.replication.waiting import Waits
from cloudstate_crdt.replication.wire import change_to, in_batches
from cloudstate_crdt.replication.words import Changed, Read
from cloudstate_crdt.replication_pb2 import Changes, EntityChange

__all__ = ["OwnChanges"]

#: From this size on, several changes of one entity are compared with its whole state.
_COMPARED_FROM_BYTES = 1_024


class _Unsent:
    """What an entity has changed by since the last time that changes were sent."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.waiters: list[tuple[int, str, float]] = []
        self._is_shared = True

    def grow(self, change: Change) -> None:
        if isinstance(change, Deleted):
            self.change = change
        elif not isinstance(self.change, Deleted):
            if self._is_shared:
                # Whoever has made the first change may still hold it.
                self.change, self._is_shared = self.change.copy(), False
            self.change.join(change)


class OwnChanges:
    """The changes of this process, numbered from 1.

    Attributes:
        last: The number of the last one that was sent.
    """

    def __init__(self, station: Station) -> None:
        self.last = 0
        self._station = station
        limits = station.limits
        self._recent = RecentChanges(limits.recent_changes, limits.recent_bytes)
        self._waits = Waits(station.node, limits.consistency_timeout_s, limits.ask_again_s * 2)
        self._unsent: dict[str, _Unsent] = {}

    @property
    def are_unsent(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._unsent)

    def add(self, changed: Changed) -> None:
        """Take in a change, to be sent with the next ones."""
        unsent = self._unsent.get(changed.entity_id)
        if unsent is None:
            unsent = self._unsent[changed.entity_id] = _Unsent(changed.delta)
        else:
            unsent.grow(changed.delta)
        if changed.consistency != Consistency.LOCAL and changed.waiter is not None:
            waiter = (changed.waiter, changed.consistency, self._station.now_s)
            unsent.waiters.append(waiter)

    def send(self) -> None:
        """Number what has come together, and send it to all."""
        unsent, self._unsent = self._unsent, {}
        written = [self._numbered(entity_id, each) for entity_id, each in unsent.items()]
        if self._station.peers:
            for batch in in_batches(written, self._station.batch_bytes):
                self._station.broadcast(changes=Changes(changes=batch))
        self.settle(range(self.last - len(written) + 1, self.last + 1))

    def answer(self, peer: Peer, ranges: Iterable[tuple[int, int]]) -> None:
        """Send again what a node misses."""
        intervals, forgotten = self._recent.intervals(ranges, self._station.limits.repair_bytes)
        peer.forgotten = max(peer.forgotten, forgotten)
        for interval in intervals:
            self._repair(peer, interval)

    def stored(self, peer: Peer, sequences: Collection[int]) -> None:
        """Take note that a node has stored changes."""
        for sequence in sequences:
            self._waits.stored(sequence, peer.identity)
        self.settle(sequences)

    def settle(self, sequences: Iterable[int] | None = None) -> None:
        """Let go on who has waited long enough for a change, or for enough nodes; None: any."""
        station = self._station
        station.to_do += self._waits.settle(station.members, station.now_s, sequences)

    def send_again(self) -> None:
        """Send what is waited for once more to those who have not confirmed it."""
        station = self._station
        for waiting in self._waits.due(station.now_s):
            for name in waiting.unconfirmed(station.members, station.node.name):
                if name in station.peers:
                    station.peers[name].changes.append(waiting.change)

    def _numbered(self, entity_id: str, unsent: _Unsent) -> EntityChange:
        self.last += 1
        written = change_to(
            entity_id,
            unsent.change,
            self._station.registry,
            sequences=[self.last],
            answer=bool(unsent.waiters),
        )
        self._recent.add(self.last, entity_id, unsent.change, written.ByteSize())
        if unsent.waiters:
            self._waits.wait(self.last, written, unsent.waiters, self._station.now_s)
        return written

    def _repair(self, peer: Peer, interval: Interval) -> None:
        written = change_to(
            interval.entity_id,
            interval.change,
            self._station.registry,
            sequences=interval.sequences,
            answer=True,
        )
        if len(interval.sequences) == 1 or written.ByteSize() < _COMPARED_FROM_BYTES:
            peer.changes.append(written)
        else:
            peer.to_read.append(Read(interval.entity_id, peer.name, instead_of=written))
