"""What the nodes have agreed to forget, as they tell each other.

A node forgets only what its own members' list says that was given up: no message can make it forget
anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cloudstate_core.cluster import NodeIdentity
from cloudstate_crdt.departed import Departed, Retired
from cloudstate_crdt.errors import MalformedState
from cloudstate_crdt.replication.station import Station
from cloudstate_crdt.replication_pb2 import Life, Retirement

__all__ = ["Retirements"]

#: More than any cluster has ever had nodes.
_MAX_RETIREMENTS = 100_000

#: More than any cluster has members.
_MAX_PARTICIPANTS = 10_000

_MAX_NAME_BYTES = 255


class _Agreed(NamedTuple):
    """That what a node has written up to an epoch is forgotten.

    Attributes:
        epoch: Which.
        participants: Who had the same of it then; empty if that is not known.
    """

    epoch: int
    participants: frozenset[NodeIdentity]


class Retirements:
    """What was agreed to be forgotten, by the name of who wrote it."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._agreed: dict[str, _Agreed] = {}

    def start(self) -> None:
        """Begin with what is forgotten already. Who took part in that is not kept."""
        for name, epoch in self._station.retired.departed.epochs.items():
            self._agreed[name] = _Agreed(epoch, frozenset())

    # --- What is to be forgotten -----------------------------------------------------

    def pending(self) -> Departed:
        """Return who was given up and is not forgotten."""
        given_up = self._station.members.forgotten
        are_to_go = {name: e for name, e in given_up.items() if self._is_given_up(name, e)}
        return Departed(are_to_go).without(self._station.retired.departed)

    def _is_given_up(self, name: str, epoch: int) -> bool:
        """Whether the operator has said so, and nobody lives that life."""
        members, node = self._station.members, self._station.node
        return (
            members.have_given_up(name, epoch)
            and epoch < members.epochs.get(name, epoch + 1)
            and not (name == node.name and epoch >= node.epoch)
        )

    def target(self) -> Retired:
        """Return what is to be forgotten here, with what is already."""
        target = self._station.retired
        for name, agreed in sorted(self._agreed.items()):
            if self._is_given_up(name, agreed.epoch):
                folds = self._has_taken_part(agreed)
                target = target.retire(name, agreed.epoch, folds=folds)
        return target

    def _has_taken_part(self, agreed: _Agreed) -> bool:
        # If nobody knows, it may have, and what it has may be needed. If it has not, it may have
        # more or less than the others. It counts some of what was written then, and nothing twice,
        # and of two counts the greater stays: what the others have agreed on, or more.
        return not agreed.participants or self._station.node in agreed.participants

    # --- What is agreed --------------------------------------------------------------

    def decide(self, departed: Departed) -> None:
        """Take note that all members have the same of these."""
        members = self._station.members.epochs.items()
        participants = frozenset(NodeIdentity(name, epoch) for name, epoch in members)
        for name, epoch in departed.epochs.items():
            self._learn(name, _Agreed(epoch, participants))

    def received(self, sender: str, retirements: Iterable[Retirement]) -> None:
        """Learn what another node has forgotten, as far as it was given up.

        Raises:
            MalformedState: No node says so. Nothing was learned.
        """
        agreed = [_agreed_from(each) for each in _bounded(retirements)]
        for name, each in agreed:
            if self._is_given_up(name, each.epoch):
                self._learn(name, each)
            elif name not in self._station.retired.steps:
                self._station.report("forgotten_elsewhere", sender, of=name, epoch=each.epoch)

    def _learn(self, name: str, agreed: _Agreed) -> None:
        known = self._agreed.get(name)
        if known is None or known.epoch < agreed.epoch:
            self._agreed[name] = agreed
        elif known.epoch == agreed.epoch:
            self._agreed[name] = _Agreed(known.epoch, known.participants | agreed.participants)

    # --- Telling ---------------------------------------------------------------------

    def written(self) -> list[Retirement]:
        """Return what this node has forgotten, for others."""
        return [
            Retirement(
                node=name,
                epoch=agreed.epoch,
                participants=[Life(node=p.name, epoch=p.epoch) for p in agreed.participants],
            )
            for name, agreed in self._agreed.items()
            if agreed.epoch <= self._station.retired.departed.epochs.get(name, -1)
        ]

    def has_more_than(self, retirements: Iterable[Retirement]) -> bool:
        """Whether this node has forgotten something that is not among these."""
        theirs = Departed({each.node: each.epoch for each in retirements})
        return bool(self._station.retired.departed.without(theirs))


def _bounded(retirements: Iterable[Retirement]) -> Sequence[Retirement]:
    found = list(retirements)
    most = max((len(each.participants) for each in found), default=0)
    if len(found) > _MAX_RETIREMENTS or most > _MAX_PARTICIPANTS:
        raise MalformedState(
            f"expected at most {_MAX_RETIREMENTS} forgotten nodes and {_MAX_PARTICIPANTS} that"
            f" took part, found {len(found)} and {most}"
        )
    return found


def _agreed_from(retirement: Retirement) -> tuple[str, _Agreed]:
    lives = (_life(each.node, each.epoch) for each in retirement.participants)
    name, epoch = _life(retirement.node, retirement.epoch)
    return name, _Agreed(epoch, frozenset(NodeIdentity(*each) for each in lives))


def _life(name: str, epoch: int) -> tuple[str, int]:
    if not 0 < len(name.encode()) <= _MAX_NAME_BYTES:
        raise MalformedState(f"expected a node's name, found one of {len(name.encode())} bytes")
    return name, epoch
