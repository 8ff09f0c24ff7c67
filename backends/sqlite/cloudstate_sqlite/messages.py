"""Messages in the file, from when they are sent: waiting, parked, done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any as Column

import apsw
from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import CorruptState
from cloudstate_core.store import EntityKey, OutboxMessage, ParkedMessage
from cloudstate_sqlite.checksums import checksum, key_checksum

__all__ = ["acknowledge", "outbox", "park", "parked", "unpark"]

_MAX_LIMIT = 2**31

_COLUMNS = """
    o.number, e.persistence_id, e.entity_id, o.message_id, o.destination, o.type_url,
    o.payload, o.metadata, o.checksum"""

_OUTBOX = f"""
    SELECT {_COLUMNS} FROM outbox AS o JOIN entities AS e USING (entity)
    WHERE o.number > :after AND o.slice BETWEEN :first AND :last
        AND (o.slice - :first) % :step = 0 AND o.parked_unix_s IS NULL
    ORDER BY o.number LIMIT :limit"""  # noqa: S608  # made of constants

_PARKED = f"""
    SELECT {_COLUMNS}, o.parked_reason, o.parked_unix_s
    FROM outbox AS o JOIN entities AS e USING (entity)
    WHERE o.parked_unix_s IS NOT NULL AND o.number > :after
    ORDER BY o.number LIMIT :limit"""  # noqa: S608  # as above

_FORGET_SENT = "DELETE FROM outbox WHERE message_id = ?"
_FORGET_RECEIVED = """
    DELETE FROM received WHERE message_id = ? OR (message_id >= ? AND message_id < ?)"""

# What ids that are derived from another one begin with, after it, and what comes after that.
_DOT, _AFTER_DOT = b".", b"/"

_PARK = """
    UPDATE outbox SET parked_unix_s = ?, parked_reason = ?
    WHERE message_id = ? AND parked_unix_s IS NULL"""
_UNPARK = """
    UPDATE outbox SET parked_unix_s = NULL, parked_reason = NULL
    WHERE message_id = ? AND parked_unix_s IS NOT NULL"""


def acknowledge(connection: apsw.Connection, message_ids: Iterable[bytes]) -> None:
    """Remove messages, and the notes that they and those derived from them were received."""
    for name in message_ids:
        connection.execute(_FORGET_SENT, (name,))
        connection.execute(_FORGET_RECEIVED, (name, name + _DOT, name + _AFTER_DOT))


def park(connection: apsw.Connection, message_id: bytes, reason: str, unix_time_s: float) -> bool:
    """Park a message; return whether it waited."""
    connection.execute(_PARK, (unix_time_s, reason, message_id))
    return connection.changes() > 0


def unpark(connection: apsw.Connection, message_ids: Sequence[str]) -> list[str]:
    """Let messages wait again; return which were parked."""
    found = []
    for message_id in message_ids:
        connection.execute(_UNPARK, (message_id.encode(),))
        if connection.changes():
            found.append(message_id)
    return found


def outbox(
    connection: apsw.Connection, slices: range, after: int, limit: int
) -> list[OutboxMessage]:
    """Return messages that wait."""
    if not slices:
        return []
    bindings = {
        "first": min(slices),
        "last": max(slices),
        "step": abs(slices.step),
        "after": after,
        "limit": min(limit, _MAX_LIMIT),
    }
    return [_message(row) for row in connection.execute(_OUTBOX, bindings)]


def parked(connection: apsw.Connection, after: int, limit: int) -> list[ParkedMessage]:
    """Return messages that are parked."""
    bindings = {"after": after, "limit": min(limit, _MAX_LIMIT)}
    return [
        ParkedMessage(_message(columns), reason, unix_time_s)
        for *columns, reason, unix_time_s in connection.execute(_PARKED, bindings)
    ]


def _message(row: Sequence[Column]) -> OutboxMessage:
    number, persistence_id, entity_id, name, destination, type_url, payload, metadata, total = row
    key = EntityKey(persistence_id.decode(), entity_id.decode())
    parts = (name, destination, type_url.encode(), payload, metadata.encode())
    if total != checksum(key_checksum(key), number, *parts):
        raise CorruptState(
            f"entity {key.entity_id!r}: message {number} of the outbox is not what was written"
        )
    return OutboxMessage(
        number,
        key,
        name.decode(),
        destination.decode(),
        Any(type_url=type_url, value=payload),
        json.loads(metadata) if metadata else {},
    )
