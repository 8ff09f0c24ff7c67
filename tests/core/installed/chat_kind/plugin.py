"""Register the chat kind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from chat_kind.entity import TALK, Chat, ChatEntity
from cloudstate_core.caller import Caller
from cloudstate_core.entity import DeployedEntity, EntityDefinition
from cloudstate_core.handler import CommandHandler
from cloudstate_core.hookspecs import hookimpl
from cloudstate_core.kind import EntityKind, RuntimeHost
from cloudstate_core.links import ConversationMethod


class ChatKind(EntityKind):
    """Chats; remembers which entities it was asked to serve."""

    name: ClassVar[str] = "chat"
    entity_type: ClassVar[str] = ChatEntity.entity_type

    def __init__(self) -> None:
        self.asked: list[tuple[EntityDefinition, ...]] = []

    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> list[ConversationMethod]:
        self.asked.append(tuple(entities))
        return [ConversationMethod(TALK, Chat)]  # type: ignore[arg-type]

    def open_handler(
        self, entity: DeployedEntity, host: RuntimeHost
    ) -> AbstractAsyncContextManager[CommandHandler]:
        raise NotImplementedError("chats are served by hosts only")


@hookimpl
def cloudstate_register_kinds() -> list[EntityKind]:
    return [ChatKind()]
