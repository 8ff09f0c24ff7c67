"""The store, as its callers see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw
import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.store import (
    Commit,
    EntityKey,
    LoggedEvent,
    OutboxMessage,
    ParkedMessage,
    RememberedReply,
    Snapshot,
    StateStore,
    StoredEvent,
    StoredValue,
)
from cloudstate_core.stores.checks import check_key, check_offsets, check_page, check_slices
from cloudstate_sqlite import jobs, messages, reads
from cloudstate_sqlite.amendments import find_value
from cloudstate_sqlite.database import Database
from cloudstate_sqlite.entries import AcknowledgeEntry, CommitEntry
from cloudstate_sqlite.ledger import Recent
from cloudstate_sqlite.readers import Readers, Suspended
from cloudstate_sqlite.replies import find_reply
from cloudstate_sqlite.scribe import Job, Scribe
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.writer import Writer

__all__ = ["SqliteStore", "open_store"]

R = TypeVar("R")

_log = structlog.get_logger(__name__)


class SqliteStore(StateStore):
    """Keeps state in one SQLite file. Made by `open_store`."""

    def __init__(self, writer: Writer, readers: Readers, recent: Recent, clock: Clock) -> None:
        self._writer = writer
        self._readers = readers
        self._recent = recent
        self._clock = clock

    async def claim(self, slices: Sequence[int]) -> int:
        check_slices(slices)
        return await self._writer.submit(Job(partial(jobs.claim, slices=tuple(slices))))

    async def commit(self, commit: Commit) -> None:
        await self._writer.submit(CommitEntry(commit, self._clock.unix_time_s()))

    async def snapshot(self, key: EntityKey) -> Snapshot | None:
        page = self._recent.ahead.begin(key)
        return await self._read(partial(reads.snapshot, recent=self._recent, key=key, page=page))

    async def events(self, key: EntityKey, *, after: int, limit: int) -> list[StoredEvent]:
        check_page(limit=limit, after=after)
        page = self._recent.ahead.take(key, after=after, limit=limit)
        if page is not None:
            return page
        return await self._read(
            partial(reads.events, recent=self._recent, key=key, after=after, limit=limit)
        )

    async def last_sequence(self, key: EntityKey) -> int:
        return await self._read(partial(reads.last_sequence, recent=self._recent, key=key))

    async def value(self, key: EntityKey) -> StoredValue:
        return await self._read(partial(find_value, key=key))

    async def remembered_reply(self, key: EntityKey, command_key: str) -> RememberedReply | None:
        now_unix_s = self._clock.unix_time_s()
        return await self._read(
            partial(find_reply, key=key, command_key=command_key, now_unix_s=now_unix_s)
        )

    async def log(
        self, slices: range, *, after: Mapping[int, int], limit: int
    ) -> list[LoggedEvent]:
        check_page(limit=limit)
        check_slices(slices)
        return await self._read(
            partial(
                reads.log,
                recent=self._recent,
                slices=slices,
                after=dict(after),
                limit=limit,
            )
        )

    async def outbox(self, slices: range, *, after: int = 0, limit: int) -> list[OutboxMessage]:
        check_page(limit=limit, after=after)
        check_slices(slices)
        return await self._read(partial(messages.outbox, slices=slices, after=after, limit=limit))

    async def acknowledge(self, message_ids: Sequence[str]) -> None:
        await self._writer.submit(AcknowledgeEntry(message_ids))

    async def park(self, message_id: str, reason: str) -> bool:
        now_unix_s = self._clock.unix_time_s()
        name = message_id.encode()
        return await self._writer.submit(
            Job(lambda ledger: messages.park(ledger.connection, name, reason, now_unix_s))
        )

    async def unpark(self, message_ids: Sequence[str]) -> list[str]:
        names = list(message_ids)
        return await self._writer.submit(
            Job(lambda ledger: messages.unpark(ledger.connection, names))
        )

    async def parked(self, *, after: int = 0, limit: int) -> list[ParkedMessage]:
        check_page(limit=limit, after=after)
        return await self._read(partial(messages.parked, after=after, limit=limit))

    async def offsets(self, consumer: str) -> dict[int, int]:
        return await self._read(partial(reads.offsets, consumer=consumer.encode()))

    async def save_offsets(self, consumer: str, offsets: Mapping[int, int]) -> None:
        check_offsets(offsets)
        save = partial(jobs.save_offsets, consumer=consumer.encode(), offsets=dict(offsets))
        await self._writer.submit(Job(save))

    async def keys(
        self, persistence_id: str, *, prefix: str = "", after: str = "", limit: int
    ) -> list[EntityKey]:
        check_page(limit=limit)
        return await self._read(
            partial(
                reads.keys,
                persistence_id=persistence_id,
                prefix=prefix.encode(),
                after=after.encode(),
                limit=limit,
            )
        )

    async def delete(self, key: EntityKey, epoch: int) -> None:
        check_key(key)
        await self._writer.submit(Job(partial(jobs.delete, key=key, epoch=epoch)))

    async def check(self) -> None:
        await self._writer.submit(Job(jobs.probe))

    async def _read(self, query: Callable[[apsw.Connection], R]) -> R:
        try:
            return await self._readers.read(query)
        except Suspended:
            # Perhaps nobody writes: then nobody else lets the writer open the file.
            await self.check()
            return await self._readers.read(query)


@asynccontextmanager
async def open_store(
    settings: SqliteSettings, data_dir: Path, clock: Clock, *, vfs: str | None = None
) -> AsyncIterator[SqliteStore]:
    """Open the store, and close it in the end.

    Args:
        settings: The settings.
        data_dir: Where the file is; made if missing.
        clock: The time, for what is written beside an event.
        vfs: The name of the SQLite VFS to reach the file through, for tests of what happens when
            the disk fails; None for the usual one.

    Raises:
        StoreUnusable: It cannot be used. Nothing was changed.
    """
    database = Database(settings, data_dir, vfs)
    recent = Recent()
    readers = Readers(database, threads=settings.reader_threads)
    writer = Writer(
        Scribe(database, settings, recent, readers),
        max_batch_commits=settings.max_batch_commits,
        max_batch_bytes=settings.max_batch_bytes,
    )
    await writer.open()
    if settings.synchronous != "full":
        _log.warning(
            "durability_is_weakened",
            synchronous=settings.synchronous,
            consequence="a power cut takes back what was answered",
        )
    try:
        readers.open()
        yield SqliteStore(writer, readers, recent, clock)
    finally:
        await readers.close()
        await writer.close()
