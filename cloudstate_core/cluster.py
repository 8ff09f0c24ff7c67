"""The nodes that serve together, as a kind sees them.

A node has a name, which its operator gives it, and an epoch: which of its lives it is in. A node
that keeps its store keeps its epoch over restarts. One that has lost its store, or that was
expelled while it was away, takes a greater one: whatever it sends counts as another writer's, and
what was on its way from its earlier life is refused.

Members are those that have joined and were not expelled, reachable or not. A majority is one of the
members, so that two halves of a cluster that cannot see each other never both have one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Protocol

from cloudstate_core.transport import Transport
from cloudstate_core.value import value

__all__ = ["Cluster", "Members", "NodeIdentity"]


@value
class NodeIdentity:
    """One node in one of its lives.

    Attributes:
        name: As its operator gave it.
        epoch: Which life; a greater one is a later one.
    """

    name: str
    epoch: int


@value
class Members:
    """Who belongs together, at one moment, as this node knows it.

    Attributes:
        epochs: The members' epochs by name, this node's own among them.
        reachable: Names of those that were heard of lately, this node's own among them.
        expelled: Nodes that were members, by name, with the last epoch that was expelled. What they
            sent in it or before is refused.
        forgotten: Nodes whose operator has given up what they wrote, by name, with the last epoch
            that this is said of. None of those lives is a member's: each was expelled, or has a
            later one. A kind that keeps something only in order to tell their writing from others'
            may forget it, once that is safe. Epochs in here only grow; when very many nodes are
            known, the oldest names are in here no longer, nor among the expelled.
        horizon: Lives up to this epoch of nodes that are not named here at all are over, and were
            given up; 0 for none.
    """

    epochs: Mapping[str, int]
    reachable: frozenset[str]
    expelled: Mapping[str, int]
    forgotten: Mapping[str, int] = field(default_factory=dict)
    horizon: int = 0

    @property
    def majority(self) -> int:
        """How many members are more than half of them."""
        return len(self.epochs) // 2 + 1

    def have_given_up(self, name: str, epoch: int) -> bool:
        """Return whether what a node wrote in one of its lives was given up.

        It is of nodes that are named no longer, too: so a node that joins when they have gone
        learns of it like those that were there.
        """
        if name in self.epochs or name in self.expelled or name in self.forgotten:
            return epoch <= self.forgotten.get(name, -1)
        return 0 < epoch <= self.horizon


class Cluster(Protocol):
    """The cluster, from one of its nodes."""

    @property
    def node(self) -> NodeIdentity:
        """This node.

        Its epoch does not change while the process runs: a node that learns that it was expelled
        stops serving, and joins anew when it is started again.
        """
        ...

    @property
    def transport(self) -> Transport:
        """The way to the others."""
        ...

    @property
    def members(self) -> Members:
        """Who belongs together now."""
        ...

    def on_change(self, changed: Callable[[Members], None]) -> AbstractContextManager[None]:
        """Call `changed` with the new members after each change, while the context is open."""
        ...
