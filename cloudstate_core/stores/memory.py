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
    Commit,
    EntityKey,
    LoggedEvent,
    OutboxMessage,
    ParkedMessage,
    RememberedReply,
    Snapshot,
    StateStore,
    StoreBackend,
    StoredEvent,
    StoredValue,
    slice_of,
)
from cloudstate_core.stores.checks import (
    check_amendable,
    check_key,
    check_offsets,
    check_page,
    check_slices,
)
from cloudstate_core.stores.copies import (
    Amendment,
    CopiedWrite,
    Events,
    Message,
    Note,
    Payload,
    Reply,
    State,
    Value,
    copies_of,
)
from cloudstate_core.stores.messages import Messages
from cloudstate_core.stores.replies import Replies

__all__ = ["MemoryBackend", "MemorySettings", "MemoryStore"]


@dataclass(slots=True)
class _Entity:
    """All that is stored of one entity; `events[n]` has sequence n + 1."""

    events: list[Payload] = field(default_factory=list)
    snapshot: State | None = None
    revision: int = 0
    value: Payload | None = None
    amendments: list[Payload] = field(default_factory=list)

    def is_listed(self) -> bool:
        return bool(self.events) or self.snapshot is not None or self.value is not None


@dataclass(frozen=True, slots=True)
class _Logged:
    """An event of the log; its payload is that of the entity's event."""

    position: int
    key: EntityKey
    sequence: int
    payload: Payload
    metadata: dict[str, str]
    unix_time_s: float


@dataclass(slots=True)
class _Slice:
    """What is stored of one slice; `log` is in order of position."""

    epoch: int = 0
    position: int = 0
    log: list[_Logged] = field(default_factory=list)


