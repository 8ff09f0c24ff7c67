"""Replication for a node that is alone."""

from __future__ import annotations

from collections.abc import Collection

from cloudstate_crdt.replicas import Change

__all__ = ["Alone"]


class Alone:
    """A `Dissemination` with nobody to tell: one copy is all of them, and the majority."""

    def __init__(self, node: str) -> None:
        """Keep the name of the only node."""
        self._members = (node,)

    @property
    def members(self) -> Collection[str]:
        """The only node."""
        return self._members

    async def changed(self, entity_id: str, delta: Change, consistency: str) -> None:
        """Return: the change is stored by every node there is."""

    def unsure(self, entity_id: str) -> None:
        """Do nothing: there is no copy to compare with."""
