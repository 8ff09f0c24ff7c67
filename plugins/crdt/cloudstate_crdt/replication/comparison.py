"""Comparing copies with another node, and bringing together what differs.

A comparison of two nodes is begun by the one whose name comes first:

    buckets   ->              256 digests
              <-  entities    the entities' digests in some of the buckets that differ
    states    ->              what the other has not, and which of its states are wanted
              <-  states      what was wanted
    states    ->              where that was behind: the joined state

What one comparison brings together is bounded. Where there is more, another follows.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudstate_crdt.errors import MalformedState, StateRefused
from cloudstate_crdt.replicas import Change, digest_of
from cloudstate_crdt.replication.digest_tree import BUCKETS, DigestTree
from cloudstate_crdt.replication.station import Peer, Station
from cloudstate_crdt.replication.wire import change_to
from cloudstate_crdt.replication.words import Digested, Read, ReadDigests
from cloudstate_crdt.replication_pb2 import (
    Bucket,
    Buckets,
    Entities,
    EntityDigest,
    States,
    Status,
)

__all__ = ["Comparisons"]

#: How many digests are read at once.
_MAX_DIGESTS = 2_000

#: What an entity takes in a message, beside its id.
_ENTITY_BYTES = 24


class _Comparison:
    """How far comparing with one node is.

    Attributes:
        is_wanted: There is reason to believe that something was missed.
        differs: The other was seen to have other copies than this node.
        round: The number of the comparison under way; 0 for none.
        is_thorough: It takes in what has changed lately, too.
        moved_s: When the comparison went on last.
        began_s: When the last one began.
        is_last: The other has sent all that it will.
        has_more: There are more differences than this comparison takes in.
        wanted: Entities whose states were asked for, and have not come.
        joining: How many of the states that came are not stored yet.
        bytes_left: How many bytes of states may still be sent.
    """

    def __init__(self) -> None:
        self.is_wanted = True
        self.differs = False
        self.round = 0
        self.is_thorough = False
        self.moved_s = 0.0
        self.began_s = float("-inf")
        self.is_last = False
        self.has_more = False
        self.wanted: set[str] = set()
        self.joining = 0
        self.bytes_left = 0


class Comparisons:
    """The comparisons with all other nodes."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._tree = DigestTree()
        self._has_loaded = False
        #: Entities that have changed since their digest was read.
        self._changed: dict[str, None] = {}
        #: When an entity has changed, the latest last; not for long.
        self._recent: dict[str, float] = {}
        #: Entities whose digests are being read.
        self._reading: Sequence[str] = ()
        self._is_reading = False
        self._with: dict[str, _Comparison] = {}
        self._rounds = 0
        self._status_due_s = 0.0
        #: What waits for digests to be read.
        self._status_wanted = False
        self._to_begin: dict[str, None] = {}
        self._to_answer: dict[str, Buckets] = {}

    # --- Digests ---------------------------------------------------------------------

    def has_changed(self, entity_id: str) -> None:
        """Take note that an entity's digest is another now."""
        self._changed[entity_id] = None
        self._recent.pop(entity_id, None)
        self._recent[entity_id] = self._station.now_s

    def loaded(self) -> None:
        """Go on, now that the digests of all copies were read."""
        self._has_loaded = True
        self._status_due_s = self._station.now_s

    def begin_anew(self) -> None:
        """Forget how far all comparing was, and wait for all digests: they are others now."""
        self._has_loaded = self._status_wanted = False
        if self._is_reading:
            self._changed |= dict.fromkeys(self._reading)
        for name in list(self._with):
            self.forget(name)

    def digested(self, read: Digested) -> None:
        """Take in digests, and do what has waited for them."""
        for entity_id, digest in read.digests:
            self._tree.set(entity_id, digest)
        self._changed |= dict.fromkeys(read.unread)
        if self._is_reading:
            self._is_reading = False
            self._go_on()

    def _refresh(self) -> None:
        """Read the digests that are old, and go on then."""
        if not self._has_loaded or self._is_reading:
            return
        if not self._changed:
            self._go_on()
            return
        now = list(self._changed)[:_MAX_DIGESTS]
        for entity_id in now:
            del self._changed[entity_id]
        self._reading, self._is_reading = now, True
        self._station.to_do.append(ReadDigests(now))

    def _go_on(self) -> None:
        if self._status_wanted:
            self._status_wanted = False
            self._station.broadcast(status=self._status())
        for name in self._take(self._to_begin):
            self._begin(name)
        answers, self._to_answer = self._to_answer, {}
        for name, buckets in answers.items():
            if name in self._station.peers:
                self._answer(self._station.peers[name], buckets)

    @staticmethod
    def _take(names: dict[str, None]) -> Sequence[str]:
        taken = list(names)
        names.clear()
        return taken

    # --- When ------------------------------------------------------------------------

    def want(self, peer: Peer) -> None:
        """Compare soon: something was missed."""
        self._of(peer).is_wanted = True

    def forget(self, name: str) -> None:
        """Forget how far comparing with a node was: it is gone, or another."""
        self._with.pop(name, None)
        self._to_begin.pop(name, None)
        self._to_answer.pop(name, None)

    def say_status(self) -> None:
        """Say as soon as possible how far this node is."""
        self._status_due_s = self._station.now_s

    def tick(self, last: int) -> None:
        """Begin what is due.

        Args:
            last: The number of the last change of this node.
        """
        self._last = last
        self._forget_recent()
        if not self._has_loaded:
            return
        now_s, limits = self._station.now_s, self._station.limits
        if now_s >= self._status_due_s:
            self._status_due_s = now_s + limits.status_every_s
            self._status_wanted = True
        for peer in self._station.peers.values():
            if self._is_due(peer):
                self._to_begin[peer.name] = None
        if self._status_wanted or self._to_begin:
            self._refresh()

    def _forget_recent(self) -> None:
        until_s = self._station.now_s - self._station.limits.recent_s
        while self._recent:
            earliest = next(iter(self._recent))
            if self._recent[earliest] > until_s:
                break
            del self._recent[earliest]

    def _is_due(self, peer: Peer) -> bool:
        its, now_s, limits = self._of(peer), self._station.now_s, self._station.limits
        if its.round and now_s >= its.moved_s + limits.round_timeout_s:
            # The next status tells whether there is anything left to compare.
            its.round = 0
            its.is_wanted |= its.differs
        if its.round:
            return False
        if not self._begins_with(peer):
            # The other one begins, when it is told.
            return its.is_wanted and now_s >= its.began_s + limits.round_timeout_s
        return its.is_wanted or (its.differs and now_s >= its.began_s + limits.compare_every_s)

    def _begins_with(self, peer: Peer) -> bool:
        return self._station.node.name < peer.name

    def _of(self, peer: Peer) -> _Comparison:
        found = self._with.get(peer.name)
        if found is None:
            found = self._with[peer.name] = _Comparison()
        return found

    # --- Telling how far one is ------------------------------------------------------

    _last = 0

    def _status(self, *, compare: bool = False) -> Status:
        return Status(last=self._last, digest=self._tree.root(), compare=compare)

    def status_received(self, peer: Peer, status: Status) -> None:
        """Look whether the other has what this node has."""
        if not self._has_loaded:
            return
        its = self._of(peer)
        its.differs = status.digest != self._tree.root()
        if not its.differs and not self._changed:
            its.is_wanted = False
        elif self._begins_with(peer) and (status.compare or self._was_not_heard(its)):
            if its.moved_s == its.began_s:
                # Nothing came of the comparison under way: the other was not there yet.
                its.round = 0
            its.is_wanted = True

    def _was_not_heard(self, its: _Comparison) -> bool:
        """Whether a comparison is under way that should have been answered by now."""
        answered_by_s = its.began_s + 2 * self._station.limits.ask_again_s
        return (
            bool(its.round)
            and its.moved_s == its.began_s
            and (self._station.now_s >= answered_by_s)
        )

    # --- One comparison --------------------------------------------------------------

    def _begin(self, name: str) -> None:
        peer = self._station.peers.get(name)
        if peer is None:
            return
        its = self._of(peer)
        its.began_s = its.moved_s = self._station.now_s
        if not self._begins_with(peer):
            self._station.send(peer, status=self._status(compare=True))
            return
        self._rounds += 1
        its.round = self._rounds
        its.is_thorough, its.is_wanted = its.is_wanted, False
        its.is_last = its.has_more = False
        its.wanted, its.joining = set(), 0
        its.bytes_left = self._station.limits.round_bytes
        self._station.send(peer, buckets=Buckets(round=its.round, digests=self._tree.buckets()))

    def buckets_received(self, peer: Peer, buckets: Buckets) -> None:
        """Answer with what differs, as soon as the digests here are of now.

        Raises:
            MalformedState: These are no buckets.
        """
        self._tree.differing(buckets.digests)
        if self._has_loaded:
            self._of(peer).is_wanted = False
            self._to_answer[peer.name] = buckets
            self._refresh()

    def _answer(self, peer: Peer, buckets: Buckets) -> None:
        differing = list(self._tree.differing(buckets.digests))
        answer = Entities(round=buckets.round)
        left, bytes_left = self._station.limits.round_entities, self._station.batch_bytes
        while differing and left > 0 and bytes_left > 0:
            # By chance: one that cannot be brought together must not keep others waiting.
            number = differing.pop(self._station.choose(len(differing)))
            digests = self._tree.entities(number)
            answer.buckets.append(
                Bucket(
                    number=number,
                    entities=[EntityDigest(entity_id=i, digest=d) for i, d in digests.items()],
                )
            )
            left -= len(digests)
            bytes_left -= sum(len(entity_id) + _ENTITY_BYTES for entity_id in digests)
        answer.more = bool(differing)
        self._station.send(peer, entities=answer)

    def entities_received(self, peer: Peer, entities: Entities) -> None:
        """Ask for what the other has otherwise, and send what it has not.

        Raises:
            MalformedState: A bucket is none.
        """
        its = self._of(peer)
        if not its.round or entities.round != its.round:
            return
        its.moved_s = self._station.now_s
        wanted, missing = self._differences(peer, entities)
        limit = self._station.limits.round_entities
        its.has_more = entities.more or len(wanted) > limit or len(missing) > limit
        its.wanted = set(wanted[:limit])
        its.is_last = not its.wanted
        if its.wanted:
            self._station.send(peer, states=States(round=its.round, wanted=wanted[:limit]))
        self._read(peer, [Read(each, peer.name, round=its.round) for each in missing[:limit]])
        self._end_if_done(peer)

    def _differences(self, peer: Peer, entities: Entities) -> tuple[list[str], list[str]]:
        """Ids of those to be asked for, and of those that the other has not."""
        wanted, missing = [], []
        recent = () if self._of(peer).is_thorough else self._recent
        for bucket in entities.buckets:
            if bucket.number >= BUCKETS:
                raise MalformedState(f"expected a bucket below {BUCKETS}, found {bucket.number}")
            own = self._tree.entities(bucket.number)
            theirs = {each.entity_id: each.digest for each in bucket.entities}
            wanted += [
                each
                for each, digest in theirs.items()
                if own.get(each) != digest
                and each not in recent
                and not self._was_refused(peer, each)
            ]
            missing += [each for each in own if each not in theirs and each not in recent]
        return wanted, missing

    def _was_refused(self, peer: Peer, entity_id: str) -> bool:
        until_s = peer.refused.get(entity_id)
        if until_s is not None and self._station.now_s >= until_s:
            del peer.refused[entity_id]
        return entity_id in peer.refused

    # --- States ----------------------------------------------------------------------

    def wanted_received(self, peer: Peer, states: States) -> None:
        """Send states that another node has asked for."""
        if not states.wanted:
            return
        its = self._of(peer)
        if not self._begins_with(peer):
            its.bytes_left = self._station.limits.round_bytes
        wanted = states.wanted[: self._station.limits.round_entities]
        reads = [Read(each, peer.name, round=states.round, is_wanted=True) for each in wanted]
        self._read(peer, reads)

    def _read(self, peer: Peer, reads: Sequence[Read]) -> None:
        room = 4 * self._station.limits.round_entities - len(peer.to_read)
        peer.to_read.extend(reads[: max(0, room)])

    def state_arrives(self, peer: Peer, round_: int, entity_id: str) -> None:
        """Take note that a state of the comparison under way is being stored."""
        its = self._of(peer)
        if round_ and round_ == its.round:
            its.moved_s = self._station.now_s
            its.wanted.discard(entity_id)
            its.joining += 1

    def last_received(self, peer: Peer, round_: int) -> None:
        """Take note that the other has sent all that it will."""
        its = self._of(peer)
        if round_ and round_ == its.round:
            its.is_last = True
            its.has_more |= bool(its.wanted)
            self._end_if_done(peer)

    def state_settled(self, peer: Peer, round_: int) -> None:
        """Take note that a state is stored, or refused."""
        its = self._of(peer)
        if round_ and round_ == its.round:
            its.joining -= 1
            self._end_if_done(peer)

    def state_read(self, peer: Peer, read: Read, state: Change | None) -> None:
        """Send a state that was read, if it may still be sent."""
        its = self._of(peer)
        if state is not None and digest_of(state) != read.unless:
            try:
                written = change_to(read.entity_id, state, self._station.registry)
            except StateRefused as error:
                self._station.report("state_too_large", self._station.node.name, why=str(error))
            else:
                peer.states[read.is_wanted].append(written)
                its.bytes_left -= written.ByteSize()
        if read.round and its.bytes_left < 0:
            self._drop_reads(peer, its, read)
        if read.is_wanted and not any(each.is_wanted for each in peer.to_read):
            self._send_wanted(peer, read.round)
        if not read.is_wanted and read.round == its.round:
            self._end_if_done(peer)

    def _drop_reads(self, peer: Peer, its: _Comparison, read: Read) -> None:
        kept = [each for each in peer.to_read if each.round != read.round]
        if len(kept) < len(peer.to_read):
            its.has_more = True
        peer.to_read.clear()
        peer.to_read.extend(kept)

    def _send_wanted(self, peer: Peer, round_: int) -> None:
        wanted, peer.states[True] = peer.states[True], []
        self._station.send_states(peer, wanted, round_=round_, were_wanted=True)
        self._station.send(peer, states=States(round=round_, is_last=True))

    def _end_if_done(self, peer: Peer) -> None:
        its = self._of(peer)
        is_pushing = any(each.round == its.round for each in peer.to_read)
        if its.round and its.is_last and its.joining == 0 and not is_pushing:
            its.round = 0
            its.is_wanted |= its.has_more
