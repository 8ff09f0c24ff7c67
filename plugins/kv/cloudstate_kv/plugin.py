"""Register the value entity kind."""

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
from cloudstate_core.spec_checks import keyless_methods, streamed_methods
from cloudstate_kv.engine import HANDLE, ValueEngine
from cloudstate_kv.entity import ValueEntity
from cloudstate_kv.servicer import ValueServicer

__all__ = ["ValueKind", "cloudstate_register_kinds"]


class ValueKind(EntityKind):
    """Entities whose state is one value, replaced or deleted as a whole."""

    name: ClassVar[str] = "kv"
    entity_type: ClassVar[str] = ValueEntity.entity_type

    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> list[ConversationMethod]:
        served: dict[str, ValueEntity] = {}
        for entity in entities:
            if not isinstance(entity, ValueEntity):
                raise RegistrationError(
                    f"{entity.service.full_name}: expected a ValueEntity, found "
                    f"{type(entity).__name__}"
                )
            served[str(entity.service.full_name)] = entity
        return [ConversationMethod(HANDLE, partial(ValueServicer, served, caller))]

    def open_handler(
        self, entity: DeployedEntity, host: RuntimeHost
    ) -> AbstractAsyncContextManager[CommandHandler]:
        output_type_urls = {name: method.output_type_url for name, method in entity.methods.items()}

        def start(entity_id: str) -> ValueEngine:
            return ValueEngine(entity, entity_id, host, output_type_urls)

        return host.region(entity, start)

    def faults(self, entity: DeployedEntity) -> Iterable[str]:
        yield from streamed_methods(entity)
        yield from keyless_methods(entity)


@hookimpl
def cloudstate_register_kinds() -> list[EntityKind]:
    """Add the kind."""
    return [ValueKind()]
