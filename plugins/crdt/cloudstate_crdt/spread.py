"""How far a change must have spread before its caller is answered, also if it asks again.

A user function says it with its answer. It is kept with the answer too: whoever sends the same
command again is not told that it was carried out before as many nodes have it as it was to.
"""

from __future__ import annotations

from cloudstate.crdt_pb2 import CrdtWriteConsistency as WireConsistency
from cloudstate_core.errors import CorruptState
from cloudstate_crdt.replicas import Consistency

__all__ = ["consistency_of", "kept_as", "kept_consistency"]

_CONSISTENCIES = {
    WireConsistency.LOCAL: Consistency.LOCAL,
    WireConsistency.MAJORITY: Consistency.MAJORITY,
    WireConsistency.ALL: Consistency.ALL,
}


def consistency_of(asked: WireConsistency) -> str:
    """Return what a user function asks for."""
    return _CONSISTENCIES[asked]


def kept_as(consistency: str) -> bytes:
    """Return what is kept with the answer, the `note` of its `Outcome`; empty for `LOCAL`."""
    return b"" if consistency == Consistency.LOCAL else consistency.encode()


def kept_consistency(note: bytes) -> str:
    """Return what was kept.

    Raises:
        CorruptState: It is none of them.
    """
    for consistency in _CONSISTENCIES.values():
        if kept_as(consistency) == note:
            return consistency
    raise CorruptState(f"expected how far a change must have spread, found {note[:20]!r}")
