"""The statements of the writer."""

# Statements are put together of constants alone; values are always bound.
# ruff: noqa: S608

from __future__ import annotations

from cloudstate_sqlite.rows import Lookup, RowInsert
from cloudstate_sqlite.schema import INDEXED_TO, MAX_SEQUENCE, POSITION_BITS, SEQUENCE_BITS

__all__ = [
    "ERASE",
    "FIND_HEADS",
    "FIND_RECEIVED",
    "FIND_WAITING",
    "INDEX",
    "INSERT_ENTITIES",
    "INSERT_EVENTS",
    "INSERT_MESSAGES",
    "INSERT_RECEIVED",
    "LAST_POSITIONS",
    "PUT_SNAPSHOTS",
    "PUT_VALUES",
    "TAIL",
]

INSERT_ENTITIES = RowInsert("entities", ("entity", "persistence_id", "entity_id"))

INSERT_EVENTS = RowInsert(
    "events",
    ("id", "at", "log_at", "unix_time_s", "type_url", "payload", "metadata", "checksum"),
)

PUT_SNAPSHOTS = RowInsert(
    "snapshots",
    ("entity", "sequence", "type_url", "payload", "checksum"),
    """(entity) DO UPDATE SET
        sequence = excluded.sequence, type_url = excluded.type_url, payload = excluded.payload,
        checksum = excluded.checksum
        WHERE excluded.sequence >= snapshots.sequence""",
)

PUT_VALUES = RowInsert(
    "entity_values",
    ("entity", "revision", "type_url", "payload", "checksum"),
    """(entity) DO UPDATE SET
        revision = excluded.revision, type_url = excluded.type_url, payload = excluded.payload,
        checksum = excluded.checksum""",
)

INSERT_RECEIVED = RowInsert("received", ("message_id", "entity"))

INSERT_MESSAGES = RowInsert(
    "outbox",
    (
        "number",
        "message_id",
        "entity",
        "slice",
        "destination",
        "type_url",
        "payload",
        "metadata",
        "checksum",
    ),
)

# What is sought: the number that the answer is to bear, the key, and the id after which the tail is
# to be searched.
FIND_HEADS = Lookup(
    4,
    f"""SELECT sought.column1, entities.entity,
        (SELECT at FROM events_by_entity
            WHERE at BETWEEN entities.entity << {SEQUENCE_BITS}
                AND (entities.entity << {SEQUENCE_BITS}) + {MAX_SEQUENCE}
            ORDER BY at DESC LIMIT 1),
        (SELECT max(at) FROM events
            WHERE id > sought.column4 AND at BETWEEN entities.entity << {SEQUENCE_BITS}
                AND (entities.entity << {SEQUENCE_BITS}) + {MAX_SEQUENCE}),
        entity_values.revision, entity_values.type_url IS NOT NULL,
        (SELECT max(at) FROM amendments
            WHERE at BETWEEN entities.entity << {SEQUENCE_BITS}
                AND (entities.entity << {SEQUENCE_BITS}) + {MAX_SEQUENCE}),
        (SELECT max(nth) FROM replies WHERE replies.entity = entities.entity)
    FROM {{sought}} AS sought JOIN entities
        ON entities.persistence_id = sought.column2 AND entities.entity_id = sought.column3
        LEFT JOIN entity_values USING (entity)""",
)

FIND_RECEIVED = Lookup(
    2,
    """SELECT received.message_id, received.entity FROM {sought} AS sought JOIN received
        ON received.message_id = sought.column1 AND received.entity = sought.column2""",
)

FIND_WAITING = Lookup(
    1,
    """SELECT outbox.message_id FROM {sought} AS sought JOIN outbox
        ON outbox.message_id = sought.column1""",
)

#: The tail, in order of position.
TAIL = "SELECT id, log_at FROM events WHERE id > ? ORDER BY log_at"

#: Enters the events after an id into the indexes, in the order of each, so that each page of an
#: index is changed once.
INDEX = f"""
    INSERT INTO events_by_entity SELECT at, id FROM events WHERE id > :after ORDER BY at;
    INSERT INTO events_by_slice SELECT log_at, id FROM events WHERE id > :after ORDER BY log_at;
    UPDATE counters SET value = :upto WHERE name = '{INDEXED_TO}';
"""

#: For each slice the largest position that is used, as far as the indexes know.
LAST_POSITIONS = f"""
    SELECT epoch, max(position, ifnull(
        (SELECT log_at - (slice << {POSITION_BITS}) FROM events_by_slice
            WHERE log_at >= slice << {POSITION_BITS} AND log_at < (slice + 1) << {POSITION_BITS}
            ORDER BY log_at DESC LIMIT 1), 0))
    FROM slices ORDER BY slice"""

#: Erases an entity. `:first` and `:last` enclose its events, `:after` begins the tail.
ERASE = """
    CREATE TEMP TABLE IF NOT EXISTS doomed (id INTEGER PRIMARY KEY);
    DELETE FROM doomed;
    INSERT INTO doomed SELECT id FROM events_by_entity WHERE at BETWEEN :first AND :last;
    INSERT INTO doomed
        SELECT id FROM events WHERE id > :after AND at BETWEEN :first AND :last;
    DELETE FROM events_by_slice
        WHERE log_at IN (SELECT log_at FROM events JOIN doomed USING (id));
    DELETE FROM events_by_entity WHERE at BETWEEN :first AND :last;
    DELETE FROM events WHERE id IN (SELECT id FROM doomed);
    DELETE FROM doomed;
    DELETE FROM snapshots WHERE entity = :entity;
    DELETE FROM entity_values WHERE entity = :entity;
    DELETE FROM amendments WHERE at BETWEEN :first AND :last;
    DELETE FROM replies WHERE entity = :entity;
    DELETE FROM received WHERE entity = :entity;
    DELETE FROM outbox WHERE entity = :entity;
    DELETE FROM entities WHERE entity = :entity;
"""
