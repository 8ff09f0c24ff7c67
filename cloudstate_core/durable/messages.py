"""Durable messages: how a side effect becomes one, and how one becomes a request again. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from cloudstate.entity_pb2 import SideEffect
from cloudstate_core.anys import pack_message
from cloudstate_core.errors import CorruptState
from cloudstate_core.handler import Conditions, Hop, Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.store import EnqueueMessage, EntityKey, OutboxMessage
from cloudstate_core.value import value

__all__ = [
    "SIDE_EFFECT",
    "Lane",
    "Message",
    "enqueued",
    "lane_of",
    "message_of",
    "request_of",
    "sender_of",
]

#: How a request came that a message brings.
SIDE_EFFECT = "side effect"

_FROM_SERVICE, _FROM_COMMAND, _TO_ENTITY, _HOPS = "service", "command", "entity", "hops"


@value
class Lane:
    """What keeps its order: all messages from one entity to one entity.

    Attributes:
        sender: Who sends them.
        service: For which service they are.
        entity_id: For which of its entities; empty if the method has no entity key.
    """

    sender: EntityKey
    service: str
    entity_id: str


@value
class Message:
    """A message that is to be delivered.

    Attributes:
        id: Its name, unique.
        lane: Where it waits.
        destination: Service, "/" and command.
        payload: The side effect, packed.
        metadata: What the sender's side added.
    """

    id: str
    lane: Lane
    destination: str
    payload: Any
    metadata: Mapping[str, str]


def message_of(sender: EntityKey, stored: EnqueueMessage | OutboxMessage) -> Message:
    """Return the message that is stored in an outbox."""
    return Message(
        stored.message_id,
        lane_of(sender, stored),
        stored.destination,
        stored.payload,
        stored.metadata,
    )


def enqueued(
    request: Request, effect: SideEffect, entity_id: str, message_id: str
) -> EnqueueMessage:
    """Return what puts a side effect into the outbox.

    Args:
        request: The command that asks for it.
        effect: The side effect.
        entity_id: For which entity it is; empty if its method has no entity key.
        message_id: A new name.
    """
    hops = 0 if request.conditions is None else request.conditions.message_hops
    return EnqueueMessage(
        message_id,
        f"{effect.service_name}/{effect.command_name}",
        pack_message(effect),
        {
            _FROM_SERVICE: request.service,
            _FROM_COMMAND: request.command,
            _TO_ENTITY: entity_id,
            _HOPS: str(hops + 1),
        },
    )


def lane_of(sender: EntityKey, message: EnqueueMessage | OutboxMessage) -> Lane:
    """Return where a message waits for those before it."""
    service = message.destination.partition("/")[0]
    return Lane(sender, service, message.metadata.get(_TO_ENTITY, ""))


def sender_of(message: Message) -> Hop:
    """Return who has sent a message."""
    sent = message.metadata
    return Hop(sent.get(_FROM_SERVICE, ""), sent.get(_FROM_COMMAND, ""), SIDE_EFFECT)


def request_of(message: Message) -> Request:
    """Return the request that a message brings.

    Raises:
        CorruptState: It holds no side effect.
    """
    effect = SideEffect()
    try:
        is_effect = message.payload.Unpack(effect)
    except DecodeError:
        is_effect = False
    hops = message.metadata.get(_HOPS, "")
    if not is_effect or not hops.isdecimal():
        raise CorruptState(
            f"message {message.id!r}: expected a side effect, found {message.payload.type_url!r}"
        )
    return Request(
        service=effect.service_name,
        command=effect.command_name,
        payload=effect.payload,
        metadata=Metadata.from_wire(effect.metadata)
        if effect.HasField("metadata")
        else EMPTY_METADATA,
        hops=(sender_of(message),),
        conditions=Conditions(message_id=message.id, message_hops=int(hops)),
    )
