"""Register the CRDT entity kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar

from cloudstate_core.caller import Caller
from cloudstate_core.entity import DeployedEntity, EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.handler import CommandHandler
from cloudstate_core.hookspecs import hookimpl
from cloudstate_core.kind import EntityKind, RuntimeHost
from cloudstate_core.links import ConversationMethod
from cloudstate_core.spec_checks import client_streamed_methods, keyless_methods
from cloudstate_crdt.engine import HANDLE
from cloudstate_crdt.entity import CrdtEntity
from cloudstate_crdt.servicer import CrdtServicer
from cloudstate_crdt.serving import open_serving

__all__ = ["CrdtKind", "cloudstate_register_kinds"]


class CrdtKind(EntityKind):
    """Entities whose state every node may change at once, and that converges."""

    name: ClassVar[str] = "crdt"
    entity_type: ClassVar[str] = CrdtEntity.entity_type

    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> list[ConversationMethod]:
        served: dict[str, CrdtEntity] = {}
        for entity in entities:
            if not isinstance(entity, CrdtEntity):
                raise RegistrationError(
                    f"{entity.service.full_name}: expected a CrdtEntity, found "
                    f"{type(entity).__name__}"
                )
            served[str(entity.service.full_name)] = entity
        return [ConversationMethod(HANDLE, partial(CrdtServicer, served, caller))]

    def open_handler(
        self, entity: DeployedEntity, host: RuntimeHost
    ) -> AbstractAsyncContextManager[CommandHandler]:
        return open_serving(entity, host)

    def faults(self, entity: DeployedEntity) -> Iterable[str]:
        yield from client_streamed_methods(entity)
        yield from keyless_methods(entity)


@hookimpl
def cloudstate_register_kinds() -> list[EntityKind]:
    """Add the kind."""
    return [CrdtKind()]
