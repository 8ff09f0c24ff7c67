"""The seam between what serves entities and what replicates them.

`Replicas` are this node's own copies, in its store. `Dissemination` brings each change to the other
nodes' copies and theirs to ours. Either side can be replaced by a fake of the other.

A change is made in this order: it is joined into the copy in memory, the copy is stored, and only
then is the change given to `Dissemination`. So nothing that another node has ever seen of this one
can be forgotten here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from hashlib import blake2b
from typing import Protocol

from cloudstate_crdt.departed import Departed, Retired, Trace
from cloudstate_crdt.lattice import Lattice

__all__ = [
    "DELETED",
    "Change",
    "Consistency",
    "Deleted",
    "Dissemination",
    "Replicas",
    "digest_of",
]


class Deleted:
    """What stands in the place of a state that was deleted: it wins over every state, for ever."""

    def __repr__(self) -> str:
        return "<deleted>"


DELETED = Deleted()

#: A state, a delta of one, or that there is to be none any more.
Change = Lattice | Deleted

_DIGEST_OF_DELETED = blake2b(b"deleted", digest_size=16).digest()


def digest_of(copy: Change) -> bytes:
    """Return 16 bytes that are equal for equal copies of an entity, deleted ones included."""
    return _DIGEST_OF_DELETED if isinstance(copy, Deleted) else copy.digest()


class Consistency:
    """How many copies must have a change, stored, before its command is answered.

    The values are kept with remembered answers.
    """

    LOCAL = "local"
    MAJORITY = "majority"
    ALL = "all"


class Replicas(Protocol):
    """This node's copies of the entities of one service; what replication works on."""

    async def join(self, entity_id: str, change: Change) -> bool:
        """Take in what another node sends.

        When this returns, the copy has it, in the store too, and whoever serves the entity has been
        told. Joins of one entity that come meanwhile may be stored together.

        Returns:
            Whether anything changed.

        Raises:
            StateRefused: The change cannot belong to the entity; the copy is as it was.
            StoreError: It is not known to be stored.
        """
        ...

    async def state(self, entity_id: str) -> Change | None:
        """Return the stored copy; None if there is none. It is the caller's to keep."""
        ...

    def digests(self) -> AsyncIterator[tuple[str, bytes]]:
        """Go through all copies, the deleted ones too: entity id and what `digest_of` says."""
        ...

    # --- Writers that are forgotten --------------------------------------------------

    @property
    def retired(self) -> Retired:
        """Which departed writers are forgotten in all copies.

        A copy that is stored as it was before is brought to the same when it is read. `join` drops
        whatever a change still has of them.
        """
        ...

    async def keep_retired(self, retired: Retired) -> None:
        """Make it durable which writers are forgotten; the copies stay as they are until then.

        Raises:
            StoreError: It is not known to be kept.
        """
        ...

    def use_retired(self, retired: Retired) -> None:
        """Forget these writers from now on, at once; they must have been kept."""
        ...

    async def trace(self, entity_id: str, departed: Departed) -> Trace:
        """Return what a copy has of departed writers; an empty trace if there is no copy.

        Raises:
            StoreError: It cannot be read now.
        """
        ...

    def traces(self, departed: Departed) -> AsyncIterator[tuple[str, Trace]]:
        """Go through all copies that have something of departed writers."""
        ...

    async def adopt(self, entity_id: str, departed: Departed) -> Change | None:
        """Let this node take over what departed writers have left alive in a copy, and store it.

        Returns:
            The change, for the other nodes; None if there is nothing to take over.

        Raises:
            StateRefused: The copy would be too large; it is as it was.
            StoreError: It is not known to be stored.
        """
        ...


class Dissemination(Protocol):
    """What serving asks of replication."""

    @property
    def members(self) -> Collection[str]:
        """Names of the nodes whose votes count, this one's among them."""
        ...

    async def changed(self, entity_id: str, delta: Change, consistency: str) -> None:
        """Bring a change of this node, which is stored, to the others.

        Returns at once for `Consistency.LOCAL`, else when as many members have stored it.

        Raises:
            TooFewReplicas: They did not in time. The change stays here and still spreads.
        """
        ...

    def unsure(self, entity_id: str) -> None:
        """Take note that a copy may be another than was said, so that it is compared.

        For a change of which it is not known whether it was stored: if it was, it spreads too.
        """
        ...
