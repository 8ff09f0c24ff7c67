"""Who writes: a node, in one of its lives."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Replica"]


class Replica(NamedTuple):
    """A writer. No two processes that can write at the same time are the same replica.

    A node that comes back without all it had written takes a greater epoch, and with it counts as
    another writer: its old numbers are never given out twice.

    Attributes:
        node: The name of the node.
        epoch: Which life of the node it is.
        strand: Which part of its writing it is, for a value inside a map; 0 outside. The map
            chooses it, so that what one removal erases can be told from what it does not.
    """

    node: str
    epoch: int = 0
    strand: int = 0
