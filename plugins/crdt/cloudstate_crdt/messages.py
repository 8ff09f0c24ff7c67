"""What a user function is told of an entity, in the protocol's words."""

from __future__ import annotations

from cloudstate.crdt_pb2 import CrdtStreamIn
from cloudstate_crdt.instructions import CommandArrived
from cloudstate_crdt.translation.deltas import whole
from cloudstate_crdt.translation.translation import View

__all__ = ["command_message", "deletion_message", "init_message", "stream_cancelled_message"]


def init_message(service_name: str, entity_id: str, view: View | None) -> CrdtStreamIn:
    """Return the first message: the whole state as a delta from nothing, unset if there is none.

    Raises:
        TranslationFault: The protocol has no words for the state.
    """
    message = CrdtStreamIn()
    message.init.service_name = service_name
    message.init.entity_id = entity_id
    if view is not None:
        message.init.delta.CopyFrom(whole(view))
    return message


def command_message(entity_id: str, arrived: CommandArrived) -> CrdtStreamIn:
    """Return a command."""
    message = CrdtStreamIn()
    command = message.command
    command.entity_id = entity_id
    command.id = arrived.command_id
    command.name = arrived.name
    command.payload.CopyFrom(arrived.payload)
    if arrived.streamed:
        command.streamed = True
    if arrived.metadata:
        command.metadata.CopyFrom(arrived.metadata.to_wire())
    return message


def stream_cancelled_message(entity_id: str, command_id: int) -> CrdtStreamIn:
    """Return that the client of a stream takes nothing any more."""
    message = CrdtStreamIn()
    message.stream_cancelled.entity_id = entity_id
    message.stream_cancelled.id = command_id
    return message


def deletion_message() -> CrdtStreamIn:
    """Return that the entity was deleted elsewhere."""
    message = CrdtStreamIn()
    message.delete.SetInParent()
    return message
