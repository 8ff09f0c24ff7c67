"""Register the event-sourced kind."""

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
from cloudstate_eventsourced.engine import HANDLE, EventSourcedEngine
from cloudstate_eventsourced.entity import EventSourcedEntity
from cloudstate_eventsourced.servicer import EventSourcedServicer

__all__ = ["EventSourcedKind", "cloudstate_register_kinds"]


class EventSourcedKind(EntityKind):
    """Entities whose state is what their events made of it."""

    name: ClassVar[str] = "eventsourced"
    entity_type: ClassVar[str] = EventSourcedEntity.entity_type

    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> list[ConversationMethod]:
        served: dict[str, EventSourcedEntity] = {}
        for entity in entities:
            if not isinstance(entity, EventSourcedEntity):
                raise RegistrationError(
                    f"{entity.service.full_name}: expected an EventSourcedEntity, found "
                    f"{type(entity).__name__}"
                )
            served[str(entity.service.full_name)] = entity
        every = {name: entity.snapshot_every_events for name, entity in served.items()}
        return [ConversationMethod(HANDLE, partial(EventSourcedServicer, served, every, caller))]

    def open_handler(
        self, entity: DeployedEntity, host: RuntimeHost
    ) -> AbstractAsyncContextManager[CommandHandler]:
        output_type_urls = {name: method.output_type_url for name, method in entity.methods.items()}

        def start(entity_id: str) -> EventSourcedEngine:
            return EventSourcedEngine(entity, entity_id, host, output_type_urls)

        return host.region(entity, start)

    def faults(self, entity: DeployedEntity) -> Iterable[str]:
        yield from streamed_methods(entity)
        yield from keyless_methods(entity)


@hookimpl
def cloudstate_register_kinds() -> list[EntityKind]:
    """Add the kind."""
    return [EventSourcedKind()]
