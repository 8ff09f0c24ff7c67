"""The statements of the readers.

Each statement finds the entity by its key and sees one moment of the file. Events that are not in
the indexes yet are searched for only if there may be some: see `schema`.
"""

# Statements are put together of constants alone; values are always bound.
# ruff: noqa: S608

from __future__ import annotations

from cloudstate_sqlite.schema import INDEXED_TO, MAX_SEQUENCE, POSITION_BITS, SEQUENCE_BITS

__all__ = [
    "EVENTS",
    "EVENTS_WITH_TAIL",
    "KEYS",
    "LAST_SEQUENCE",
    "LAST_SEQUENCE_WITH_TAIL",
    "LOGGED_EVENT",
    "LOG_OF_SLICE",
    "OFFSETS",
    "REPLY",
    "SNAPSHOT",
    "TAIL_OF_LOG",
    "VALUE",
]

# `e` is a row of `entities`: where the events of an entity begin and end in `at`.
_BEGIN = f"(e.entity << {SEQUENCE_BITS})"
_END = f"(e.entity << {SEQUENCE_BITS}) + {MAX_SEQUENCE}"
_IS_SOUGHT = "e.persistence_id = :persistence_id AND e.entity_id = :entity_id"
_INDEXED_TO = f"(SELECT value FROM counters WHERE name = '{INDEXED_TO}')"

EVENTS = f"""
    SELECT x.at & {MAX_SEQUENCE}, x.type_url, x.payload, x.unix_time_s, x.metadata, x.checksum
    FROM entities AS e
        JOIN events_by_entity AS i ON i.at > {_BEGIN} + :after AND i.at <= {_END}
        LEFT JOIN events AS x ON x.id = i.id
    WHERE {_IS_SOUGHT}
    ORDER BY i.at LIMIT :limit"""

_TAIL_EVENTS = f"""
    SELECT x.at & {MAX_SEQUENCE}, x.type_url, x.payload, x.unix_time_s, x.metadata, x.checksum
    FROM entities AS e
        JOIN events AS x
            ON x.id > {_INDEXED_TO} AND x.at > {_BEGIN} + :after AND x.at <= {_END}
    WHERE {_IS_SOUGHT}
    ORDER BY x.at LIMIT :limit"""

# All sequences in the tail are larger than those in the index.
EVENTS_WITH_TAIL = f"""
    SELECT * FROM ({EVENTS}) UNION ALL SELECT * FROM ({_TAIL_EVENTS}) LIMIT :limit"""

LAST_SEQUENCE = f"""
    SELECT i.at & {MAX_SEQUENCE}
    FROM entities AS e JOIN events_by_entity AS i ON i.at > {_BEGIN} AND i.at <= {_END}
    WHERE {_IS_SOUGHT}
    ORDER BY i.at DESC LIMIT 1"""

LAST_SEQUENCE_WITH_TAIL = f"""
    SELECT max(last) FROM (
        SELECT ({LAST_SEQUENCE}) AS last
        UNION ALL
        SELECT max(x.at) & {MAX_SEQUENCE}
        FROM entities AS e
            JOIN events AS x ON x.id > {_INDEXED_TO} AND x.at > {_BEGIN} AND x.at <= {_END}
        WHERE {_IS_SOUGHT})"""

SNAPSHOT = f"""
    SELECT s.sequence, s.type_url, s.payload, s.checksum
    FROM entities AS e JOIN snapshots AS s USING (entity) WHERE {_IS_SOUGHT}"""

#: The value, and then its amendments by their numbers.
VALUE = f"""
    WITH sought AS MATERIALIZED (SELECT e.entity FROM entities AS e WHERE {_IS_SOUGHT})
    SELECT 0, v.revision, v.type_url, v.payload, v.checksum
    FROM sought JOIN entity_values AS v USING (entity)
    UNION ALL
    SELECT a.at & {MAX_SEQUENCE}, NULL, a.type_url, a.payload, a.checksum
    FROM sought AS e JOIN amendments AS a ON a.at > {_BEGIN} AND a.at <= {_END}"""

REPLY = """
    SELECT r.nth, r.until_unix_s, r.digest, r.reply, r.checksum
    FROM entities AS e JOIN replies AS r USING (entity)
    WHERE e.persistence_id = ? AND e.entity_id = ? AND r.command_key = ?"""

_LOGGED = f"""
    x.log_at, e.persistence_id, e.entity_id, x.at & {MAX_SEQUENCE},
    x.type_url, x.payload, x.metadata, x.unix_time_s, x.checksum"""

LOG_OF_SLICE = f"""
    SELECT i.log_at, {_LOGGED}
    FROM events_by_slice AS i
        LEFT JOIN events AS x ON x.id = i.id
        LEFT JOIN entities AS e ON e.entity = x.at >> {SEQUENCE_BITS}
    WHERE i.log_at > (:slice << {POSITION_BITS}) + :after
        AND i.log_at < (:slice + 1) << {POSITION_BITS}
    ORDER BY i.log_at LIMIT :limit"""

TAIL_OF_LOG = f"""
    SELECT log_at >> {POSITION_BITS}, id FROM events
    WHERE id > {_INDEXED_TO}
        AND log_at >= :first << {POSITION_BITS} AND log_at < (:last + 1) << {POSITION_BITS}
    ORDER BY log_at"""

LOGGED_EVENT = f"""
    SELECT x.log_at, {_LOGGED}
    FROM events AS x LEFT JOIN entities AS e ON e.entity = x.at >> {SEQUENCE_BITS}
    WHERE x.id = ?"""

OFFSETS = "SELECT slice, position FROM offsets WHERE consumer = ?"

KEYS = f"""
    WITH tail AS MATERIALIZED (
        SELECT DISTINCT at >> {SEQUENCE_BITS} AS entity FROM events WHERE id > {_INDEXED_TO})
    SELECT e.entity_id FROM entities AS e
    WHERE e.persistence_id = :persistence_id
        AND e.entity_id > :after AND e.entity_id >= :prefix AND e.entity_id < :beyond
        AND (EXISTS (SELECT 1 FROM events_by_entity AS i WHERE i.at > {_BEGIN} AND i.at <= {_END})
            OR EXISTS (SELECT 1 FROM snapshots AS s WHERE s.entity = e.entity)
            OR EXISTS (SELECT 1 FROM entity_values AS v
                WHERE v.entity = e.entity AND v.payload IS NOT NULL)
            OR e.entity IN tail)
    ORDER BY e.entity_id LIMIT :limit"""
