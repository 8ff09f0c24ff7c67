"""What the readers answer: rows of the file, checked and made into what the contract speaks of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from typing import Any as Column
from zlib import crc32

import apsw
from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import CorruptState
from cloudstate_core.store import (
    EntityKey,
    LoggedEvent,
    Snapshot,
    StoredEvent,
)
from cloudstate_sqlite import queries
from cloudstate_sqlite.ahead import MAX_PAGE_BYTES, MAX_PAGE_EVENTS, Page
from cloudstate_sqlite.checksums import checksum, event_checksum, event_head, key_checksum
from cloudstate_sqlite.ledger import Recent
from cloudstate_sqlite.schema import MAX_SEQUENCE, POSITION_BITS

__all__ = [
    "events",
    "keys",
    "last_sequence",
    "log",
    "offsets",
    "snapshot",
]

_MAX_LIMIT = 2**31

# No byte of UTF-8 is as large as this.
_BEYOND_ALL = b"\xff"

# Which column of an event is its payload.
_PAYLOAD = 2


def snapshot(
    connection: apsw.Connection, recent: Recent, key: EntityKey, page: Page
) -> Snapshot | None:
    """Return the snapshot, and fill the page with the events that follow it."""
    row = connection.execute(queries.SNAPSHOT, _names(key)).fetchone()
    if row is None:
        _read_ahead(connection, recent, key, page)
        return None
    sequence, type_url, payload, total = row
    if total != checksum(key_checksum(key), sequence, type_url.encode(), payload):
        raise _damaged(key, f"the snapshot of sequence {sequence}")
    page.after = sequence
    _read_ahead(connection, recent, key, page)
    return Snapshot(sequence, Any(type_url=type_url, value=payload))


def events(
    connection: apsw.Connection, recent: Recent, key: EntityKey, after: int, limit: int
) -> list[StoredEvent]:
    with closing(_event_rows(connection, recent, key, after, limit)) as rows:
        return _checked_events(key, after, rows)


def _event_rows(
    connection: apsw.Connection, recent: Recent, key: EntityKey, after: int, limit: int
) -> apsw.Cursor:
    query = queries.EVENTS_WITH_TAIL if key in recent.keys else queries.EVENTS
    # Nothing comes after the largest sequence, and the statement cannot count beyond it.
    bound = min(limit, _MAX_LIMIT) if after < MAX_SEQUENCE else 0
    bindings = {**_names(key), "after": min(after, MAX_SEQUENCE), "limit": bound}
    return connection.execute(query, bindings)


def _checked_events(
    key: EntityKey, after: int, rows: Iterable[tuple[Column, ...]]
) -> list[StoredEvent]:
    """Return the events that rows hold, numbered from `after` on without a gap.

    A long history is read as fast as this loop is. So what `event_checksum` does stands in it, and
    the type of many events in a row is encoded once.
    """
    found: list[StoredEvent] = []
    start, expected, url, url_bytes = key_checksum(key), after, "", b""
    for sequence, type_url, payload, unix_time_s, metadata, total in rows:
        expected += 1
        if sequence != expected:  # None if the index names an event that is not there
            raise _damaged(key, f"event {expected}")
        if type_url != url:
            url, url_bytes = type_url, type_url.encode()
        head = event_head(sequence, unix_time_s, len(url_bytes), len(payload)) + url_bytes
        if total != crc32(payload, crc32(head + metadata.encode(), start)):
            raise _damaged(key, f"event {expected}")
        content = Any()
        content.type_url, content.value = type_url, payload
        found.append(StoredEvent(sequence, content))
    return found


def _read_ahead(connection: apsw.Connection, recent: Recent, key: EntityKey, page: Page) -> None:
    rows, size_bytes = [], 0
    with closing(_event_rows(connection, recent, key, page.after, MAX_PAGE_EVENTS)) as found:
        for row in found:
            rows.append(row)
            size_bytes += len(row[_PAYLOAD] or b"")
            if size_bytes > MAX_PAGE_BYTES:
                return
    with suppress(CorruptState):  # said to whoever asks for the events
        page.events = _checked_events(key, page.after, rows)


def last_sequence(connection: apsw.Connection, recent: Recent, key: EntityKey) -> int:
    query = queries.LAST_SEQUENCE_WITH_TAIL if key in recent.keys else queries.LAST_SEQUENCE
    return connection.execute(query, _names(key)).get or 0


def log(
    connection: apsw.Connection,
    recent: Recent,
    slices: range,
    after: Mapping[int, int],
    limit: int,
) -> list[LoggedEvent]:
    # Who reads all the time finds nothing new in most slices.
    news = [number for number in slices if recent.positions[number] > after.get(number, 0)]
    if not news:
        return []
    found: list[LoggedEvent] = []
    with connection:
        tail = _tail_by_slice(connection, news)
        for number in news:
            first = after.get(number, 0)
            for row in _log_of_slice(connection, number, first, limit - len(found), tail):
                event = _logged_event(row)
                if event.position > first:
                    found.append(event)
                if len(found) == limit:
                    return found
    return found


def _tail_by_slice(connection: apsw.Connection, slices: list[int]) -> dict[int, list[int]]:
    bounds = {"first": min(slices), "last": max(slices)}
    tail: dict[int, list[int]] = {}
    for number, event_id in connection.execute(queries.TAIL_OF_LOG, bounds):
        tail.setdefault(number, []).append(event_id)
    return tail


def _log_of_slice(
    connection: apsw.Connection, number: int, after: int, limit: int, tail: dict[int, list[int]]
) -> Iterator[tuple[Column, ...]]:
    yield from connection.execute(
        queries.LOG_OF_SLICE, {"slice": number, "after": after, "limit": min(limit, _MAX_LIMIT)}
    ).fetchall()
    for event_id in tail.get(number, ()):
        yield from connection.execute(queries.LOGGED_EVENT, (event_id,)).fetchall()


def _logged_event(row: tuple[Column, ...]) -> LoggedEvent:
    at, log_at, persistence_id, entity_id, sequence, type_url, payload, metadata, now_s, total = row
    number, position = at >> POSITION_BITS, at & (1 << POSITION_BITS) - 1
    if at != log_at or entity_id is None:
        raise CorruptState(f"slice {number}: the event at position {position} is damaged")
    key = EntityKey(persistence_id.decode(), entity_id.decode())
    if total != event_checksum(key_checksum(key), sequence, now_s, type_url, payload, metadata):
        raise _damaged(key, f"event {sequence}")
    content = Any(type_url=type_url, value=payload)
    return LoggedEvent(number, position, key, sequence, content, _metadata(metadata), now_s)


def offsets(connection: apsw.Connection, consumer: bytes) -> dict[int, int]:
    return dict(connection.execute(queries.OFFSETS, (consumer,)))


def keys(
    connection: apsw.Connection, persistence_id: str, prefix: bytes, after: bytes, limit: int
) -> list[EntityKey]:
    beyond = prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else _BEYOND_ALL
    bindings = {
        "persistence_id": persistence_id.encode(),
        "after": after,
        "prefix": prefix,
        "beyond": beyond,
        "limit": min(limit, _MAX_LIMIT),
    }
    return [
        EntityKey(persistence_id, entity_id.decode())
        for (entity_id,) in connection.execute(queries.KEYS, bindings)
    ]


def _names(key: EntityKey) -> dict[str, bytes]:
    return {"persistence_id": key.persistence_id.encode(), "entity_id": key.entity_id.encode()}


def _metadata(text: str) -> dict[str, str]:
    return json.loads(text) if text else {}


def _damaged(key: EntityKey, what: str) -> CorruptState:
    return CorruptState(f"entity {key.entity_id!r}: {what} is not what was written")
