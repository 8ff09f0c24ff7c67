"""The tables of the file, and the numbers that rows are found by.

* `events` is the log: a row is only ever added at its end. `id` counts all events of the file. Two
  indexes lead into it, by entity and by slice. They are not kept up with every commit, which would
  touch a page of the file for each entity and each slice that wrote; instead all events with an id
  above the counter `indexed_to`, the *tail*, are entered at once, a few thousand at a time. Whoever
  looks for an event looks into the index and into the tail.
* `at` names an event by its entity and its sequence; `log_at` by its slice and its position.
* `entities` numbers the entities, so that keys are stored once. A number is never used twice.
* `slices` holds the epoch of each slice, and a position that is used although its event may be
  gone. What is deleted frees no entity number and no position.
* `amendments` are found by their entity and their number, counted since the value was put, as `at`.
* `replies` are numbered within their entity, `nth`, so that those which are too many are found.
* `received` is in the order of message ids, since whoever acknowledges a message forgets the notes
  of all ids that begin with its own. It is no longer than the outbox for long.
* Names are stored as blobs: their order is that of their bytes, and no character is special.
* `checksum` covers what a row holds and whose it is, so that a row that got into another's place
  is found out as well.
"""

# Statements are put together of constants alone; values are always bound.
# ruff: noqa: S608

from __future__ import annotations

from cloudstate_core.store import SLICES

__all__ = [
    "APPLICATION_ID",
    "CREATE",
    "INDEXED_TO",
    "LAST_ENTITY",
    "LAST_MESSAGE",
    "MAX_ENTITIES",
    "MAX_SEQUENCE",
    "MIGRATIONS",
    "POSITION_BITS",
    "RECOVERIES",
    "SCHEMA_VERSION",
    "SEQUENCE_BITS",
]

#: In the header of the file: it belongs to Cloudstate.
APPLICATION_ID = int.from_bytes(b"Clst", "big")

#: In the header of the file. A file of another version is left alone, unless it can be migrated.
SCHEMA_VERSION = 4

#: `at` is the entity's number, shifted by this, and the sequence.
SEQUENCE_BITS = 32
MAX_SEQUENCE = 2**SEQUENCE_BITS - 1
MAX_ENTITIES = 2 ** (63 - SEQUENCE_BITS) - 1

#: `log_at` is the slice, shifted by this, and the position.
POSITION_BITS = 44

#: Rows of the table `counters`.
INDEXED_TO = "indexed_to"
LAST_ENTITY = "last_entity"
LAST_MESSAGE = "last_message"
RECOVERIES = "recoveries"

_AMENDMENTS = """
CREATE TABLE amendments (
    at INTEGER PRIMARY KEY, type_url TEXT NOT NULL, payload BLOB NOT NULL,
    checksum INTEGER NOT NULL) STRICT;
"""

#: For each earlier version of which files are taken, what makes the next one of it.
MIGRATIONS = {3: _AMENDMENTS}

CREATE = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES
    ('{INDEXED_TO}', 0), ('{LAST_ENTITY}', 0), ('{LAST_MESSAGE}', 0), ('{RECOVERIES}', 0);

CREATE TABLE slices (slice INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, position INTEGER NOT NULL)
    STRICT;
WITH RECURSIVE numbers(slice) AS (SELECT 0 UNION ALL SELECT slice + 1 FROM numbers LIMIT {SLICES})
    INSERT INTO slices SELECT slice, 0, 0 FROM numbers;

CREATE TABLE entities (
    entity INTEGER PRIMARY KEY, persistence_id BLOB NOT NULL, entity_id BLOB NOT NULL,
    UNIQUE (persistence_id, entity_id)) STRICT;

CREATE TABLE events (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, log_at INTEGER NOT NULL, unix_time_s REAL NOT NULL,
    type_url TEXT NOT NULL, payload BLOB NOT NULL, metadata TEXT NOT NULL,
    checksum INTEGER NOT NULL) STRICT;
CREATE TABLE events_by_entity (at INTEGER PRIMARY KEY, id INTEGER NOT NULL) STRICT;
CREATE TABLE events_by_slice (log_at INTEGER PRIMARY KEY, id INTEGER NOT NULL) STRICT;

CREATE TABLE snapshots (
    entity INTEGER PRIMARY KEY, sequence INTEGER NOT NULL,
    type_url TEXT NOT NULL, payload BLOB NOT NULL, checksum INTEGER NOT NULL) STRICT;

CREATE TABLE entity_values (
    entity INTEGER PRIMARY KEY, revision INTEGER NOT NULL,
    type_url TEXT, payload BLOB, checksum INTEGER NOT NULL) STRICT;

{_AMENDMENTS}
CREATE TABLE replies (
    id INTEGER PRIMARY KEY, entity INTEGER NOT NULL, command_key BLOB NOT NULL,
    nth INTEGER NOT NULL, until_unix_s REAL NOT NULL, digest BLOB NOT NULL, reply BLOB NOT NULL,
    checksum INTEGER NOT NULL, UNIQUE (entity, command_key)) STRICT;
CREATE INDEX replies_by_number ON replies (entity, nth);
CREATE INDEX replies_by_age ON replies (until_unix_s);

CREATE TABLE received (message_id BLOB, entity INTEGER, PRIMARY KEY (message_id, entity))
    STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    number INTEGER PRIMARY KEY, message_id BLOB NOT NULL UNIQUE, entity INTEGER NOT NULL,
    slice INTEGER NOT NULL, destination BLOB NOT NULL, type_url TEXT NOT NULL,
    payload BLOB NOT NULL, metadata TEXT NOT NULL, checksum INTEGER NOT NULL,
    parked_unix_s REAL, parked_reason TEXT) STRICT;
CREATE INDEX outbox_by_entity ON outbox (entity);

CREATE TABLE offsets (consumer BLOB, slice INTEGER, position INTEGER NOT NULL,
    PRIMARY KEY (consumer, slice)) STRICT, WITHOUT ROWID;
"""
