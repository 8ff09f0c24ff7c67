"""A vote among the nodes, one voice each."""

from __future__ import annotations

from collections.abc import Collection

from cloudstate_crdt.departed import Departed
from cloudstate_crdt.errors import StaleReplica
from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.lattices_pb2 import Voice, VoteState
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.wire import expect_canonical, message_from, to_bytes

__all__ = ["Vote"]


class Vote(Lattice):
    """What each node votes, as how often it has changed its mind: an odd number is for.

    A node that comes back with a greater epoch votes anew: its voices from before count no more.
    Which nodes are members is not part of the vote; whoever counts says so.

    Attributes:
        voices: By node, its epoch and how often it has changed its mind in it.
    """

    __slots__ = ("voices",)

    type_name = "vote"

    def __init__(self, voices: dict[str, tuple[int, int]] | None = None) -> None:
        self.voices: dict[str, tuple[int, int]] = voices or {}

    def votes_for(self, members: Collection[str]) -> int:
        """Return how many of the members vote for."""
        return sum(self.voice_of(node) for node in members)

    def voice_of(self, node: str) -> bool:
        """Return whether a node votes for; one that has not voted does not."""
        _, changes = self.voices.get(node, (0, 0))
        return changes % 2 == 1

    def vote(self, replica: Replica, *, is_for: bool) -> Vote:
        """Set the voice of a node and return the delta, which is empty if it is that already.

        Raises:
            StaleReplica: The node has voted with a greater epoch. Nothing was changed.
        """
        epoch, changes = self.voices.get(replica.node, (-1, 0))
        if replica.epoch < epoch:
            raise StaleReplica(
                f"node {replica.node!r}: expected epoch {epoch} or later, found {replica.epoch}"
            )
        if replica.epoch > epoch:
            epoch, changes = replica.epoch, 0
        elif changes % 2 == is_for:
            return Vote()
        if changes % 2 != is_for:
            changes += 1
        self.voices[replica.node] = (epoch, changes)
        return Vote({replica.node: (epoch, changes)})

    @classmethod
    def bottom(cls, types: Types) -> Vote:
        return cls()

    @classmethod
    def parse(cls, data: bytes, types: Types) -> Vote:
        message = message_from(VoteState, data)
        vote = cls({each.node: (each.epoch, each.changes) for each in message.voices})
        expect_canonical(vote, data)
        return vote

    def join(self, other: Vote) -> bool:
        self.expect_same_type(other)
        changed = False
        for node, voice in other.voices.items():
            # A later epoch beats any number of changes in an earlier one.
            if voice > self.voices.get(node, (-1, 0)):
                self.voices[node] = voice
                changed = True
        return changed

    def covers(self, other: Vote) -> bool:
        return all(self.voices.get(each, (-1, 0)) >= voice for each, voice in other.voices.items())

    def serialize(self) -> bytes:
        voices = sorted(self.voices.items())
        return to_bytes(
            VoteState(
                voices=[
                    Voice(node=node, epoch=epoch, changes=changes)
                    for node, (epoch, changes) in voices
                ]
            )
        )

    def copy(self) -> Vote:
        return Vote(self.voices.copy())

    def is_bottom(self) -> bool:
        return not self.voices

    def trace_of(self, departed: Departed) -> bytes:
        return Vote({node: self.voices[node] for node in self._of(departed)}).serialize()

    def retire(self, departed: Departed, *, into: Replica | None) -> bool:
        # What they voted does not stay: who is no member is not counted, and one who has come back
        # since votes anew.
        gone = self._of(departed)
        for node in gone:
            del self.voices[node]
        return bool(gone)

    def _of(self, departed: Departed) -> list[str]:
        voices = self.voices.items()
        return [node for node, (epoch, _) in voices if Replica(node, epoch) in departed]

    def __eq__(self, other: object) -> bool:
        return self.voices == other.voices if isinstance(other, Vote) else NotImplemented

    __hash__ = None
