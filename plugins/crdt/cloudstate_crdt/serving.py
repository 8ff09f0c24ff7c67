"""Puts together what serves the entities of one service on this node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random, SystemRandom

from cloudstate_core.entity import DeployedEntity
from cloudstate_core.handler import CommandHandler
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.store import MAX_PAYLOAD_BYTES
from cloudstate_crdt.copies import Copies
from cloudstate_crdt.live_entities import LiveEntities, open_live_entities
from cloudstate_crdt.registry import DEFAULT_MAX_STATE_BYTES, standard_types
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.replicator import Replicator
from cloudstate_crdt.stored_form import StoredForm

__all__ = ["open_serving"]

#: A copy is one value in the store.
_MAX_STATE_BYTES = min(DEFAULT_MAX_STATE_BYTES, MAX_PAYLOAD_BYTES)

#: Commands leave room for what other nodes may have added meanwhile.
_MAX_GROWN_BYTES = _MAX_STATE_BYTES * 2 // 3


@asynccontextmanager
async def open_serving(
    entity: DeployedEntity, host: RuntimeHost, random: Random | None = None
) -> AsyncIterator[CommandHandler]:
    """Serve the entities of a service, and stop in the end.

    Args:
        entity: The service.
        host: What the runtime offers.
        random: Where chance comes from; None for the system's own.
    """
    cluster, types = host.cluster, standard_types()
    me = Replica(cluster.node.name, cluster.node.epoch)
    form = StoredForm(types, _MAX_STATE_BYTES, _MAX_GROWN_BYTES)
    copies = Copies(entity.persistence_id, me, form, host)
    await copies.load_retired()
    replicator = Replicator(
        entity.persistence_id,
        copies,
        cluster,
        host.clock,
        types,
        random=random or SystemRandom(),
    )
    entities = LiveEntities(entity, host, copies, replicator, me.node)
    async with (
        replicator,
        open_live_entities(entities),
        host.stateless(entity, entities) as handler,
    ):
        # Requests whose streams never end by themselves would use up all the time that there is
        # for the others, at the end of the runtime as at that of the service.
        with (
            host.when_draining(entities.end_streams),
            cluster.on_change(lambda _: entities.members_may_have_changed()),
        ):
            try:
                yield handler
            finally:
                entities.end_streams()
