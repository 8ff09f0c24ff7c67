"""Remembered replies in the file: what the writer adds and removes, and what a reader finds.

A reply is removed when its time is over, or when so many of its entity came after it. Both happen
in the transaction that adds others, a few at a time, so that nothing has to be cleaned up besides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

import apsw

from cloudstate_core.errors import CorruptState
from cloudstate_core.store import EntityKey, RememberedReply
from cloudstate_core.stores.copies import Reply
from cloudstate_sqlite import queries
from cloudstate_sqlite.checksums import checksum, key_checksum
from cloudstate_sqlite.rows import RowInsert, SqlValue

__all__ = ["RememberedRows", "find_reply"]

#: How many of those whose time is over may go with each one that is added: more than one, so that
#: they go faster than they come; few, so that no commit has to wait for many.
_REMOVED_AT_ONCE = 4

_COLUMNS = ("entity", "command_key", "nth", "until_unix_s", "digest", "reply", "checksum")

_PUT = RowInsert(
    "replies",
    _COLUMNS,
    """(entity, command_key) DO UPDATE SET
        nth = excluded.nth, until_unix_s = excluded.until_unix_s, digest = excluded.digest,
        reply = excluded.reply, checksum = excluded.checksum""",
)

_REMOVE_SURPLUS = "DELETE FROM replies WHERE entity = ? AND nth <= ?"

_REMOVE_OLD = """
    DELETE FROM replies WHERE id IN (
        SELECT id FROM replies WHERE until_unix_s <= ? ORDER BY until_unix_s LIMIT ?)"""

_AS_BYTES = Struct(">d").pack


@dataclass(slots=True)
class RememberedRows:
    """What a transaction adds to the remembered replies, and what it removes of them."""

    _values: list[SqlValue] = field(default_factory=list)
    _surplus: dict[int, int] = field(default_factory=dict)
    _now_unix_s: float = 0.0

    def add(self, entity: int, key_total: int, nth: int, reply: Reply, now_unix_s: float) -> None:
        """Add a reply.

        Args:
            entity: The number of the entity.
            key_total: The checksum of its key.
            nth: How many replies of the entity were remembered before, and this one.
            reply: The reply.
            now_unix_s: The time.
        """
        command_key, digest, content, keep_s, keep_count = reply
        until_unix_s = now_unix_s + keep_s
        total = _total(key_total, nth, until_unix_s, command_key, digest, content)
        self._values += (entity, command_key, nth, until_unix_s, digest, content, total)
        if nth > keep_count:
            self._surplus[entity] = nth - keep_count
        self._now_unix_s = now_unix_s

    def write(self, connection: apsw.Connection) -> None:
        """Write the rows."""
        if not self._values:
            return
        removed_at_most = _REMOVED_AT_ONCE * (len(self._values) // len(_COLUMNS))
        _PUT.run(connection, self._values)
        if self._surplus:
            connection.executemany(_REMOVE_SURPLUS, self._surplus.items())
        connection.execute(_REMOVE_OLD, (self._now_unix_s, removed_at_most))


def find_reply(
    connection: apsw.Connection, key: EntityKey, command_key: str, now_unix_s: float
) -> RememberedReply | None:
    """Return what is remembered for a command, unless its time is over."""
    name = command_key.encode()
    sought = (key.persistence_id.encode(), key.entity_id.encode(), name)
    row = connection.execute(queries.REPLY, sought).fetchone()
    if row is None:
        return None
    nth, until_unix_s, digest, reply, total = row
    if total != _total(key_checksum(key), nth, until_unix_s, name, digest, reply):
        raise CorruptState(
            f"entity {key.entity_id!r}: the reply to {command_key!r} is not what was written"
        )
    return RememberedReply(digest, reply) if until_unix_s > now_unix_s else None


def _total(start: int, nth: int, until_unix_s: float, *parts: bytes) -> int:
    return checksum(start, nth, _AS_BYTES(until_unix_s), *parts)
