"""What a store finds again: entities by their keys, and what is kept of them.

Part of the store contract, `cloudstate_core.store`, where everybody gets these names from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from google.protobuf.any_pb2 import Any

from cloudstate_core.value import value

__all__ = [
    "SLICES",
    "EntityKey",
    "LoggedEvent",
    "OutboxMessage",
    "ParkedMessage",
    "RememberedReply",
    "Snapshot",
    "StoredEvent",
    "StoredValue",
    "slice_of",
]

#: How many slices there are. Fixed for ever: stored positions and epochs are per slice.
SLICES = 1024


@value
class EntityKey:
    """One entity, across the deployment.

    Attributes:
        persistence_id: Namespace, from the entity's declaration.
        entity_id: Any Unicode text that UTF-8 can encode, not empty.
    """

    persistence_id: str
    entity_id: str


def slice_of(key: EntityKey) -> int:
    """Return the slice of a key: the same on every machine, in every release."""
    name = key.persistence_id.encode() + b"\x00" + key.entity_id.encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") % SLICES


@value
class StoredEvent:
    """One event of one entity, exactly as it was appended."""

    sequence: int
    payload: Any


@value
class LoggedEvent:
    """One event as a reader of the log sees it.

    Attributes:
        slice: The slice.
        position: Gapless within the slice.
        key: The entity.
        sequence: Gapless within the entity.
        payload: The event.
        metadata: What the writer added.
        unix_time_s: When it was written, by the writer's clock.
    """

    slice: int
    position: int
    key: EntityKey
    sequence: int
    payload: Any
    metadata: Mapping[str, str]
    unix_time_s: float


@value
class Snapshot:
    """The newest snapshot of an entity: `state` covers the events up to `sequence`."""

    sequence: int
    state: Any


@value
class StoredValue:
    """The value of an entity.

    Attributes:
        revision: How often it was written, amended or deleted.
        value: What was put last; None if it was never written or is deleted.
        amendments: What was added since then, oldest first.
    """

    revision: int
    value: Any | None
    amendments: Sequence[Any] = ()


@value
class RememberedReply:
    """What `RememberReply` kept."""

    digest: bytes
    reply: bytes


@value
class OutboxMessage:
    """A message that waits in the outbox.

    `number` is larger than that of every message of the same slice that was committed before, and
    than that of every message that was committed before its own commit began.
    """

    number: int
    sender: EntityKey
    message_id: str
    destination: str
    payload: Any
    metadata: Mapping[str, str]


@value
class ParkedMessage:
    """A message that nobody tries to deliver any more.

    Attributes:
        message: The message, with its number.
        reason: Why.
        unix_time_s: Since when, by the store's clock.
    """

    message: OutboxMessage
    reason: str
    unix_time_s: float
