"""Which writers one service's copies have forgotten, as it is kept in the store beside them."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from cloudstate_core.errors import CorruptState
from cloudstate_core.store import Commit, EntityKey, PutValue, StateStore
from cloudstate_crdt.departed import Retired
from cloudstate_crdt.retired_pb2 import RetiredWriters

__all__ = ["KeptRetired"]

#: What the namespace begins with. No entity's begins with a dollar sign.
_NAMESPACE = "$crdt/"


class KeptRetired:
    """The record of one service in the store of one node."""

    def __init__(self, persistence_id: str, store: StateStore, epoch: int) -> None:
        """Keep what it is given.

        Args:
            persistence_id: Whose copies.
            store: The store.
            epoch: The epoch to commit under.
        """
        self._key = EntityKey(_NAMESPACE + persistence_id, "retired")
        self._store = store
        self._epoch = epoch

    async def load(self) -> Retired:
        """Return what is kept; nothing if nothing was ever forgotten.

        Raises:
            CorruptState: What is kept cannot be read.
            StoreUnavailable: The store cannot be read now.
        """
        stored = await self._store.value(self._key)
        retired = Retired()
        if stored.value is None:
            return retired
        writers = RetiredWriters()
        try:
            if not stored.value.Unpack(writers):
                expected = RetiredWriters.DESCRIPTOR.full_name
                raise CorruptState(
                    f"{self._key.persistence_id}: expected {expected}, found "
                    f"{stored.value.type_url!r}"
                )
        except DecodeError as error:
            raise CorruptState(f"{self._key.persistence_id}: {error}") from error
        for step in writers.steps:
            retired = retired.retire(step.node, step.epoch, folds=step.folds)
        return retired

    async def save(self, retired: Retired) -> None:
        """Keep this, in place of what was kept.

        Raises:
            StoreError: It is not known to be kept.
        """
        steps = [
            RetiredWriters.Step(node=node, epoch=epoch, folds=folds)
            for node, steps in sorted(retired.steps.items())
            for epoch, folds in steps
        ]
        kept = Any()
        kept.Pack(RetiredWriters(steps=steps))
        # Whether the last one was kept may not be known.
        revision = (await self._store.value(self._key)).revision
        await self._store.commit(Commit(self._key, self._epoch, (PutValue(revision, kept),)))
