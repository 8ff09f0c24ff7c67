"""How far a change must have spread before the caller is answered."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["WriteConsistency"]


class WriteConsistency(IntEnum):
    """How far a change must have spread before the caller is answered.

    Whatever it is, the change goes on to spread to all nodes.
    """

    #: It is stored on this node.
    LOCAL = 0
    #: More than half of the nodes have stored it.
    MAJORITY = 1
    #: Every node has stored it.
    ALL = 2
