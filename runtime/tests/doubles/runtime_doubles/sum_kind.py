"""A kind that adds up: an entity's state is the sum of all amounts that it was given."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Failure
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import CloudstateError
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.store import EntityKey, PutValue, StateStore
from runtime_doubles.engines import ORDERS, amount_of
from runtime_doubles.toy_kind import ToyKind

_Order = ORDERS.methods["Place"].output_class


class SumEngine:
    """Adds the amount of each command to the sum, and answers with it; refuses to take away."""

    def __init__(self, entity: DeployedEntity, host: RuntimeHost, entity_id: str) -> None:
        self.version = 0
        self._key = EntityKey(entity.persistence_id, entity_id)
        self._host = host
        self._sum = 0

    async def open(self) -> None:
        stored = await self._host.store.value(self._key)
        self.version = stored.revision
        if stored.value is not None:
            self._sum = amount_of(stored.value)

    async def handle(self, request: Request) -> Outcome:
        amount, action = amount_of(request.payload), ClientAction()
        if amount < 0:
            action.failure.CopyFrom(Failure(description="nothing is taken away"))
            return await self._host.commit(request, self._key, (), Outcome(action))
        total = _Order(id=self._key.entity_id, amount=self._sum + amount).SerializeToString()
        action.reply.payload.value = total
        outcome = await self._host.commit(
            request,
            self._key,
            (PutValue(self.version, Any(value=total)),),
            Outcome(action, version=self.version + 1),
        )
        self._sum += amount
        self.version += 1
        return outcome

    def fault(self) -> CloudstateError | None:
        return None

    async def aclose(self) -> None: ...


class SumKind(ToyKind):
    """Is announced as the toy kind is."""

    def open_handler(
        self, entity: DeployedEntity, host: RuntimeHost
    ) -> AbstractAsyncContextManager[CommandHandler]:
        return host.region(entity, partial(SumEngine, entity, host))


async def sum_in(store: StateStore, entity_id: str) -> tuple[int, int]:
    """Return the sum of an entity of `shop.Orders`, and how often it was written."""
    stored = await store.value(EntityKey("shop.Orders", entity_id))
    return (0 if stored.value is None else amount_of(stored.value)), stored.revision
