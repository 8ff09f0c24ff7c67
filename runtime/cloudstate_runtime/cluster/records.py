"""What is known of the nodes, as a lattice: whatever order it is learnt in, all learn the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloudstate_core.transport import check_node_name
from cloudstate_core.value import value
from cloudstate_runtime.cluster.membership_pb2 import NodeRecord

__all__ = ["MAX_NODES", "Known", "Life", "Records", "read_records"]

#: How many nodes may be known, those that were expelled included. When there are so many, the ones
#: that were given up make room, the oldest first.
MAX_NODES = 1000

#: A node's epoch is a time in milliseconds, or one more than another epoch.
_MAX_EPOCH = 2**63 - 1


@value
class Life:
    """One life of a node, and how far its store has come in it.

    Attributes:
        epoch: Which life; 0 for none.
        mark: A number that grows while the node runs. What a store has lost, or has not in it since
            it is an older copy, is noticed by a smaller one than others have heard of.
    """

    epoch: int = 0
    mark: int = 0

    def is_behind(self, other: Life) -> bool:
        """Return whether the other is later."""
        return (self.epoch, self.mark) < (other.epoch, other.mark)


@value
class Known:
    """What is known of one node.

    Attributes:
        epoch: Of its latest life that has joined.
        expelled_epoch: Of its latest life that was expelled; 0 for none.
        forgotten_epoch: Of its latest life whose data was given up; 0 for none.
        mark: How far its store has come in its latest life.
    """

    epoch: int
    expelled_epoch: int = 0
    forgotten_epoch: int = 0
    mark: int = 0

    @property
    def life(self) -> Life:
        """Its latest life."""
        return Life(self.epoch, self.mark)

    @property
    def is_member(self) -> bool:
        """Whether the node has joined since it was expelled, if it ever was."""
        return self.epoch > self.expelled_epoch

    @property
    def last_life_over(self) -> int:
        """The epoch of its latest life in which it can be no more."""
        return max(self.expelled_epoch, self.epoch - 1)

    @property
    def is_spent(self) -> bool:
        """Whether nothing is of interest but that all its lives are over."""
        return not self.is_member and self.forgotten_epoch >= self.expelled_epoch

    @property
    def last_epoch(self) -> int:
        """The epoch of the latest life that is known."""
        return max(self.epoch, self.expelled_epoch)

    def joined_with(self, other: Known) -> Known:
        """Return what is known when both are."""
        latest = other.life if self.life.is_behind(other.life) else self.life
        return Known(
            latest.epoch,
            max(self.expelled_epoch, other.expelled_epoch),
            max(self.forgotten_epoch, other.forgotten_epoch),
            latest.mark,
        )


class Records:
    """What is known of all nodes.

    Args:
        known: By name.

    Attributes:
        horizon: Lives up to this epoch of nodes that are not known are over. It only grows: such
            nodes were known, expelled and given up, and made room for others.
    """

    def __init__(self, known: Mapping[str, Known] | None = None) -> None:
        self.horizon = 0
        self._known = dict(known or {})

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Records)
            and self._known == other._known
            and self.horizon == other.horizon
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def items(self) -> list[tuple[str, Known]]:
        """Return everything, by name."""
        return list(self._known.items())

    def of(self, name: str) -> Known:
        """Return what is known of a node; all zeros for one that is unknown."""
        return self._known.get(name, Known(0))

    def join(self, name: str, known: Known) -> bool:
        """Take in what somebody knows of a node, and return whether it is news.

        A node that is not known and whose lives are over is not taken in, nor one that is too many.
        """
        before = self.of(name)
        after = before.joined_with(known)
        if after == before or (name not in self._known and after.last_epoch <= self.horizon):
            return False
        self._known[name] = after
        if len(self._known) > MAX_NODES and not self._make_room():
            del self._known[name]
            return False
        if after.is_spent and after.last_epoch <= self.horizon:
            self.drop(name)
        return True

    def raise_horizon(self, epoch: int) -> bool:
        """Take in that unknown lives up to an epoch are over; return whether it is news."""
        if epoch <= self.horizon:
            return False
        self.horizon = epoch
        self._drop_spent()
        return True

    def join_horizon(self, told: Records) -> bool:
        """Take in what another's horizon says, once all it knows is; return whether it is news."""
        over = [
            name
            for name, known in self._known.items()
            if known.last_epoch <= told.horizon and name not in told
        ]
        for name in over:
            self.drop(name)
        return self.raise_horizon(told.horizon) or bool(over)

    def _make_room(self) -> bool:
        spent = (each.expelled_epoch for each in self._known.values() if each.is_spent)
        return self.raise_horizon(min(spent, default=0))

    def _drop_spent(self) -> None:
        for name, known in self.items():
            if known.is_spent and known.last_epoch <= self.horizon:
                del self._known[name]

    def drop(self, name: str) -> None:
        """Know a node no longer. Only for one that nobody else can know."""
        self._known.pop(name, None)

    def members(self) -> dict[str, int]:
        """Return the epochs of those that belong to the cluster, by name."""
        return {name: known.epoch for name, known in self._known.items() if known.is_member}

    def expelled(self) -> dict[str, int]:
        """Return the last epochs that were expelled, by name."""
        return {
            name: known.expelled_epoch
            for name, known in self._known.items()
            if known.expelled_epoch
        }

    def forgotten(self) -> dict[str, int]:
        """Return the last epochs whose data was given up, by name."""
        return {
            name: known.forgotten_epoch
            for name, known in self._known.items()
            if known.forgotten_epoch
        }

    def messages(self) -> list[NodeRecord]:
        """Return everything as it is sent and kept."""
        return [
            NodeRecord(
                name=name,
                epoch=known.epoch,
                expelled_epoch=known.expelled_epoch,
                forgotten_epoch=known.forgotten_epoch,
                mark=known.mark,
            )
            for name, known in sorted(self._known.items())
        ]


def read_records(messages: Iterable[NodeRecord], horizon: int = 0) -> Records:
    """Return what was sent or kept.

    Raises:
        ValueError: It cannot be meant so.
    """
    if horizon > _MAX_EPOCH:
        raise ValueError("expected a horizon below 2**63")
    records = Records()
    for message in messages:
        check_node_name(message.name)
        if max(message.epoch, message.expelled_epoch) > _MAX_EPOCH:
            raise ValueError(f"node {message.name!r}: expected an epoch below 2**63")
        known = Known(message.epoch, message.expelled_epoch, message.forgotten_epoch, message.mark)
        if known.forgotten_epoch > known.last_life_over:
            raise ValueError(f"node {message.name!r}: expected no data of a present life given up")
        records.join(message.name, known)
    records.raise_horizon(horizon)
    return records
