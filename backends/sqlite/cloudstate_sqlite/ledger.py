"""What the writer knows, and how a batch of commits becomes one transaction.

The writer is the only one that changes the file. So it may keep in memory what every commit is
checked against: the epochs and positions of all slices, and the last sequence and the revision of
the entities that wrote lately. Each transaction first makes sure that this is still so: if anybody
else has changed the file, nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import apsw

from cloudstate_core.errors import (
    AlreadyReceived,
    CloudstateError,
    LimitExceeded,
    RevisionConflict,
    SequenceConflict,
    StaleEpoch,
    StoreUnavailable,
)
from cloudstate_core.store import EntityKey, slice_of
from cloudstate_core.stores.checks import check_amendable
from cloudstate_core.stores.copies import (
    Amendment,
    Events,
    Message,
    Note,
    Payload,
    Reply,
    State,
    Value,
)
from cloudstate_sqlite import statements
from cloudstate_sqlite.ahead import Ahead
from cloudstate_sqlite.amendments import AmendmentRows
from cloudstate_sqlite.checksums import checksum, event_checksum, key_checksum
from cloudstate_sqlite.entries import AcknowledgeEntry, CommitEntry
from cloudstate_sqlite.messages import acknowledge
from cloudstate_sqlite.replies import RememberedRows
from cloudstate_sqlite.rows import SqlValue
from cloudstate_sqlite.schema import (
    INDEXED_TO,
    LAST_ENTITY,
    LAST_MESSAGE,
    MAX_ENTITIES,
    MAX_SEQUENCE,
    POSITION_BITS,
    SEQUENCE_BITS,
)

__all__ = ["Head", "Ledger", "Recent"]

# The tail does not have to be searched: no event has a larger id.
_NO_TAIL = 2**63 - 1


@dataclass(slots=True)
class Recent:
    """What readers have to know of what was written lately.

    Attributes:
        keys: The entities that have events in the tail, and perhaps some that have none.
        positions: For each slice, the position of its last event, or a larger one.
        ahead: What was read ahead.
    """

    keys: set[EntityKey] = field(default_factory=set)
    positions: list[int] = field(default_factory=list)
    ahead: Ahead = field(default_factory=Ahead)


@dataclass(slots=True)
class Head:
    """Where one entity stands.

    Attributes:
        entity: Its number; 0 as long as it is not in the file.
        slice: Its slice.
        checksum: That of its key.
        sequence: Of its last event.
        revision: Of its value.
        amendments: How many its value has; None if it has no value.
        replies: How many were remembered of it.
        in_tail_since: Readers know that the entity has events in the tail that began here.
    """

    entity: int
    slice: int
    checksum: int
    sequence: int = 0
    revision: int = 0
    amendments: int | None = None
    replies: int = 0
    in_tail_since: int = -1


@dataclass(slots=True)
class _Rows:
    """What a transaction is to write: the columns of all rows, one after the other.

    Attributes:
        values: By entity, so that of values which replace each other the last one is written.
    """

    entities: list[SqlValue] = field(default_factory=list)
    events: list[SqlValue] = field(default_factory=list)
    snapshots: list[SqlValue] = field(default_factory=list)
    values: dict[int, tuple[SqlValue, ...]] = field(default_factory=dict)
    amendments: AmendmentRows = field(default_factory=AmendmentRows)
    replies: RememberedRows = field(default_factory=RememberedRows)
    received: list[SqlValue] = field(default_factory=list)
    messages: list[SqlValue] = field(default_factory=list)

    def write(self, connection: apsw.Connection) -> None:
        statements.INSERT_ENTITIES.run(connection, self.entities)
        statements.INSERT_EVENTS.run(connection, self.events)
        statements.PUT_SNAPSHOTS.run(connection, self.snapshots)
        statements.PUT_VALUES.run(connection, [*chain.from_iterable(self.values.values())])
        self.amendments.write(connection)
        self.replies.write(connection)
        statements.INSERT_RECEIVED.run(connection, self.received)
        statements.INSERT_MESSAGES.run(connection, self.messages)


class Ledger:
    """The writer's view of an open file.

    After an exception from any method but `write` and the constructor the caller rolls back and
    calls `reload`.

    Attributes:
        tail_events: How many events are not in the indexes.

    Args:
        connection: The only connection that writes.
        recent: Kept up to date for the readers.
        remembered_entities: How many heads to keep in memory.
    """

    def __init__(
        self, connection: apsw.Connection, recent: Recent, *, remembered_entities: int
    ) -> None:
        self.connection = connection
        self.recent = recent
        self.tail_events = 0
        self.epochs: list[int] = []
        self.positions: list[int] = []
        self.indexed_to = 0
        self.next_event = 1
        self._remembered_entities = remembered_entities
        self._heads: dict[EntityKey, Head] = {}
        self._received: set[tuple[bytes, int]] = set()
        self._waiting: set[bytes] = set()
        self._rows = _Rows()
        self._data_version = self._read_data_version()
        self.reload()

    def reload(self) -> None:
        """Forget what is in memory and read it from the file."""
        counters = dict(self.connection.execute("SELECT name, value FROM counters"))
        rows: list[tuple[Any, ...]] = self.connection.execute(statements.LAST_POSITIONS).fetchall()
        self.epochs = [epoch for epoch, _ in rows]
        self.positions = [position for _, position in rows]
        self.indexed_to = self.next_event = counters[INDEXED_TO]
        self.tail_events = 0
        for event_id, log_at in self.connection.execute(statements.TAIL, (self.indexed_to,)):
            slice_, position = log_at >> POSITION_BITS, log_at & (1 << POSITION_BITS) - 1
            self.positions[slice_] = max(position, self.positions[slice_])
            self.next_event = max(event_id, self.next_event)
            self.tail_events += 1
        self.next_event += 1
        self.recent.positions = self.positions
        self.recent.ahead.clear()
        self._next_entity = 1 + max(
            counters[LAST_ENTITY],
            self.connection.execute("SELECT ifnull(max(entity), 0) FROM entities").get,
        )
        self._next_message = 1 + counters[LAST_MESSAGE]
        self._heads.clear()
        self._rows = _Rows()

    def begin(self) -> None:
        """Begin a transaction that writes.

        Raises:
            StoreUnavailable: Somebody else has changed the file.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        if self._read_data_version() != self._data_version:
            raise StoreUnavailable("the file of the store was changed by another program")

    def write(self, entries: list[CommitEntry], done: Sequence[AcknowledgeEntry] = ()) -> None:
        """Write commits in one transaction, durably, and take out the messages that are done.

        A commit that is refused gets an error and leaves nothing; the others are written. If this
        raises, the caller has to find out what is in the file.
        """
        self.begin()
        heads = self._find_heads(entries)
        self._find_messages(entries)
        for entry, head in zip(entries, heads, strict=True):
            entry.error = self._refusal(entry, head)
            if entry.error is None:
                self._accept(entry, head)
        self._rows.write(self.connection)
        if self._rows.messages:
            self.set_counter(LAST_MESSAGE, self._next_message - 1)
        # In the end: a commit that came before must still find that it brings a message twice.
        for entry_done in done:
            acknowledge(self.connection, entry_done.message_ids)
        self.connection.execute("COMMIT")
        self._rows = _Rows()
        for entry, head in zip(entries, heads, strict=True):
            if head.in_tail_since != self.indexed_to:
                head.in_tail_since = self.indexed_to
                self.recent.keys.add(entry.key)
        if self.recent.ahead:
            for entry in entries:
                self.recent.ahead.forget(entry.key)
        if len(self._heads) > self._remembered_entities:
            self._heads.clear()

    def head(self, key: EntityKey) -> Head:
        """Return where an entity stands; only within a transaction."""
        self._look_up([key])
        return self._heads[key]

    def forget(self, key: EntityKey) -> None:
        """Read the entity from the file when it is needed next."""
        self._heads.pop(key, None)

    def set_counter(self, name: str, value: int) -> None:
        self.connection.execute("UPDATE counters SET value = ? WHERE name = ?", (value, name))

    def count(self, name: str) -> None:
        self.connection.execute("UPDATE counters SET value = value + 1 WHERE name = ?", (name,))

    def keep_last_entity(self) -> None:
        """Note which numbers are used, before one of them is erased."""
        self.set_counter(LAST_ENTITY, self._next_entity - 1)

    def _read_data_version(self) -> int:
        version: int = self.connection.execute("SELECT data_version FROM pragma_data_version").get
        return version

    # --- Look up what commits are checked against ---------------------------------------------

    def _find_heads(self, entries: list[CommitEntry]) -> list[Head]:
        get = self._heads.get
        heads = [get(entry.key) for entry in entries]
        if None in heads:
            unknown = zip(entries, heads, strict=True)
            self._look_up([*{entry.key for entry, head in unknown if head is None}])
        return [head or self._heads[entry.key] for entry, head in zip(entries, heads, strict=True)]

    def _look_up(self, keys: list[EntityKey]) -> None:
        sought: list[SqlValue] = []
        for number, key in enumerate(keys):
            self._heads[key] = Head(0, slice_of(key), key_checksum(key))
            after = self.indexed_to if key in self.recent.keys else _NO_TAIL
            sought += (number, key.persistence_id.encode(), key.entity_id.encode(), after)
        for number, *found in statements.FIND_HEADS.run(self.connection, sought):
            entity, at, tail_at, revision, has_value, amended_at, replies = found
            head = self._heads[keys[number]]
            amendments = (amended_at or 0) & MAX_SEQUENCE
            head.entity, head.replies = entity, replies or 0
            head.sequence = max(at or 0, tail_at or 0) & MAX_SEQUENCE
            head.revision = (revision or 0) + amendments
            head.amendments = amendments if has_value else None

    def _find_messages(self, entries: Iterable[CommitEntry]) -> None:
        received: list[SqlValue] = []
        waiting: list[SqlValue] = []
        self._received.clear()
        self._waiting.clear()
        for entry in entries:
            if not entry.names_messages:
                continue
            for write in entry.writes:
                if isinstance(write, Note):
                    received += (write.message_id, self._heads[entry.key].entity)
                elif isinstance(write, Message):
                    waiting.append(write.message_id)
        self._received.update(statements.FIND_RECEIVED.run(self.connection, received))
        self._waiting.update(
            message_id for (message_id,) in statements.FIND_WAITING.run(self.connection, waiting)
        )

    # --- Decide --------------------------------------------------------------------------------

    def _refusal(self, entry: CommitEntry, head: Head) -> Exception | None:
        """Return why a commit cannot be written; nothing is changed yet."""
        entity_id, sequence = entry.key.entity_id, head.sequence
        if entry.epoch < self.epochs[head.slice]:
            return StaleEpoch(entity_id, held=entry.epoch, current=self.epochs[head.slice])
        if not head.entity and self._next_entity > MAX_ENTITIES:
            return LimitExceeded(f"expected at most {MAX_ENTITIES} entities in one file")
        for write in entry.writes:
            match write:
                case Events(expected, payloads):
                    if expected != sequence:
                        return SequenceConflict(entity_id, expected=expected, actual=sequence)
                    sequence += len(payloads)
                    if sequence > MAX_SEQUENCE:
                        return LimitExceeded(f"expected at most {MAX_SEQUENCE} events of an entity")
                case Value(expected) if expected != head.revision:
                    return RevisionConflict(entity_id, expected=expected, actual=head.revision)
                case Amendment(expected):
                    refusal = _refusal_to_amend(entity_id, expected, head)
                    if refusal is not None:
                        return refusal
                case Note(message_id) if (message_id, head.entity) in self._received:
                    return AlreadyReceived(entity_id, message_id.decode())
                case Message(message_id) if message_id in self._waiting:
                    return ValueError(
                        f"expected a new message id, found {message_id.decode()!r} in the outbox"
                    )
                case _:
                    pass
        return None

    # --- Accept --------------------------------------------------------------------------------

    def _accept(self, entry: CommitEntry, head: Head) -> None:
        """Note what a commit writes, in the rows and in what the next commit is checked against."""
        rows = self._rows
        if not head.entity:
            self._add_entity(entry.key, head)
        for write in entry.writes:
            match write:
                case Events(_, payloads, metadata):
                    self._append(head, payloads, _as_json(metadata), entry.unix_time_s)
                case State(sequence, payload):
                    rows.snapshots += (head.entity, sequence, *_checked(head, sequence, payload))
                case Value(_, payload):
                    self._put(head, payload)
                case Amendment(_, payload):
                    self._amend(head, payload)
                case Reply():
                    head.replies += 1
                    rows.replies.add(
                        head.entity, head.checksum, head.replies, write, entry.unix_time_s
                    )
                case Note(message_id):
                    self._received.add((message_id, head.entity))
                    rows.received += (message_id, head.entity)
                case Message():
                    self._enqueue(head, write)

    def _add_entity(self, key: EntityKey, head: Head) -> None:
        head.entity = self._next_entity
        self._next_entity += 1
        self._rows.entities += (
            head.entity,
            key.persistence_id.encode(),
            key.entity_id.encode(),
        )

    def _append(
        self, head: Head, payloads: list[Payload], metadata: str, unix_time_s: float
    ) -> None:
        entity_at, slice_at = head.entity << SEQUENCE_BITS, head.slice << POSITION_BITS
        event_id, sequence, position = self.next_event, head.sequence, self.positions[head.slice]
        values = self._rows.events
        for type_url, payload in payloads:
            sequence += 1
            position += 1
            total = event_checksum(
                head.checksum, sequence, unix_time_s, type_url, payload, metadata
            )
            values += (
                event_id,
                entity_at | sequence,
                slice_at | position,
                unix_time_s,
                type_url,
                payload,
                metadata,
                total,
            )
            event_id += 1
        self.tail_events += len(payloads)
        self.next_event, head.sequence, self.positions[head.slice] = event_id, sequence, position

    def _put(self, head: Head, payload: Payload | None) -> None:
        head.revision += 1
        if head.amendments:
            self._rows.amendments.end(head.entity)
        head.amendments = None if payload is None else 0
        columns = _checked(head, head.revision, payload)
        self._rows.values[head.entity] = (head.entity, head.revision, *columns)

    def _amend(self, head: Head, payload: Payload) -> None:
        assert head.amendments is not None
        head.revision += 1
        head.amendments += 1
        self._rows.amendments.add(
            head.entity, head.checksum, head.amendments, head.revision, payload
        )

    def _enqueue(self, head: Head, message: Message) -> None:
        number, (type_url, payload) = self._next_message, message.payload
        metadata = _as_json(message.metadata)
        total = checksum(
            head.checksum,
            number,
            message.message_id,
            message.destination,
            type_url.encode(),
            payload,
            metadata.encode(),
        )
        self._next_message += 1
        self._waiting.add(message.message_id)
        self._rows.messages += (
            number,
            message.message_id,
            head.entity,
            head.slice,
            message.destination,
            type_url,
            payload,
            metadata,
            total,
        )


def _refusal_to_amend(entity_id: str, expected: int, head: Head) -> CloudstateError | None:
    try:
        check_amendable(
            entity_id, expected=expected, actual=head.revision, amendments=head.amendments
        )
    except CloudstateError as error:
        return error
    return None


def _as_json(metadata: dict[str, str]) -> str:
    return json.dumps(metadata, separators=(",", ":")) if metadata else ""


def _checked(
    head: Head, number: int, payload: Payload | None
) -> tuple[str | None, bytes | None, int]:
    """Return the columns of a snapshot or a value with their checksum."""
    if payload is None:
        return None, None, checksum(head.checksum, number)
    type_url, data = payload
    return type_url, data, checksum(head.checksum, number, type_url.encode(), data)
