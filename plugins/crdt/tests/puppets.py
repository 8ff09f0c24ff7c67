"""A user function that says, over the bare protocol, what the commands tell it to say."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any as AnyType

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from puppet.puppet_pb2 import DESCRIPTOR, Order, Word

from cloudstate.crdt_pb2 import (
    CrdtDelete,
    CrdtDelta,
    CrdtReply,
    CrdtStateAction,
    CrdtStreamCancelledResponse,
    CrdtStreamedMessage,
    CrdtStreamIn,
    CrdtStreamOut,
    GCounterDelta,
)
from cloudstate.entity_pb2 import ClientAction, Failure, Reply, SideEffect
from cloudstate_core.anys import pack_message
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.links import ConversationMethod, Write
from cloudstate_crdt.engine import HANDLE

SERVICE = "puppet.Puppet"


class Puppet(EntityDefinition):
    """The user function.

    Attributes:
        got: What it received, by entity; a list for each stream.
        gate: Held commands are answered when it is open.
        is_raising: Whether the next message breaks it.
    """

    entity_type = "cloudstate.crdt.Crdt"

    def __init__(self) -> None:
        super().__init__(DESCRIPTOR.services_by_name["Puppet"], (DESCRIPTOR,))
        self.got: dict[str, list[list[CrdtStreamIn]]] = defaultdict(list)
        self.ended: list[str] = []
        self.gate = asyncio.Event()
        self.is_raising = False

    def validate(self) -> None:
        pass

    def method(self) -> ConversationMethod:
        return ConversationMethod(HANDLE, partial(_Strings, self))

    def received(self, entity_id: str) -> list[CrdtStreamIn]:
        """What the entity's last stream has received."""
        return self.got[entity_id][-1]

    def heard(self, entity_id: str) -> list[str]:
        """The same, in words."""
        return [_in_words(each) for each in self.received(entity_id)]


class _Strings:
    """One stream."""

    def __init__(self, puppet: Puppet, write: Write[AnyType]) -> None:
        self.ended = False
        self._puppet = puppet
        self._write = write
        self._entity_id = ""
        self._orders: dict[int, Order] = {}
        self._got: list[CrdtStreamIn] = []
        self._held: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def receive(self, message: CrdtStreamIn) -> None:
        self._got.append(message)
        if self._puppet.is_raising:
            self._puppet.is_raising = False
            raise ValueError("a puppet with cut strings")
        match message.WhichOneof("message"):
            case "init":
                self._entity_id = message.init.entity_id
                self._puppet.got[self._entity_id].append(self._got)
            case "command":
                order = Order.FromString(message.command.payload.value)
                self._orders[message.command.id] = order
                if order.held:
                    task = asyncio.create_task(self._later(message.command.id, order.answers))
                    self._held.add(task)
                else:
                    await self._answer(message.command.id, order.answers)
            case "stream_cancelled":
                command_id = message.stream_cancelled.id
                await self._answer(command_id, self._orders[command_id].when_cancelled)

    async def _later(self, command_id: int, answers: Sequence[bytes]) -> None:
        await self._puppet.gate.wait()
        await self._answer(command_id, answers)

    async def _answer(self, command_id: int, answers: Sequence[bytes]) -> None:
        async with self._turn:
            await self._say(command_id, answers)

    async def _say(self, command_id: int, answers: Sequence[bytes]) -> None:
        for data in answers:
            if data == b"end":
                self.ended = True
                return
            message = CrdtStreamOut.FromString(data)
            inner = getattr(message, str(message.WhichOneof("message")))
            if not inner.command_id:
                inner.command_id = command_id
            elif inner.command_id < 0:
                inner.command_id = 0
            await self._write(message)

    async def aclose(self) -> None:
        for task in self._held:
            task.cancel()
        self._puppet.ended.append(self._entity_id)


def _in_words(message: CrdtStreamIn) -> str:
    kind = str(message.WhichOneof("message"))
    match kind:
        case "init":
            return f"init {_delta(message.init.delta)}" if message.init.HasField("delta") else kind
        case "delta":
            return f"delta {_delta(message.delta)}"
        case "command":
            streamed = " streamed" if message.command.streamed else ""
            return f"command {message.command.id}{streamed}"
        case "stream_cancelled":
            return f"cancelled {message.stream_cancelled.id}"
        case _:
            return kind


def _delta(delta: CrdtDelta) -> str:
    inner = getattr(delta, str(delta.WhichOneof("delta")))
    return " ".join(str(inner).split()) or "empty"


# --- What a puppet says --------------------------------------------------------------


def plus(increment: int) -> CrdtDelta:
    return CrdtDelta(gcounter=GCounterDelta(increment=increment))


def update(delta: CrdtDelta | int, consistency: int = 0) -> CrdtStateAction:
    if isinstance(delta, int):
        delta = plus(delta)
    return CrdtStateAction(update=delta, write_consistency=consistency)


DELETE = CrdtStateAction(delete=CrdtDelete())


def word(text: str) -> ClientAction:
    return ClientAction(reply=Reply(payload=pack_message(Word(text=text))))


def reply(
    text: str | None = "ok",
    change: CrdtStateAction | None = None,
    *,
    streamed: bool = False,
    effects: Sequence[SideEffect] = (),
    **fields: AnyType,
) -> CrdtStreamOut:
    action = fields.pop("client_action", None if text is None else word(text))
    return CrdtStreamOut(
        reply=CrdtReply(
            client_action=action,
            state_action=change,
            streamed=streamed,
            side_effects=effects,
            **fields,
        )
    )


def streamed(text: str | None, *, ends: bool = False, **fields: AnyType) -> CrdtStreamOut:
    action = fields.pop("client_action", None if text is None else word(text))
    return CrdtStreamOut(
        streamed_message=CrdtStreamedMessage(client_action=action, end_stream=ends, **fields)
    )


def cancelled(change: CrdtStateAction | None = None, **fields: AnyType) -> CrdtStreamOut:
    response = CrdtStreamCancelledResponse(state_action=change, **fields)
    return CrdtStreamOut(stream_cancelled_response=response)


def failure(text: str, command_id: int = 0) -> CrdtStreamOut:
    return CrdtStreamOut(failure=Failure(description=text, command_id=command_id))


def failed(text: str) -> ClientAction:
    return ClientAction(failure=Failure(description=text))


def order(
    entity_id: str,
    *answers: CrdtStreamOut | bytes,
    when_cancelled: Sequence[CrdtStreamOut | bytes] = (),
    held: bool = False,
) -> Any:
    return pack_message(
        Order(
            id=entity_id,
            answers=map(_bytes, answers),
            when_cancelled=map(_bytes, when_cancelled),
            held=held,
        )
    )


def _bytes(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
