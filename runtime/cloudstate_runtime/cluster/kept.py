"""What a node keeps of the cluster in its store, so that it knows it after a restart."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from cloudstate_core.errors import CorruptState
from cloudstate_core.store import Commit, EntityKey, PutValue, StateStore
from cloudstate_runtime.cluster.membership_pb2 import KeptNodes
from cloudstate_runtime.cluster.records import Life, Records, read_records

__all__ = ["KEY", "KeptRecords"]

#: Where it stands in the store. No entity's namespace begins with a dollar sign.
KEY = EntityKey("$cluster", "nodes")


class KeptRecords:
    """The records in the store of one node.

    Args:
        store: The store.
        epoch: The epoch to commit under.
        node: The name of the node.
    """

    def __init__(self, store: StateStore, epoch: int, node: str) -> None:
        self._store = store
        self._epoch = epoch
        self._node = node
        self._revision = 0
        self._last: Any | None = None

    async def load(self) -> tuple[Records, Life]:
        """Return what is kept, and the node's life in which it was; nothing at the first start.

        What a node kept under another name is what it knew, but not of itself.

        Raises:
            CorruptState: What is kept cannot be read.
            StoreUnavailable: The store cannot be read now.
        """
        stored = await self._store.value(KEY)
        self._revision, self._last = stored.revision, stored.value
        if stored.value is None:
            return Records(), Life()
        kept = KeptNodes()
        try:
            if not stored.value.Unpack(kept):
                raise ValueError(f"expected {KeptNodes.DESCRIPTOR.full_name}")
            records = read_records(kept.nodes, kept.horizon)
        except (ValueError, DecodeError) as error:
            raise CorruptState(f"what is stored of the cluster cannot be read: {error}") from error
        if kept.node == self._node:
            # An earlier release did not keep its life by itself.
            life = Life(kept.epoch, kept.mark) if kept.epoch else records.of(self._node).life
            return records, life
        if set(records.members()) <= {kept.node}:
            # It was alone, so that nobody else knows the node of that name.
            records.drop(kept.node)
        return records, Life()

    async def save(self, records: Records, life: Life) -> None:
        """Keep everything that is known, and the node's life, unless it is kept already.

        Raises:
            StoreError: It is not known to be kept.
        """
        kept = Any()
        message = KeptNodes(
            node=self._node,
            nodes=records.messages(),
            horizon=records.horizon,
            epoch=life.epoch,
            mark=life.mark,
        )
        kept.Pack(message)
        if kept == self._last:
            return
        await self._store.commit(Commit(KEY, self._epoch, (PutValue(self._revision, kept),)))
        self._revision += 1
        self._last = kept
