"""Opening the cluster as the settings say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloudstate_core.alone import Alone
from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Cluster, Members, NodeIdentity
from cloudstate_core.store import StateStore
from cloudstate_runtime.cluster.kept import KeptRecords
from cloudstate_runtime.cluster.records import Known
from cloudstate_runtime.settings import RuntimeSettings

__all__ = ["open_cluster"]


@asynccontextmanager
async def open_cluster(
    settings: RuntimeSettings, store: StateStore, epoch: int, clock: Clock
) -> AsyncIterator[Cluster]:
    """Be a node.

    Args:
        settings: Which node.
        store: Where the node keeps what it knows of the cluster.
        epoch: The epoch to commit under.
        clock: The time.

    Raises:
        StoreError: What is kept cannot be read, or a new epoch not be kept.
    """
    kept = KeptRecords(store, epoch, settings.node)
    records = await kept.load()
    known = records.of(settings.node)
    if not known.is_member:
        first = max(int(clock.unix_time_s() * 1000), known.expelled_epoch + 1)
        records.join(settings.node, Known(first))
        await kept.save(records)
    node = NodeIdentity(settings.node, records.of(settings.node).epoch)
    members = Members(
        epochs=records.members(), reachable=frozenset({node.name}), expelled=records.expelled()
    )
    yield Alone(node, clock, members)
