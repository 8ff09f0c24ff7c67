"""A vote among the nodes."""

from __future__ import annotations

from typing import ClassVar

from cloudstate.crdt_pb2 import CrdtDelta, VoteDelta
from cloudstate_crdt.data.crdt import Crdt

__all__ = ["Vote"]


class Vote(Crdt):
    """A vote in which each node has one voice, for something or against it.

    Attributes:
        self_vote: The voice of this node.
        votes_for: How many nodes are for it, this one among them.
        total_voters: How many nodes there are.
    """

    delta_name: ClassVar[str] = "vote"

    def __init__(self) -> None:
        """Begin as the only voter, who is against it."""
        super().__init__()
        self.self_vote = self._sent = False
        self.votes_for, self.total_voters = 0, 1

    def vote(self, is_for: bool) -> None:  # noqa: FBT001  # it is what a vote is
        """Give the voice of this node; nothing happens if it has said the same before.

        Raises:
            TypeError: `is_for` is no bool. Nothing was changed.
        """
        if not isinstance(is_for, bool):
            raise TypeError(f"vote: expected a bool, found {is_for!r}")
        if is_for != self.self_vote:
            self._before_change()
            self.votes_for += 1 if is_for else -1
            self.self_vote = is_for

    def is_unanimous(self) -> bool:
        """Return whether all nodes are for it."""
        return self.votes_for == self.total_voters

    def is_majority(self) -> bool:
        """Return whether more than half of the nodes are for it."""
        return self.votes_for * 2 > self.total_voters

    def __repr__(self) -> str:
        return f"Vote({self.self_vote}, {self.votes_for} of {self.total_voters})"

    def pending(self) -> CrdtDelta | None:
        # The runtime counts; it is told this node's voice alone.
        if self.self_vote == self._sent:
            return None
        return CrdtDelta(vote=VoteDelta(self_vote=self.self_vote))

    def forget_pending(self) -> None:
        self._sent = self.self_vote

    def whole(self) -> CrdtDelta:
        return CrdtDelta(
            vote=VoteDelta(
                self_vote=self.self_vote,
                votes_for=self.votes_for,
                total_voters=self.total_voters,
            )
        )

    def _apply(self, inner: VoteDelta) -> None:
        self.self_vote = self._sent = inner.self_vote
        self.votes_for, self.total_voters = inner.votes_for, inner.total_voters