class MemoryStore(StateStore):
    """Keeps state in memory.

    Args:
        clock: The time, for what is written beside an event.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entities: dict[EntityKey, _Entity] = {}
        self._slices: dict[int, _Slice] = {}
        self._replies = Replies()
        self._messages = Messages()
        self._offsets: dict[str, dict[int, int]] = {}
        self._is_closed = False

    def close(self) -> None:
        """Refuse everything from now on."""
        self._is_closed = True

    async def claim(self, slices: Sequence[int]) -> int:
        check_slices(slices)
        await self._step()
        claimed = [self._slice(number) for number in slices]
        epoch = 1 + max((each.epoch for each in claimed), default=0)
        for each in claimed:
            each.epoch = epoch
        return epoch

    async def commit(self, commit: Commit) -> None:
        writes = copies_of(commit).writes
        self._check_open()
        self._check_epoch(commit.key, commit.epoch)
        self._check_writes(commit.key, writes)
        for write in writes:
            self._apply(commit.key, write)
        # What is written stays written, also if the caller is cancelled here.
        await asyncio.sleep(0)

    async def snapshot(self, key: EntityKey) -> Snapshot | None:
        await self._step()
        kept = self._entity(key).snapshot
        return None if kept is None else Snapshot(kept.sequence, _any(kept.payload))

    async def events(self, key: EntityKey, *, after: int, limit: int) -> list[StoredEvent]:
        check_page(limit=limit, after=after)
        await self._step()
        page = self._entity(key).events[after : after + limit]
        return [
            StoredEvent(sequence, _any(payload)) for sequence, payload in enumerate(page, after + 1)
        ]

    async def last_sequence(self, key: EntityKey) -> int:
        await self._step()
        return len(self._entity(key).events)

    async def value(self, key: EntityKey) -> StoredValue:
        await self._step()
        entity = self._entity(key)
        return StoredValue(
            entity.revision,
            None if entity.value is None else _any(entity.value),
            tuple(_any(amendment) for amendment in entity.amendments),
        )

    async def remembered_reply(self, key: EntityKey, command_key: str) -> RememberedReply | None:
        await self._step()
        return self._replies.find(key, command_key, self._clock.unix_time_s())

    async def log(
        self, slices: range, *, after: Mapping[int, int], limit: int
    ) -> list[LoggedEvent]:
        check_page(limit=limit)
        check_slices(slices)
        await self._step()
        found: list[LoggedEvent] = []
        for number in slices:
            log = self._slice(number).log
            first = bisect_right(log, after.get(number, 0), key=lambda event: event.position)
            page = log[first : first + limit - len(found)]
            found += (_logged_event(number, event) for event in page)
        return found

    async def outbox(self, slices: range, *, after: int = 0, limit: int) -> list[OutboxMessage]:
        check_page(limit=limit, after=after)
        check_slices(slices)
        await self._step()
        return self._messages.waiting(slices, after, limit)

    async def acknowledge(self, message_ids: Sequence[str]) -> None:
        await self._step()
        self._messages.acknowledge([message_id.encode() for message_id in message_ids])

    async def park(self, message_id: str, reason: str) -> bool:
        await self._step()
        return self._messages.park(message_id.encode(), reason, self._clock.unix_time_s())

    async def unpark(self, message_ids: Sequence[str]) -> list[str]:
        await self._step()
        return self._messages.unpark(message_ids)

    async def parked(self, *, after: int = 0, limit: int) -> list[ParkedMessage]:
        check_page(limit=limit, after=after)
        await self._step()
        return self._messages.parked(after, limit)

    async def offsets(self, consumer: str) -> dict[int, int]:
        await self._step()
        return dict(self._offsets.get(consumer, {}))

    async def save_offsets(self, consumer: str, offsets: Mapping[int, int]) -> None:
        check_offsets(offsets)
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
        self._replies.forget(key)
        home = self._slice(slice_of(key))
        home.log = [event for event in home.log if event.key != key]
        self._messages.erase(key)

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

    def _check_writes(self, key: EntityKey, writes: list[CopiedWrite]) -> None:
        entity, entity_id = self._entity(key), key.entity_id
        sequence = len(entity.events)
        for write in writes:
            match write:
                case Events(expected, payloads):
                    if expected != sequence:
                        raise SequenceConflict(entity_id, expected=expected, actual=sequence)
                    sequence += len(payloads)
                case Value(expected) if expected != entity.revision:
                    raise RevisionConflict(entity_id, expected=expected, actual=entity.revision)
                case Amendment(expected):
                    check_amendable(
                        entity_id,
                        expected=expected,
                        actual=entity.revision,
                        amendments=None if entity.value is None else len(entity.amendments),
                    )
                case Note(name) if self._messages.is_received(key, name):
                    raise AlreadyReceived(entity_id, name.decode())
                case Message(name) if self._messages.is_sent(name):
                    raise ValueError(
                        f"expected a new message id, found {name.decode()!r} in the outbox"
                    )
                case _:
                    pass

    def _apply(self, key: EntityKey, write: CopiedWrite) -> None:
        entity = self._entities.setdefault(key, _Entity())
        match write:
            case Events(_, payloads, metadata):
                self._append(key, entity, payloads, metadata)
            case State(sequence):
                if entity.snapshot is None or entity.snapshot.sequence <= sequence:
                    entity.snapshot = write
            case Value(_, payload):
                entity.revision, entity.value = entity.revision + 1, payload
                entity.amendments.clear()
            case Amendment(_, payload):
                entity.revision += 1
                entity.amendments.append(payload)
            case Message():
                self._messages.add(key, write)
            case Reply():
                self._replies.add(key, write, self._clock.unix_time_s())
            case Note(message_id):
                self._messages.note(key, message_id)

    def _append(
        self, key: EntityKey, entity: _Entity, payloads: list[Payload], metadata: dict[str, str]
    ) -> None:
        home, now_s = self._slice(slice_of(key)), self._clock.unix_time_s()
        for payload in payloads:
            entity.events.append(payload)
            home.position += 1
            sequence = len(entity.events)
            home.log.append(_Logged(home.position, key, sequence, payload, metadata, now_s))

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


def _any(payload: Payload) -> Any:
    type_url, data = payload
    return Any(type_url=type_url, value=data)


def _logged_event(number: int, event: _Logged) -> LoggedEvent:
    return LoggedEvent(
        number,
        event.position,
        event.key,
        event.sequence,
        _any(event.payload),
        dict(event.metadata),
        event.unix_time_s,
    )
