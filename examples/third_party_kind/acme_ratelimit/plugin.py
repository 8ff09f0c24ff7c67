"""Register the rate limited kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar

from acme_ratelimit.engine import HANDLE, RateLimitEngine
from acme_ratelimit.entity import RateLimitedEntity
from acme_ratelimit.servicer import RateLimitServicer
from cloudstate_core.caller import Caller
from cloudstate_core.entity import DeployedEntity, EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.handler import CommandHandler
from cloudstate_core.hookspecs import hookimpl
from cloudstate_core.kind import EntityKind, RuntimeHost
from cloudstate_core.links import ConversationMethod
from cloudstate_core.spec_checks import keyless_methods, streamed_methods

__all__ = ["RateLimitKind", "cloudstate_register_kinds"]


class RateLimitKind(EntityKind):
    """Entities with a bucket of tokens, from which their commands take."""

    name: ClassVar[str] = "ratelimit"
    entity_type: ClassVar[str] = RateLimitedEntity.entity_type

    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> list[ConversationMethod]:
        served: dict[str, RateLimitedEntity] = {}
        for entity in entities:
            if not isinstance(entity, RateLimitedEntity):
                raise RegistrationError(
                    f"{entity.service.full_name}: expected a RateLimitedEntity, found "
                    f"{type(entity).__name__}"
                )
            served[str(entity.service.full_name)] = entity
        return [ConversationMethod(HANDLE, partial(RateLimitServicer, served))]

    def open_handler(
        self, entity: DeployedEntity, host: RuntimeHost
    ) -> AbstractAsyncContextManager[CommandHandler]:
        output_type_urls = {name: method.output_type_url for name, method in entity.methods.items()}

        def start(entity_id: str) -> RateLimitEngine:
            return RateLimitEngine(entity, entity_id, host, output_type_urls)

        return host.region(entity, start)

    def faults(self, entity: DeployedEntity) -> Iterable[str]:
        yield from streamed_methods(entity)
        yield from keyless_methods(entity)


@hookimpl
def cloudstate_register_kinds() -> list[EntityKind]:
    """Add the kind."""
    return [RateLimitKind()]
