"""Rules of replicating one service's entities between nodes, with no I/O.

Give `receive` an input, carry out the instructions it returns, and report what came of them as
further inputs. What other nodes send does not raise; it is taken in, or reported.

* A change is joined and stored here before it is sent. Whoever receives it joins and stores it
  before saying so. So what enough nodes have said to have stored is on that many disks.
* Each process of a node numbers its changes from 1. A number that is missing is asked for. What the
  sender keeps no longer is found by comparing states.
* Joins do no harm, in whatever order and however often. So nothing here has to be exactly once, and
  whatever is full drops what comes.
* A node is heard in its present epoch only. With another epoch it is another node, which is
  compared in full.
* Nodes that have not forgotten the same departed writers take in nothing from each other: what one
  has forgotten it counts under another name, and whoever has not would count it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import assert_never

from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_crdt.departed import Retired
from cloudstate_crdt.errors import MalformedState, StateRefused
from cloudstate_crdt.registry import Registry
from cloudstate_crdt.replicas import Change, Consistency, digest_of
from cloudstate_crdt.replication.agreement import Agreement
from cloudstate_crdt.replication.comparison import Comparisons
from cloudstate_crdt.replication.limits import Limits
from cloudstate_crdt.replication.own_changes import OwnChanges
from cloudstate_crdt.replication.progress import Progress
from cloudstate_crdt.replication.station import Peer, Station
from cloudstate_crdt.replication.wire import change_from, change_to, entity_id_of, message_from
from cloudstate_crdt.replication.words import (
    Adopted,
    AdoptionFailed,
    Changed,
    Digested,
    Flush,
    GapSuspected,
    Input,
    Instruction,
    Join,
    Joined,
    JoinFailed,
    JoinRefused,
    KeepFailed,
    Kept,
    LoadDigests,
    Loaded,
    MembersChanged,
    Read,
    Received,
    StateRead,
    Ticked,
    Traced,
    Unsure,
)
from cloudstate_crdt.replication_pb2 import (
    Changes,
    EntityChange,
    Message,
    Missing,
    Range,
    States,
    Status,
    Stored,
)

__all__ = ["ReplicationMachine"]

#: From this number on, the changes of a process that were made before it was first heard of are not
#: asked for one by one.
_ASKED_FROM_THE_BEGINNING = 64

#: What is taken in from nodes that have not forgotten the same writers. Of a message in parts it is
#: the whole that counts.
_ANY_GENERATION = ("departures", "part")

#: How many entities of one node are remembered to have been refused.
_MAX_REFUSED = 1_000


class ReplicationMachine:
    """One node's part in replicating the entities of one service."""

    def __init__(
        self,
        node: NodeIdentity,
        process: int,
        registry: Registry,
        choose: Callable[[int], int],
        max_message_bytes: int,
        limits: Limits | None = None,
        retired: Retired | None = None,
    ) -> None:
        """Begin, with no members known but this node.

        Args:
            node: This node.
            process: A number that no other process of this node has or had: a random one.
            registry: The types that are known.
            choose: Returns a random number below the one it is given.
            max_message_bytes: The longest message that can be sent.
            limits: The bounds of everything.
            retired: Which departed writers are forgotten in the copies.
        """
        limits = limits or Limits()
        self._station = Station(node, process, registry, limits, choose, max_message_bytes)
        self._own = OwnChanges(self._station)
        self._comparisons = Comparisons(self._station)
        self._agreement = Agreement(self._station)
        self._agreement.start(retired or Retired())

    @property
    def has_unsent(self) -> bool:
        """Whether a `Flush` would send anything."""
        return self._own.are_unsent or any(
            peer.stored or peer.changes or peer.forgotten or peer.states[False]
            for peer in self._station.peers.values()
        )

    def receive(self, given: Input) -> list[Instruction]:
        """Take in what has happened; return what is to be done, in this order."""
        self._take_in(given)
        for peer in self._station.peers.values():
            self._read_next(peer)
        to_do, self._station.to_do = self._station.to_do, []
        return to_do

    def _take_in(self, given: Input) -> None:
        match given:
            case Received():
                self._received(given)
            case Changed():
                self._changed(given)
            case Unsure():
                self._has_changed(given.entity_id, None)
            case Flush():
                self._flush()
            case Joined() | JoinRefused() | JoinFailed():
                self._join_settled(given)
            case StateRead():
                self._state_read(given.read, given.state)
            case Digested():
                self._comparisons.digested(given)
            case Ticked():
                self._tick(given)
            case MembersChanged():
                self._members_changed(given.members)
            case GapSuspected():
                for peer in self._station.peers.values():
                    self._comparisons.want(peer)
                self._comparisons.say_status()
                self._compare()
            case Loaded():
                self._comparisons.loaded()
            case Traced():
                self._agreement.traces.traced(given)
            case Adopted() | AdoptionFailed():
                self._adoption_settled(given)
            case Kept():
                self._kept(given.retired)
            case KeepFailed():
                self._agreement.keep_failed(given)
            case _:
                assert_never(given)

    # --- Time and members ------------------------------------------------------------

    def _tick(self, ticked: Ticked) -> None:
        station = self._station
        station.now_s = ticked.now_s
        self._own.settle()
        if not station.is_member:
            return
        for peer in station.peers.values():
            self._ask(peer)
        self._own.send_again()
        self._compare()
        self._agreement.tick()

    def _compare(self) -> None:
        if self._station.is_member:
            self._comparisons.tick(self._own.last)

    def _ask(self, peer: Peer) -> None:
        for process, progress in list(peer.progress.items()):
            ranges = progress.ask(self._station.now_s)
            if progress.is_hopeless:
                # The next that is heard of the process is a new beginning.
                del peer.progress[process]
                self._comparisons.want(peer)
            elif ranges:
                missing = [Range(first=first, last=last) for first, last in ranges]
                self._station.send(peer, missing=Missing(process=process, ranges=missing))

    def _members_changed(self, members: Members) -> None:
        station = self._station
        station.members = members
        for name in list(station.peers):
            if members.epochs.get(name) != station.peers[name].epoch:
                del station.peers[name]
                self._comparisons.forget(name)
        for name, epoch in members.epochs.items():
            if name != station.node.name and name not in station.peers:
                station.peers[name] = Peer(name, epoch, station.limits)
        self._comparisons.say_status()
        self._own.settle()
        self._agreement.members_changed()

    # --- Changes of this node --------------------------------------------------------

    def _changed(self, changed: Changed) -> None:
        self._own.add(changed)
        self._has_changed(changed.entity_id, changed.delta)

    def _has_changed(self, entity_id: str, change: Change | None) -> None:
        self._comparisons.has_changed(entity_id)
        self._agreement.traces.has_changed(entity_id, change)

    def _adoption_settled(self, settled: Adopted | AdoptionFailed) -> None:
        match settled:
            case AdoptionFailed():
                self._has_changed(settled.entity_id, None)
            case Adopted(delta=None):
                pass
            case Adopted():
                assert settled.delta is not None
                self._own.add(Changed(settled.entity_id, settled.delta, Consistency.LOCAL))
                self._has_changed(settled.entity_id, settled.delta)
        self._agreement.adoption_settled(settled)

    def _kept(self, retired: Retired) -> None:
        """Have forgotten departed writers in all copies."""
        self._agreement.kept(retired)
        self._comparisons.begin_anew()
        self._station.to_do.append(LoadDigests())

    # --- Sending ---------------------------------------------------------------------

    def _flush(self) -> None:
        self._own.send()
        for peer in self._station.peers.values():
            for process, sequences in peer.stored.items():
                self._station.send(peer, stored=Stored(process=process, sequences=sequences))
            peer.stored = {}
            if peer.changes or peer.forgotten:
                self._station.send_changes(peer, peer.changes, peer.forgotten)
                peer.changes, peer.forgotten = [], 0
            if peer.states[False]:
                self._station.send_states(peer, peer.states[False])
                peer.states[False] = []

    def _read_next(self, peer: Peer) -> None:
        # One after the other: states can be long.
        if peer.to_read and not peer.is_reading:
            peer.is_reading = True
            self._station.to_do.append(peer.to_read.popleft())

    def _state_read(self, read: Read, state: Change | None) -> None:
        peer = self._station.peers.get(read.to)
        if peer is None:
            return
        peer.is_reading = False
        if read.instead_of is None:
            self._comparisons.state_read(peer, read, state)
        else:
            peer.changes.append(self._shorter(read.instead_of, state))

    def _shorter(self, delta: EntityChange, state: Change | None) -> EntityChange:
        if state is None:
            return delta
        whole = change_to(
            delta.entity_id,
            state,
            self._station.registry,
            sequences=delta.sequences,
            answer=delta.answer,
        )
        return whole if whole.ByteSize() < delta.ByteSize() else delta

    # --- Receiving -------------------------------------------------------------------

    def _received(self, received: Received) -> None:
        if not self._station.is_member:
            return
        try:
            self._message_received(received.sender, message_from(received.message))
        except StateRefused as error:
            self._station.report("message_refused", received.sender, why=str(error))

    def _message_received(self, sender: str, message: Message) -> None:
        peer = self._heard(sender, message.epoch)
        if peer is None:
            return
        body = message.WhichOneof("body")
        if message.generation != self._station.retired.generation and body not in _ANY_GENERATION:
            self._agreement.refused(peer)
            return
        match body:
            case "part":
                whole = peer.reassembly.receive(message.process, message.part)
                if whole is not None:
                    self._whole_received(sender, message_from(whole))
            case "changes":
                self._changes_received(peer, message.process, message.changes)
            case "stored":
                if message.stored.process == self._station.process:
                    self._own.stored(peer, message.stored.sequences)
            case "missing":
                self._missing_received(peer, message.missing)
            case "status":
                self._status_received(peer, message.process, message.status)
            case "buckets":
                self._comparisons.buckets_received(peer, message.buckets)
            case "entities":
                self._comparisons.entities_received(peer, message.entities)
            case "states":
                self._states_received(peer, message.process, message.states)
            case "departures":
                self._agreement.received(peer, message.generation, message.departures)

    def _whole_received(self, sender: str, message: Message) -> None:
        if message.HasField("part"):
            raise MalformedState("expected parts of a message, found parts of a part")
        self._message_received(sender, message)

    def _heard(self, sender: str, epoch: int) -> Peer | None:
        """The sender, if it is a member and speaks from its present life."""
        peer = self._station.peers.get(sender)
        if peer is not None and peer.epoch == epoch:
            return peer
        members = self._station.members
        expected, expelled = members.epochs.get(sender, 0), members.expelled.get(sender, 0)
        # A node that joins may be heard of before it is known to have joined.
        what = "epoch_refused" if epoch < expected or epoch <= expelled else "node_not_known"
        self._station.report(what, sender, found=epoch, expected=expected, expelled=expelled)
        return None

    def _changes_received(self, peer: Peer, process: int, changes: Changes) -> None:
        sequences = [each for change in changes.changes for each in change.sequences]
        progress = self._progress(peer, process, min(sequences, default=1))
        for change in changes.changes:
            if change.answer or any(each not in progress for each in change.sequences):
                self._change_received(peer, process, progress, change)
        if changes.forgotten:
            progress.skip(changes.forgotten)
            self._comparisons.want(peer)

    def _progress(self, peer: Peer, process: int, first: int) -> Progress:
        if process not in peer.progress and first > _ASKED_FROM_THE_BEGINNING:
            self._comparisons.want(peer)
            return peer.progress_of(process, first - 1)
        return peer.progress_of(process, 0)

    def _change_received(
        self, peer: Peer, process: int, progress: Progress, change: EntityChange
    ) -> None:
        if peer.joining_bytes > self._station.limits.joining_bytes:
            # It was not seen, so it is missed, and asked for later.
            progress.last = max([progress.last, *change.sequences])
            return
        for sequence in change.sequences:
            progress.see(sequence)
        self._join(peer, process, change)

    def _states_received(self, peer: Peer, process: int, states: States) -> None:
        for state in states.states:
            if peer.joining_bytes <= self._station.limits.joining_bytes:
                round_ = states.round if states.were_wanted else 0
                self._comparisons.state_arrives(peer, round_, state.entity_id)
                if not self._join(peer, process, state, round_, were_wanted=states.were_wanted):
                    self._comparisons.state_settled(peer, round_)
        if states.is_last:
            self._comparisons.last_received(peer, states.round)
        self._comparisons.wanted_received(peer, states)

    def _status_received(self, peer: Peer, process: int, status: Status) -> None:
        progress = self._progress(peer, process, status.last + 1)
        progress.last = max(progress.last, status.last)
        for other, earlier in list(peer.progress.items()):
            if other != process and earlier.is_behind:
                # That process is no more, and nobody can be asked for what it has sent.
                del peer.progress[other]
                self._comparisons.want(peer)
        self._comparisons.status_received(peer, status)

    def _missing_received(self, peer: Peer, missing: Missing) -> None:
        if missing.process == self._station.process:
            self._own.answer(peer, ((each.first, each.last) for each in missing.ranges))

    # --- Joining ---------------------------------------------------------------------

    def _join(
        self,
        peer: Peer,
        process: int,
        written: EntityChange,
        round_: int = 0,
        *,
        were_wanted: bool = False,
    ) -> bool:
        """Have a change joined; return whether it is."""
        try:
            entity_id = entity_id_of(written)
            limit = self._station.limits.max_state_bytes
            change = change_from(written, self._station.registry, limit)
        except StateRefused as error:
            self._refused(peer, written.entity_id, str(error))
            return False
        join = Join(
            entity_id,
            change,
            peer.name,
            peer.epoch,
            process,
            list(written.sequences),
            written.ByteSize(),
            written.answer,
            digest_of(change) if were_wanted else b"",
            round_,
        )
        peer.joining_bytes += join.size
        self._agreement.traces.joining(join)
        self._station.to_do.append(join)
        return True

    def _refused(self, peer: Peer, entity_id: str, why: str) -> None:
        self._station.report("change_refused", peer.name, entity_id=entity_id, why=why)
        if len(peer.refused) >= _MAX_REFUSED:
            del peer.refused[next(iter(peer.refused))]
        peer.refused[entity_id] = self._station.now_s + self._station.limits.refused_for_s

    def _join_settled(self, settled: Joined | JoinRefused | JoinFailed) -> None:
        join = settled.join
        is_known = not isinstance(settled, JoinFailed)
        may_have_changed = not is_known or (isinstance(settled, Joined) and settled.has_changed)
        self._agreement.traces.join_settled(
            join, may_have_changed=may_have_changed, is_known=is_known
        )
        if may_have_changed:
            self._comparisons.has_changed(join.entity_id)
        peer = self._station.peers.get(join.sender)
        if peer is None or peer.epoch != join.epoch:
            return
        peer.joining_bytes -= join.size
        match settled:
            case Joined():
                self._joined(peer, join)
            case JoinRefused():
                self._refused(peer, join.entity_id, settled.why)
            case JoinFailed():
                self._lost(peer, join.process, join.sequences)
                self._station.report("change_not_stored", join.sender, why=settled.why)
        self._comparisons.state_settled(peer, join.round)

    def _joined(self, peer: Peer, join: Join) -> None:
        if join.answer and join.sequences:
            peer.stored.setdefault(join.process, []).extend(join.sequences)
        if join.digest:
            peer.to_read.append(Read(join.entity_id, peer.name, unless=join.digest))

    def _lost(self, peer: Peer, process: int, sequences: Iterable[int]) -> None:
        progress = peer.progress.get(process)
        if progress is None:
            return
        for sequence in sequences:
            if not progress.lose(sequence):
                self._comparisons.want(peer)
