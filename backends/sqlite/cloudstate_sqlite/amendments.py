"""Amendments in the file: what the writer adds and removes, and what a reader finds.

They stand in a table of their own, numbered from 1 since their value was put, so that the row of
the value, which may be large, is not touched. The revision of a value is that of its row and the
number of its last amendment together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any as Column

import apsw
from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import CorruptState
from cloudstate_core.store import EntityKey, StoredValue
from cloudstate_core.stores.copies import Payload
from cloudstate_sqlite import queries
from cloudstate_sqlite.checksums import amendment_checksum, checksum, key_checksum
from cloudstate_sqlite.rows import RowInsert, SqlValue
from cloudstate_sqlite.schema import MAX_SEQUENCE, SEQUENCE_BITS

__all__ = ["AmendmentRows", "find_value"]

_INSERT = RowInsert("amendments", ("at", "type_url", "payload", "checksum"))

_REMOVE = "DELETE FROM amendments WHERE at BETWEEN ? AND ?"


@dataclass(slots=True)
class AmendmentRows:
    """What a transaction adds to the amendments, and of which entities it removes them."""

    _values: dict[int, list[SqlValue]] = field(default_factory=dict)
    _ended: set[int] = field(default_factory=set)

    def add(
        self, entity: int, key_total: int, number: int, revision: int, amendment: Payload
    ) -> None:
        """Add an amendment.

        Args:
            entity: The number of the entity.
            key_total: The checksum of its key.
            number: How many amendments of the value there are with this one.
            revision: What it makes the revision of the value.
            amendment: The amendment.
        """
        type_url, payload = amendment
        total = amendment_checksum(key_total, number, revision, type_url, payload)
        values = self._values.setdefault(entity, [])
        values += (entity << SEQUENCE_BITS | number, type_url, payload, total)

    def end(self, entity: int) -> None:
        """Remove those that an entity has in the file, and those that were to be added."""
        self._values.pop(entity, None)
        self._ended.add(entity)

    def write(self, connection: apsw.Connection) -> None:
        """Write the rows."""
        if self._ended:
            connection.executemany(_REMOVE, (_range_of(entity) for entity in self._ended))
        if self._values:
            _INSERT.run(connection, list(chain.from_iterable(self._values.values())))


def _range_of(entity: int) -> tuple[int, int]:
    first = entity << SEQUENCE_BITS
    return first, first + MAX_SEQUENCE


def find_value(connection: apsw.Connection, key: EntityKey) -> StoredValue:
    """Return the value of an entity with its amendments."""
    names = {"persistence_id": key.persistence_id.encode(), "entity_id": key.entity_id.encode()}
    rows: list[tuple[Column, ...]] = connection.execute(queries.VALUE, names).fetchall()
    if not rows:
        return StoredValue(0, None)
    number, revision, type_url, payload, total = rows[0]
    if number:
        raise _damaged(key, "the value")
    start = key_checksum(key)
    parts = () if payload is None else (type_url.encode(), payload)
    if total != checksum(start, revision, *parts):
        raise _damaged(key, f"the value of revision {revision}")
    if len(rows) == 1:
        return StoredValue(revision, Any(type_url=type_url, value=payload) if parts else None)
    if not parts:
        raise _damaged(key, f"the deletion of revision {revision}")
    amendments = _amendments(key, start, revision, rows[1:])
    return StoredValue(
        revision + len(amendments), Any(type_url=type_url, value=payload), amendments
    )


def _amendments(
    key: EntityKey, start: int, revision: int, rows: Iterable[tuple[Column, ...]]
) -> tuple[Any, ...]:
    found: list[Any] = []
    for expected, (number, _, type_url, payload, total) in enumerate(rows, 1):
        if number != expected or total != amendment_checksum(
            start, number, revision + number, type_url, payload
        ):
            raise _damaged(key, f"the amendment to revision {revision + expected}")
        found.append(Any(type_url=type_url, value=payload))
    return tuple(found)


def _damaged(key: EntityKey, what: str) -> CorruptState:
    return CorruptState(f"entity {key.entity_id!r}: {what} is not what was written")
