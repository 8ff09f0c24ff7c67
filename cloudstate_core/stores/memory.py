"""State kept in memory: the reference of what a store does, and the double for tests.

It is gone when the store is closed. Everything that goes in or comes out is a copy.

A call changes what is stored in one step, without waiting in between; that makes it atomic. Each
call then lets other tasks run once, as a store with a disk would, so that a caller who may not be
interrupted is found out in tests.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import ClassVar

from google.protobuf.any_pb2 import Any

from cloudstate_core.clock import Clock
from cloudstate_core.errors import (
    AlreadyReceived,
    RevisionConflict,
    SequenceConflict,
    StaleEpoch,
    StoreUnavailable,
)
from cloudstate_core.store import (
    AppendEvents,
    Commit,
    DeleteValue,
    EnqueueMessage,
    EntityKey,
    LoggedEvent,
    OutboxMessage,
    PutSnapshot,
    PutValue,
    Received,
    RememberedReply,
    RememberReply,
    Snapshot,
    StateStore,
    StoreBackend,
    StoredEvent,
    StoredValue,
    slice_of,
)
from cloudstate_core.stores.checks import check_commit, check_key, check_page

__all__ = ["MemoryBackend", "MemorySettings", "MemoryStore"]


@dataclass(slots=True)
class _Entity:
    """All that is stored of one entity; `events[n]` has sequence n + 1."""

    events: list[Any] = field(default_factory=list)
    snapshot: Snapshot | None = None
    revision: int = 0
    value: Any | None = None
    replies: dict[str, RememberedReply] = field(default_factory=dict)
    received: set[str] = field(default_factory=set)

    def is_listed(self) -> bool:
        return bool(self.events) or self.snapshot is not None or self.value is not None


@dataclass(slots=True)
class _Slice:
    """What is stored of one slice; `log` is in order of position."""

    epoch: int = 0
    position: int = 0
    log: list[LoggedEvent] = field(default_factory=list)


class MemoryStore(StateStore):
    """Keeps state in memory.

    Args:
        clock: The time, for what is written beside an event.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entities: dict[EntityKey, _Entity] = {}
        self._slices: dict[int, _Slice] = {}
        self._outbox: dict[str, OutboxMessage] = {}
        self._messages_so_far = 0
        self._offsets: dict[str, dict[int, int]] = {}
        self._is_closed = False

    def close(self) -> None:
        """Refuse everything from now on."""
        self._is_closed = True

    async def claim(self, slices: Sequence[int]) -> int:
        await self._step()
        claimed = [self._slice(number) for number in slices]
        epoch = 1 + max((each.epoch for each in claimed), default=0)
        for each in claimed:
            each.epoch = epoch
        return epoch

    async def commit(self, commit: Commit) -> None:
        check_commit(commit)
        self._check_open()
        self._check_epoch(commit.key, commit.epoch)
        self._check_writes(commit)
        for write in commit.writes:
            self._apply(commit.key, write)
        # What is written stays written, also if the caller is cancelled here.
        await asyncio.sleep(0)

    async def snapshot(self, key: EntityKey) -> Snapshot | None:
        await self._step()
        kept = self._entity(key).snapshot
        return None if kept is None else Snapshot(kept.sequence, _copy(kept.state))

    async def events(self, key: EntityKey, *, after: int, limit: int) -> list[StoredEvent]:
        check_page(limit=limit, after=after)
        await self._step()
        page = self._entity(key).events[after : after + limit]
        return [
            StoredEvent(sequence, _copy(event)) for sequence, event in enumerate(page, after + 1)
        ]

    async def last_sequence(self, key: EntityKey) -> int:
        await self._step()
        return len(self._entity(key).events)

    async def value(self, key: EntityKey) -> StoredValue:
        await self._step()
        entity = self._entity(key)
        return StoredValue(entity.revision, None if entity.value is None else _copy(entity.value))

    async def remembered_reply(self, key: EntityKey, command_key: str) -> RememberedReply | None:
        await self._step()
        return self._entity(key).replies.get(command_key)

    async def log(
        self, slices: range, *, after: Mapping[int, int], limit: int
    ) -> list[LoggedEvent]:
        check_page(limit=limit)
        await self._step()
        found: list[LoggedEvent] = []
        for number in slices:
            log = self._slice(number).log
            first = bisect_right(log, after.get(number, 0), key=lambda event: event.position)
            found += (_copy_logged(event) for event in log[first : first + limit - len(found)])
        return found

    async def outbox(self, slices: range, *, limit: int) -> list[OutboxMessage]:
        check_page(limit=limit)
        await self._step()
        waiting = (each for each in self._outbox.values() if slice_of(each.sender) in slices)
        return [_copy_message(message) for message in islice(waiting, limit)]

    async def acknowledge(self, message_ids: Sequence[str]) -> None:
        await self._step()
        for message_id in message_ids:
            self._outbox.pop(message_id, None)

    async def offsets(self, consumer: str) -> dict[int, int]:
        await self._step()
        return dict(self._offsets.get(consumer, {}))

    async def save_offsets(self, consumer: str, offsets: Mapping[int, int]) -> None:
        await self._step()
        self._offsets.setdefault(consumer, {}).update(offsets)

    async def keys(
        self, persistence_id: str, *, prefix: str = "", after: str = "", limit: int
    ) -> list[EntityKey]:
        check_page(limit=limit)
        await self._step()
        found = (
            key
            for key, entity in self._entities.items()
            if key.persistence_id == persistence_id
            and key.entity_id.startswith(prefix)
            and key.entity_id.encode() > after.encode()
            and entity.is_listed()
        )
        return sorted(found, key=lambda key: key.entity_id.encode())[:limit]

    async def delete(self, key: EntityKey, epoch: int) -> None:
        check_key(key)
        await self._step()
        self._check_epoch(key, epoch)
        self._entities.pop(key, None)
        home = self._slice(slice_of(key))
        home.log = [event for event in home.log if event.key != key]
        for message in [each for each in self._outbox.values() if each.sender == key]:
            del self._outbox[message.message_id]

    async def check(self) -> None:
        await self._step()

    async def _step(self) -> None:
        await asyncio.sleep(0)
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")

    def _check_epoch(self, key: EntityKey, epoch: int) -> None:
        current = self._slice(slice_of(key)).epoch
        if epoch < current:
            raise StaleEpoch(key.entity_id, held=epoch, current=current)

    def _check_writes(self, commit: Commit) -> None:
        entity, entity_id = self._entity(commit.key), commit.key.entity_id
        sequence = len(entity.events)
        for write in commit.writes:
            match write:
                case AppendEvents(expected, events):
                    if expected != sequence:
                        raise SequenceConflict(entity_id, expected=expected, actual=sequence)
                    sequence += len(events)
                case PutValue(expected) | DeleteValue(expected):
                    if expected != entity.revision:
                        raise RevisionConflict(entity_id, expected=expected, actual=entity.revision)
                case Received(message_id) if message_id in entity.received:
                    raise AlreadyReceived(entity_id, message_id)
                case EnqueueMessage(message_id) if message_id in self._outbox:
                    raise ValueError(
                        f"expected a new message id, found {message_id!r} in the outbox already"
                    )

    def _apply(self, key: EntityKey, write: object) -> None:
        entity = self._entities.setdefault(key, _Entity())
        match write:
            case AppendEvents(_, events, metadata):
                self._append(key, entity, events, metadata)
            case PutSnapshot(sequence, state):
                if entity.snapshot is None or entity.snapshot.sequence <= sequence:
                    entity.snapshot = Snapshot(sequence, _copy(state))
            case PutValue(_, value):
                entity.revision, entity.value = entity.revision + 1, _copy(value)
            case DeleteValue():
                entity.revision, entity.value = entity.revision + 1, None
            case EnqueueMessage(message_id):
                self._messages_so_far += 1
                message = _to_send(self._messages_so_far, key, write)
                self._outbox[message_id] = message
            case RememberReply(command_key, digest, reply):
                entity.replies[command_key] = RememberedReply(digest, reply)
            case Received(message_id):
                entity.received.add(message_id)

    def _append(
        self, key: EntityKey, entity: _Entity, events: Sequence[Any], metadata: Mapping[str, str]
    ) -> None:
        number, now_s = slice_of(key), self._clock.unix_time_s()
        home = self._slice(number)
        for event in events:
            payload = _copy(event)
            entity.events.append(payload)
            home.position += 1
            sequence = len(entity.events)
            home.log.append(
                LoggedEvent(number, home.position, key, sequence, payload, dict(metadata), now_s)
            )

    def _entity(self, key: EntityKey) -> _Entity:
        return self._entities.get(key) or _Entity()

    def _slice(self, number: int) -> _Slice:
        return self._slices.setdefault(number, _Slice())


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """Section `memory`: there is nothing to set."""


