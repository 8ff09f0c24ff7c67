"""Agreeing to forget departed writers: who has the same of them, and when all have.

Nobody leads. Each member says what all its copies have of those that are to be forgotten, under a
view: its members, whom it is to forget, and whom it has forgotten. Who has a report of every member
that is like its own, under its own view, knows that none of them will ever have more, and decides.
What somebody has decided is told to whoever has not forgotten as much.

A view does not come again: nobody is a member again in a life in which it was expelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from hashlib import blake2b

from cloudstate_crdt.departed import Departed, Retired
from cloudstate_crdt.errors import MalformedState
from cloudstate_crdt.replication.retirements import Retirements
from cloudstate_crdt.replication.station import Peer, Station
from cloudstate_crdt.replication.traces import Traces
from cloudstate_crdt.replication.words import Adopt, Adopted, AdoptionFailed, Keep, KeepFailed
from cloudstate_crdt.replication_pb2 import Departures

__all__ = ["Agreement"]

_DIGEST_BYTES = 16


class Agreement:
    """This node's part in agreeing.

    Attributes:
        traces: What its copies have of the departed that are to be forgotten.
    """

    def __init__(self, station: Station) -> None:
        self.traces = Traces(station)
        self._station = station
        self._retirements = Retirements(station)
        self._view = b""
        #: What other members have said last.
        self._reports: dict[str, Departures] = {}
        self._report_due_s = 0.0
        self._to_adopt: deque[str] = deque()
        self._is_adopting = False
        self._adopt_due_s = 0.0
        self._keeping: Retired | None = None
        self._keep_due_s = 0.0
        self._late_s = float("inf")

    def start(self, retired: Retired) -> None:
        """Begin with what is forgotten already."""
        self._station.retired = retired
        self._retirements.start()

    # --- Time and members ------------------------------------------------------------

    def members_changed(self) -> None:
        """Agree with these members from now on."""
        for name in self._reports.keys() - self._station.peers.keys():
            del self._reports[name]
        self._look_again()

    def _look_again(self, *, are_copies_others: bool = False) -> None:
        station = self._station
        pending = self._retirements.pending() if station.is_member else Departed()
        view = _view(station, pending)
        if view == self._view:
            return
        self._view = view
        self._to_adopt.clear()
        self._report_due_s = station.now_s
        self._late_s = station.now_s + station.limits.report_every_s
        if are_copies_others or pending != self.traces.departed:
            self.traces.look_for(pending)
        self.traces.view_changed()

    def tick(self) -> None:
        """Say what is due, and go on."""
        self._keep()
        if not self.traces.departed:
            return
        self.traces.refresh()
        station = self._station
        if self.traces.are_known and station.now_s >= self._report_due_s:
            self._report_due_s = station.now_s + station.limits.status_every_s
            if station.peers:
                station.broadcast(departures=self._report())
        self._go_on()

    # --- What is said ----------------------------------------------------------------

    def _report(self) -> Departures:
        digest, to_adopt = self.traces.digest(), len(self.traces.to_adopt)
        return Departures(view=self._view, digest=digest, to_adopt=to_adopt)

    def refused(self, peer: Peer) -> None:
        """Tell a node that has not forgotten the same what is forgotten here."""
        now_s = self._station.now_s
        if now_s >= peer.told_s + self._station.limits.ask_again_s:
            peer.told_s = now_s
            told = Departures(retirements=self._retirements.written())
            self._station.send(peer, departures=told)

    def received(self, peer: Peer, generation: int, said: Departures) -> None:
        """Take in what another member says.

        Raises:
            MalformedState: No node says so. Nothing was taken in.
        """
        if said.view and (len(said.view), len(said.digest)) != (_DIGEST_BYTES, _DIGEST_BYTES):
            found = f"{len(said.view)} and {len(said.digest)}"
            raise MalformedState(f"expected a view and a digest of 16 bytes each, found {found}")
        self._retirements.received(peer.name, said.retirements)
        if said.view:
            self._reports[peer.name] = said
        if generation != self._station.retired.generation and self._has_news(said):
            self.refused(peer)
        self._keep()
        self._go_on()

    def _has_news(self, said: Departures) -> bool:
        """Whether what this node has forgotten is news for whoever has said this."""
        return not said.retirements or self._retirements.has_more_than(said.retirements)

    # --- Agreeing --------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._keeping is not None or not self.traces.departed or not self.traces.are_known:
            return
        if waiting := next(self._not_alike(), None):
            self._report_waiting(*waiting)
        elif self.traces.to_adopt:
            self._adopt_all()
        elif not any(report.to_adopt for report in self._reports.values()):
            self._retirements.decide(self.traces.departed)
            self._keep()

    def _not_alike(self) -> Iterator[tuple[str, str]]:
        """Members that are not known to have the same, and why."""
        for name in self._station.peers:
            report = self._reports.get(name)
            if report is None:
                yield name, "it has not said what it has of them"
            elif report.view != self._view:
                yield name, "it knows other members, or of others that are to be forgotten"
            elif report.digest != self.traces.digest():
                yield name, "it has other changes of them"

    def _report_waiting(self, name: str, why: str) -> None:
        station = self._station
        if station.now_s >= self._late_s:
            self._late_s = station.now_s + station.limits.waiting_reported_every_s
            station.report("forgetting_waits", name, of=list(self.traces.departed.epochs), why=why)

    # --- Taking over -----------------------------------------------------------------

    def _adopt_all(self) -> None:
        station = self._station
        is_first = station.node.name == min(station.members.epochs)
        if is_first and not self._to_adopt and station.now_s >= self._adopt_due_s:
            self._to_adopt.extend(self.traces.to_adopt)
            self._adopt_next()

    def _adopt_next(self) -> None:
        # One after the other: it is in no hurry, and commands are.
        if self._to_adopt and not self._is_adopting:
            self._is_adopting = True
            adopt = Adopt(self._to_adopt.popleft(), self.traces.departed)
            self._station.to_do.append(adopt)

    def adoption_settled(self, settled: Adopted | AdoptionFailed) -> None:
        """Go on with the next, or later with this one again."""
        station = self._station
        self._is_adopting = False
        change = settled.delta if isinstance(settled, Adopted) else None
        self.traces.has_changed(settled.entity_id, change)
        if isinstance(settled, AdoptionFailed):
            self._adopt_due_s = station.now_s + station.limits.status_every_s
            own_name = station.node.name
            station.report("not_taken_over", own_name, entity_id=settled.entity_id, why=settled.why)
        self._adopt_next()

    # --- Forgetting ------------------------------------------------------------------

    def _keep(self) -> None:
        station = self._station
        if self._keeping is not None or not station.is_member or station.now_s < self._keep_due_s:
            return
        target = self._retirements.target()
        if target != station.retired:
            self._keeping = target
            station.to_do.append(Keep(target))

    def keep_failed(self, failed: KeepFailed) -> None:
        """Try it again later."""
        station = self._station
        self._keeping = None
        self._keep_due_s = station.now_s + station.limits.status_every_s
        station.report("forgetting_not_kept", station.node.name, why=failed.why)

    def kept(self, retired: Retired) -> None:
        """Have forgotten, and tell all."""
        station = self._station
        news = retired.departed.without(station.retired.departed)
        self._keeping = None
        station.retired = retired
        for name, epoch in news.epochs.items():
            took_part = retired.steps[name][-1][1]
            station.report("departed_forgotten", name, epoch=epoch, took_part=took_part)
        self._look_again(are_copies_others=True)
        if station.peers:
            station.broadcast(departures=Departures(retirements=self._retirements.written()))


def _view(station: Station, pending: Departed) -> bytes:
    """What this node knows: equal for nodes that know the same."""
    members = station.members
    hashed = blake2b(members.horizon.to_bytes(8), digest_size=_DIGEST_BYTES)
    for each in (
        Departed(members.epochs),
        Departed(members.expelled),
        pending,
        station.retired.departed,
    ):
        written = each.serialize()
        hashed.update(len(written).to_bytes(8))
        hashed.update(written)
    return hashed.digest()
