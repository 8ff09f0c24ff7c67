"""Writers that will never write again, and what a node has forgotten of them.

What replicas keep only in order to tell one writer's changes from another's is kept for ever: a
count, or the number of the last change, for every life of every node there ever was. `Departed` are
lives that an operator has given up. Nodes that have seen the same of their writing, which
`Lattice.trace_of` tells, can forget them (`Lattice.retire`), and `Retired` is what a node has
forgotten in this way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING

from cloudstate_crdt.replica import Replica

if TYPE_CHECKING:
    from cloudstate_crdt.lattice import Lattice

__all__ = ["RETIRED", "Departed", "Retired", "Trace"]

#: Stands for all writers that were forgotten; no node has an empty name.
RETIRED = Replica("", 0)

_DIGEST_BYTES = 16
_GENERATION_BYTES = 8


@dataclass(frozen=True, slots=True)
class Departed:
    """Lives of nodes that will never write again: of each node all up to some epoch.

    Attributes:
        epochs: The last of these epochs, by name of the node; not to be changed.
    """

    epochs: Mapping[str, int] = field(default_factory=dict)

    def __contains__(self, replica: Replica) -> bool:
        return replica.epoch <= self.epochs.get(replica.node, -1)

    def __bool__(self) -> bool:
        return bool(self.epochs)

    def __hash__(self) -> int:
        return hash(frozenset(self.epochs.items()))

    def joined(self, other: Departed) -> Departed:
        """Return the lives that are in either."""
        epochs = dict(self.epochs)
        for node, epoch in other.epochs.items():
            epochs[node] = max(epoch, epochs.get(node, epoch))
        return Departed(epochs)

    def without(self, other: Departed) -> Departed:
        """Return the nodes of which more lives are in here than in the other, as they are here.

        So lives that are in both may be in the result, for a node of which more are in here.
        """
        known = other.epochs
        return Departed({n: e for n, e in self.epochs.items() if e > known.get(n, -1)})

    def serialize(self) -> bytes:
        """Return bytes that are equal for equal values, and for no others."""
        parts = []
        for node, epoch in sorted(self.epochs.items()):
            name = node.encode()
            parts += [len(name).to_bytes(2), name, epoch.to_bytes(8)]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Trace:
    """What a copy has of some departed writers, for comparing it with others' copies.

    Attributes:
        digest: Equal where `Lattice.trace_of` is, and by any likelihood only there. Empty if the
            copy has nothing of them.
        must_adopt: What `Lattice.must_adopt` says.
    """

    digest: bytes = b""
    must_adopt: bool = False

    @classmethod
    def of(cls, state: Lattice, departed: Departed) -> Trace:
        """Return the trace of a copy; nothing is changed."""
        trace = state.trace_of(departed)
        if not trace:
            return cls()
        hashed = blake2b(state.type_name.encode(), digest_size=_DIGEST_BYTES)
        hashed.update(b"\0")
        hashed.update(trace)
        return cls(hashed.digest(), state.must_adopt(departed))


@dataclass(frozen=True)
class Retired:
    """Which writers a node has forgotten, and how it has.

    A node *folds* if it took part when it was agreed to forget them: it had all that there was of
    them. Else it *strips*: what it has of them goes, and what is to stay it gets from the others.

    A node can have been given up twice, with an epoch and later with a greater one, and this node
    can have taken part only once. So what is forgotten of a name is a sequence of steps. A copy
    that was on disk all the time goes through the same steps as one that was in memory.

    Attributes:
        steps: By name of the node, what was forgotten one after another: up to which epoch, and
            whether this node folds. The epochs grow. Not to be changed.
    """

    steps: Mapping[str, tuple[tuple[int, bool], ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __hash__(self) -> int:
        return hash(frozenset(self.steps.items()))

    def retire(self, node: str, epoch: int, *, folds: bool) -> Retired:
        """Return what is forgotten when lives of a node up to this epoch are forgotten too.

        Nothing becomes of an epoch up to which they are forgotten already.
        """
        before = self.steps.get(node, ())
        if before and before[-1][0] >= epoch:
            return self
        if before and before[-1][1] == folds:
            # One after the other or at once comes to the same.
            before = before[:-1]
        return Retired({**self.steps, node: (*before, (epoch, folds))})

    @cached_property
    def departed(self) -> Departed:
        """Who is forgotten."""
        return Departed({node: steps[-1][0] for node, steps in self.steps.items()})

    @cached_property
    def generation(self) -> int:
        """A number of 64 bits that is equal where the same writers are forgotten; 0 for none.

        How they were forgotten, which is another thing on each node, has no part in it.
        """
        if not self.steps:
            return 0
        hashed = blake2b(self.departed.serialize(), digest_size=_GENERATION_BYTES)
        return int.from_bytes(hashed.digest()) or 1

    def apply(self, state: Lattice) -> bool:
        """Forget in a copy what is forgotten; return whether anything was there to forget.

        A copy in which all this was done before is left as it is.
        """
        changed = False
        for departed, folds in self._rounds:
            changed |= state.retire(departed, into=RETIRED if folds else None)
        return changed

    def strip(self, state: Lattice) -> bool:
        """Drop from what another node sends whatever it has of those that are forgotten here.

        Joins that were under way when this node forgot them may still bring it. Returns whether
        there was any.
        """
        return bool(self.steps) and state.retire(self.departed, into=None)

    @cached_property
    def _rounds(self) -> Sequence[tuple[Departed, bool]]:
        """What to forget one after another: the first step of each node, the second of each, ..."""
        rounds: dict[tuple[int, bool], dict[str, int]] = {}
        for node, steps in self.steps.items():
            for position, (epoch, folds) in enumerate(steps):
                rounds.setdefault((position, folds), {})[node] = epoch
        return [(Departed(epochs), folds) for (_, folds), epochs in sorted(rounds.items())]
