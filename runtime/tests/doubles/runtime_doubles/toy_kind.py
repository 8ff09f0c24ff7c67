"""A kind that only answers: what the runtime needs of a kind, and nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from cloudstate_core.entity import DeployedEntity, EntityDefinition
from cloudstate_core.handler import CommandHandler
from cloudstate_core.kind import EntityKind, RuntimeHost
from cloudstate_core.links import ConversationMethod
from cloudstate_core.spec_checks import keyless_methods, streamed_methods
from runtime_doubles.specs import TOY


class ToyKind(EntityKind):
    """Checks services as most kinds do."""

    name: ClassVar[str] = "toy"
    entity_type: ClassVar[str] = TOY

    def protocol_methods(
        self, entities: Sequence[EntityDefinition]
    ) -> Sequence[ConversationMethod]:
        return ()

    @asynccontextmanager
    async def open_handler(
        self, entity: DeployedEntity, host: RuntimeHost
    ) -> AsyncIterator[CommandHandler]:
        raise NotImplementedError
        yield

    def faults(self, entity: DeployedEntity) -> Iterable[str]:
        yield from streamed_methods(entity)
        yield from keyless_methods(entity)
