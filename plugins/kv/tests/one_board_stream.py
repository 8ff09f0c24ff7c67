"""The user function's end of one stream, driven by a test in the runtime's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any as AnyType

from google.protobuf.any_pb2 import Any
from pinboard.pinboard_pb2 import _ARCHIVE, Note, Texts

from cloudstate.entity_pb2 import Command, Failure
from cloudstate.value_entity_pb2 import (
    ValueEntityInit,
    ValueEntityInitState,
    ValueEntityReply,
    ValueEntityStreamIn,
    ValueEntityStreamOut,
)
from cloudstate_core.anys import decode, encode
from cloudstate_core.caller import LateCaller
from cloudstate_kv.entity import ValueEntity
from cloudstate_kv.plugin import ValueKind


def keeping(
    handler: Callable[..., object], state_type: AnyType = Note, **options: AnyType
) -> ValueEntity:
    """Return an archive with this handler for Keep."""
    entity = ValueEntity(_ARCHIVE, state_type=state_type)
    entity.command_handler("Keep", **options)(handler)
    entity.command_handler("Look")(lambda: None)
    return entity


class Stream:
    """The runtime's end of a stream to one entity, in the hands of a test."""

    def __init__(self, *entities: ValueEntity) -> None:
        self.sent: list[ValueEntityStreamOut] = []
        (method,) = ValueKind().protocol_methods(entities, LateCaller())
        self.conversation = method.open(self._write)
        self._command_id = 0

    async def _write(self, message: AnyType) -> None:
        self.sent.append(message)

    async def init(self, value: Any | None = None, service: str = "pinboard.Archive") -> Stream:
        state = ValueEntityInitState(value=value)
        start = ValueEntityInit(service_name=service, entity_id="e", state=state)
        await self.conversation.receive(ValueEntityStreamIn(init=start))
        return self

    async def command(self, *texts: str, **fields: AnyType) -> None:
        self._command_id += 1
        payload = encode(Texts(id="e", texts=texts))
        plain = {"entity_id": "e", "id": self._command_id, "name": "Keep", "payload": payload}
        command = Command(**{**plain, **fields})
        await self.conversation.receive(ValueEntityStreamIn(command=command))

    async def ask(self, *texts: str, **fields: AnyType) -> ValueEntityReply:
        """Send Keep, and return the reply to it."""
        await self.command(*texts, **fields)
        message = self.sent.pop()
        assert not self.sent
        assert message.WhichOneof("message") == "reply", message
        assert not self.conversation.ended
        return message.reply

    async def text(self, *texts: str) -> AnyType:
        """Send Keep, and return what it is answered with."""
        return decode((await self.ask(*texts)).client_action.reply.payload)

    def failure(self) -> Failure:
        """Return the last words on the stream, which were those of a failure."""
        (message,) = self.sent
        assert message.WhichOneof("message") == "failure", message
        assert self.conversation.ended
        return message.failure
