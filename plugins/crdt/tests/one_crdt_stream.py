"""One CRDT entity's stream, with its user function's end and no runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any as AnyType

from google.protobuf.message import Message
from puppet.puppet_pb2 import DESCRIPTOR, Order, Word

from cloudstate.crdt_pb2 import CrdtDelta, CrdtInit, CrdtReply, CrdtStreamIn, CrdtStreamOut
from cloudstate.entity_pb2 import ClientAction, Command, StreamCancelled
from cloudstate_core.anys import decode, encode
from cloudstate_core.caller import LateCaller
from cloudstate_crdt.data import GCounter
from cloudstate_crdt.entity import CrdtEntity
from cloudstate_crdt.servicer import CrdtServicer

__all__ = ["SERVICE", "Stream", "doing", "text_of"]

PUPPET = DESCRIPTOR.services_by_name["Puppet"]
SERVICE = "puppet.Puppet"


def doing(
    do: Callable[..., AnyType] | None = None,
    watch: Callable[..., AnyType] | None = None,
    default: AnyType = GCounter,
    **options: AnyType,
) -> CrdtEntity:
    """Declare an entity with these handlers."""
    entity = CrdtEntity(PUPPET, default=default)

    def silent(_: Order) -> Word:
        return Word()

    # `bind` reads annotations where the function stands, and these are in reach there.
    silent.__annotations__ = {"_": Order}
    entity.command_handler("Do", **options)(do or silent)
    entity.command_handler("Watch", **options)(watch or silent)
    entity.validate()
    return entity


def text_of(action: ClientAction) -> str:
    """What a client gets, in words."""
    match action.WhichOneof("action"):
        case "reply":
            word = decode(action.reply.payload)
            assert isinstance(word, Word)
            return word.text
        case "failure":
            return f"!{action.failure.description}"
        case "forward":
            return f"> {action.forward.service_name}.{action.forward.command_name}"
        case _:
            return "-"


class Stream:
    """The stream.

    Attributes:
        out: What the user function has said since it was looked at.
    """

    def __init__(self, entity: CrdtEntity) -> None:
        self.out: list[CrdtStreamOut] = []
        self.servicer = CrdtServicer({SERVICE: entity}, LateCaller(), self._write)

    async def _write(self, message: Message) -> None:
        assert isinstance(message, CrdtStreamOut)
        self.out.append(message)

    async def init(self, delta: CrdtDelta | None = None) -> Stream:
        start = CrdtInit(service_name=SERVICE, entity_id="e", delta=delta)
        await self.say(CrdtStreamIn(init=start))
        return self

    async def say(self, message: CrdtStreamIn) -> list[CrdtStreamOut]:
        """Send a message and return all that it leads to."""
        await self.servicer.receive(message)
        out, self.out = self.out, []
        return out

    async def command(
        self, id_: int = 1, name: str = "Do", count: int = 0, **fields: AnyType
    ) -> list[CrdtStreamOut]:
        """Send a command with a count, and return all that it leads to."""
        payload = encode(Order(id="e", answers=[b""] * count))
        fields = {"entity_id": "e", "id": id_, "name": name, "payload": payload, **fields}
        return await self.say(CrdtStreamIn(command=Command(**fields)))

    async def ask(self, id_: int = 1, count: int = 0, **fields: AnyType) -> CrdtReply:
        """Send a command and return its answer, which must be all that it leads to."""
        (message,) = await self.command(id_, count=count, **fields)
        assert message.HasField("reply"), message
        return message.reply

    async def watch(self, id_: int = 1, count: int = 0, **fields: AnyType) -> CrdtReply:
        """Send a streamed command and return its answer."""
        return await self.ask(id_, count, name="Watch", streamed=True, **fields)

    async def leave(self, id_: int) -> list[CrdtStreamOut]:
        cancelled = StreamCancelled(entity_id="e", id=id_)
        return await self.say(CrdtStreamIn(stream_cancelled=cancelled))

    async def change(self, delta: CrdtDelta) -> list[CrdtStreamOut]:
        """Send a change from elsewhere."""
        return await self.say(CrdtStreamIn(delta=delta))
