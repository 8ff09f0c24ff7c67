"""What this node's copies have of the departed writers that are to be forgotten.

All copies are looked through once; then those are read again that have changed. Only copies that
have something of them are remembered.

What is said of the copies has to hold for good, although they change meanwhile. A copy gets more of
a departed writer's changes only by joining what somebody sends. A member has no more of them than
it will say, under the same view, that it has. So what may still bring more, unknown to those who
agree, is only what was sent by somebody who is no member any more. Until all that is stored, and
what it has changed was read again, nothing is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from hashlib import blake2b

from cloudstate_crdt.departed import Departed, Trace
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.replicas import Change
from cloudstate_crdt.replication.station import Station
from cloudstate_crdt.replication.words import Join, ReadTraces, ScanTraces, Traced

__all__ = ["Traces"]

#: How many copies are read again at once.
_READ_AT_ONCE = 500

_DIGEST_BYTES = 16


class Traces:
    """Traces of the departed in all copies.

    Attributes:
        departed: Who is to be forgotten; as long as it is nobody, nothing is done.
    """

    def __init__(self, station: Station) -> None:
        self.departed = Departed()
        self._station = station
        self._number = 0
        self._is_scanned = False
        self._found: dict[str, Trace] = {}
        self._to_adopt: dict[str, None] = {}
        self._weight = 0
        #: Copies that have changed and are to be read again, those in `_awaited` before anything
        #: is said.
        self._stale: dict[str, None] = {}
        self._awaited: set[str] = set()
        self._reading: Collection[str] = ()
        self._reading_is_awaited = False
        #: How many joins are under way, by whose change it is: a node's name, and its epoch.
        self._joining: Counter[tuple[str, int]] = Counter()

    # --- What there is ---------------------------------------------------------------

    @property
    def are_known(self) -> bool:
        """Whether what is known of the copies may be said."""
        return (
            self._is_scanned
            and not self._awaited
            and not self._reading_is_awaited
            and all(map(self._is_present, self._joining))
        )

    def digest(self) -> bytes:
        """Return 16 bytes that are equal where all copies have the same of the departed."""
        return self._weight.to_bytes(_DIGEST_BYTES)

    @property
    def to_adopt(self) -> Collection[str]:
        """Entities in which something of theirs is alive."""
        return self._to_adopt.keys()

    def _is_present(self, sender: tuple[str, int]) -> bool:
        name, epoch = sender
        return self._station.members.epochs.get(name) == epoch

    # --- Looking through all ---------------------------------------------------------

    def look_for(self, departed: Departed) -> None:
        """Look through all copies for what they have of these; nobody: end it."""
        self.departed = departed
        self._number += 1
        self._is_scanned = False
        self._found, self._to_adopt, self._weight = {}, {}, 0
        self._stale, self._awaited = {}, set()
        self._reading, self._reading_is_awaited = (), False
        if departed:
            self._station.to_do.append(ScanTraces(self._number, departed))

    def traced(self, traced: Traced) -> None:
        """Take in what was read."""
        if traced.number != self._number:
            return
        for entity_id, trace in traced.traces:
            self._set(entity_id, trace)
        if traced.is_scan:
            self._is_scanned |= traced.is_last
        else:
            self._stale |= dict.fromkeys(traced.unread)
            if self._reading_is_awaited:
                self._awaited.update(traced.unread)
            self._reading, self._reading_is_awaited = (), False
        if self._awaited and not traced.unread:
            self.refresh()

    def refresh(self) -> None:
        """Read again some of the copies that have changed."""
        if not self._is_scanned or self._reading or not self._stale:
            return
        first = sorted(self._stale, key=lambda each: each not in self._awaited)
        self._reading = first[:_READ_AT_ONCE]
        for entity_id in self._reading:
            del self._stale[entity_id]
        self._reading_is_awaited = not self._awaited.isdisjoint(self._reading)
        self._awaited.difference_update(self._reading)
        self._station.to_do.append(ReadTraces(self._number, self.departed, self._reading))

    def _set(self, entity_id: str, trace: Trace) -> None:
        before = self._found.pop(entity_id, None)
        if before is not None:
            self._weight ^= _weight(entity_id, before)
            self._to_adopt.pop(entity_id, None)
        if trace.digest:
            self._found[entity_id] = trace
            self._weight ^= _weight(entity_id, trace)
            if trace.must_adopt:
                self._to_adopt[entity_id] = None

    # --- Changes ---------------------------------------------------------------------

    def has_changed(self, entity_id: str, change: Change | None) -> None:
        """Take note that a copy is another now.

        Args:
            entity_id: Whose copy.
            change: What it has joined; None if that is not known.
        """
        if self.departed and self._may_be_another(entity_id, change):
            self._stale[entity_id] = None

    def _may_be_another(self, entity_id: str, change: Change | None) -> bool:
        if change is None or not self._is_scanned:
            return True
        if entity_id in self._found or entity_id in self._reading:
            return True
        return isinstance(change, Lattice) and bool(change.trace_of(self.departed))

    def joining(self, join: Join) -> None:
        """Take note that what another node has sent is being stored."""
        self._joining[join.sender, join.epoch] += 1

    def join_settled(self, join: Join, *, may_have_changed: bool, is_known: bool) -> None:
        """Take note that it is stored, or not, or that nobody knows."""
        sender = (join.sender, join.epoch)
        self._joining[sender] -= 1
        if self._joining[sender] <= 0:
            del self._joining[sender]
        if may_have_changed:
            self.has_changed(join.entity_id, join.change if is_known else None)
            if not self._is_present(sender) and join.entity_id in self._stale:
                self._awaited.add(join.entity_id)

    def view_changed(self) -> None:
        """Take note that the members are others: what those have sent that went is awaited."""
        self._awaited.update(self._stale)
        self._reading_is_awaited = bool(self._reading)


def _weight(entity_id: str, trace: Trace) -> int:
    hashed = blake2b(trace.digest, digest_size=_DIGEST_BYTES)
    hashed.update(entity_id.encode())
    return int.from_bytes(hashed.digest())
