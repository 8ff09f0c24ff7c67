"""Between what nodes say to each other and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as AnyMessage

from cloudstate_core.store import MAX_ENTITY_ID_BYTES
from cloudstate_crdt.errors import MalformedState
from cloudstate_crdt.registry import Registry
from cloudstate_crdt.replicas import DELETED, Change, Deleted
from cloudstate_crdt.replication_pb2 import Deletion, EntityChange, Message

__all__ = ["change_from", "change_to", "entity_id_of", "in_batches", "message_from"]

MessageT = TypeVar("MessageT", bound=AnyMessage)


def message_from(data: bytes) -> Message:
    """Read a message.

    Raises:
        MalformedState: It is none.
    """
    try:
        message: Message = Message.FromString(data)
    except DecodeError as error:
        raise MalformedState(f"expected a message, found {len(data)} bytes of none") from error
    if message.WhichOneof("body") is None:
        raise MalformedState("expected a message that says something, found an empty one")
    return message


def change_to(
    entity_id: str,
    change: Change,
    registry: Registry,
    *,
    sequences: Sequence[int] = (),
    answer: bool = False,
) -> EntityChange:
    written = EntityChange(entity_id=entity_id, sequences=sequences, answer=answer)
    if isinstance(change, Deleted):
        written.deletion.CopyFrom(Deletion())
    else:
        written.state = registry.write(change)
    return written


def change_from(written: EntityChange, registry: Registry, max_state_bytes: int) -> Change:
    """Read a change.

    Raises:
        StateRefused: No replica writes it.
    """
    match written.WhichOneof("change"):
        case "deletion":
            return DELETED
        case "state":
            return registry.read(written.state, max_state_bytes=max_state_bytes)
        case _:
            raise MalformedState("expected a state or a deletion, found neither")


def entity_id_of(written: EntityChange) -> str:
    """Return the id.

    Raises:
        MalformedState: No entity has it.
    """
    entity_id: str = written.entity_id
    if not 0 < len(entity_id.encode()) <= MAX_ENTITY_ID_BYTES:
        raise MalformedState(
            f"expected an entity id of 1 to {MAX_ENTITY_ID_BYTES} bytes,"
            f" found {len(entity_id.encode())}"
        )
    return entity_id


def in_batches(messages: Iterable[MessageT], max_bytes: int) -> Iterator[list[MessageT]]:
    """Put messages together as long as they are not more than `max_bytes`; one always fits."""
    batch: list[MessageT] = []
    taken = 0
    for message in messages:
        # Around each there are a tag and a length.
        size = message.ByteSize() + 6
        if batch and taken + size > max_bytes:
            yield batch
            batch, taken = [], 0
        batch.append(message)
        taken += size
    if batch:
        yield batch
