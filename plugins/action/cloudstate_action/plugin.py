"""Register the action kind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from cloudstate_action.engine import ActionHandler
from cloudstate_action.entity import Action
from cloudstate_action.servicer import ActionServicer
from cloudstate_core.caller import Caller
from cloudstate_core.entity import DeployedEntity, EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.handler import CommandHandler
from cloudstate_core.hookspecs import hookimpl
from cloudstate_core.kind import EntityKind, RuntimeHost
from cloudstate_core.links import CallMethod

__all__ = ["ActionKind", "cloudstate_register_kinds"]


class ActionKind(EntityKind):
    """Functions without state."""

    name: ClassVar[str] = "action"
    entity_type: ClassVar[str] = Action.entity_type

    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> list[CallMethod]:
        served: dict[str, Action] = {}
        for entity in entities:
            if not isinstance(entity, Action):
                raise RegistrationError(
                    f"{entity.service.full_name}: expected an Action, found {type(entity).__name__}"
                )
            served[str(entity.service.full_name)] = entity
        return ActionServicer(served, caller).methods()

    def open_handler(
        self, entity: DeployedEntity, host: RuntimeHost
    ) -> AbstractAsyncContextManager[CommandHandler]:
        return host.stateless(entity, ActionHandler(entity, host.link))


@hookimpl
def cloudstate_register_kinds() -> list[EntityKind]:
    """Add the kind."""
    return [ActionKind()]