class MemoryBackend(StoreBackend):
    """Keeps state in memory, for trying things out and for tests."""

    name: ClassVar[str] = "memory"
    settings_type: ClassVar[type] = MemorySettings
    durable: ClassVar[bool] = False

    @asynccontextmanager
    async def open(
        self, settings: object, data_dir: Path, clock: Clock
    ) -> AsyncIterator[MemoryStore]:
        store = MemoryStore(clock)
        try:
            yield store
        finally:
            store.close()

    def describe(self, settings: object, data_dir: Path) -> str:
        return "in memory, gone when the process ends"


def _copy(payload: Any) -> Any:
    return Any(type_url=payload.type_url, value=payload.value)


def _copy_logged(event: LoggedEvent) -> LoggedEvent:
    return LoggedEvent(
        event.slice,
        event.position,
        event.key,
        event.sequence,
        _copy(event.payload),
        dict(event.metadata),
        event.unix_time_s,
    )


def _to_send(number: int, sender: EntityKey, write: EnqueueMessage) -> OutboxMessage:
    return OutboxMessage(
        number,
        sender,
        write.message_id,
        write.destination,
        _copy(write.payload),
        dict(write.metadata),
    )


def _copy_message(message: OutboxMessage) -> OutboxMessage:
    return OutboxMessage(
        message.number,
        message.sender,
        message.message_id,
        message.destination,
        _copy(message.payload),
        dict(message.metadata),
    )
