"""Indexing, checkpoints and erasing, seen in the file."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.clock import SystemClock
from cloudstate_core.store import AmendValue, AppendEvents, Commit, EntityKey, StateStore, slice_of
from cloudstate_core.testing.store_contract_setting import everything
from cloudstate_sqlite.ledger import Ledger
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import SqliteStore, open_store

KEY = EntityKey("things", "e")
TABLES = {
    "entities": "entity",
    "snapshots": "entity",
    "entity_values": "entity",
    "amendments": "at >> 32",
    "replies": "entity",
    "received": "entity",
    "outbox": "entity",
    "events": "at >> 32",
    "events_by_entity": "at >> 32",
}


async def append(store: StateStore, expected: int, key: EntityKey = KEY, count: int = 1) -> None:
    events = [Any(value=b"x") for _ in range(count)]
    await store.commit(Commit(key, 0, (AppendEvents(expected, events),)))


def ledger_of(store: SqliteStore) -> Ledger:
    ledger = store._writer._scribe._ledger
    assert ledger is not None
    return ledger


def query(data_dir: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(apsw.Connection(str(data_dir / "cloudstate.db"))) as connection:
        return connection.execute(statement).fetchall()


async def test_events_are_indexed_when_there_are_enough_of_them(tmp_path: Path) -> None:
    settings = SqliteSettings(index_after_events=10)
    async with open_store(settings, tmp_path, SystemClock()) as store:
        for sequence in range(9):
            await append(store, sequence)
        await store.check()
        assert query(tmp_path, "SELECT count(*) FROM events_by_entity") == [(0,)]
        assert ledger_of(store).tail_events == 9

        await append(store, 9)
        await store.check()
        assert query(tmp_path, "SELECT count(*) FROM events_by_entity") == [(10,)]
        assert query(tmp_path, "SELECT count(*) FROM events_by_slice") == [(10,)]
        assert ledger_of(store).tail_events == 0
        # Readers need not search the tail for them any more.
        assert ledger_of(store).recent.keys == set()


async def test_the_log_of_sqlite_does_not_grow_without_end(tmp_path: Path) -> None:
    settings = SqliteSettings(checkpoint_after_pages=20, index_after_events=100)
    async with open_store(settings, tmp_path, SystemClock()) as store:
        for sequence in range(0, 3000, 10):
            await append(store, sequence, count=10)
        await store.check()
        pages = (tmp_path / "cloudstate.db-wal").stat().st_size / 4120

        assert pages < 150
        assert len(await store.events(KEY, after=0, limit=10_000)) == 3000


async def test_another_program_that_reads_may_delay_a_checkpoint_but_nothing_else(
    tmp_path: Path,
) -> None:
    settings = SqliteSettings(checkpoint_after_pages=10, index_after_events=20)
    async with open_store(settings, tmp_path, SystemClock()) as store:
        await append(store, 0)
        with closing(apsw.Connection(str(tmp_path / "cloudstate.db"))) as other, other:
            seen = other.execute("SELECT count(*) FROM events").get
            for sequence in range(1, 200):
                await append(store, sequence)
            assert other.execute("SELECT count(*) FROM events").get == seen
        for sequence in range(200, 300):
            await append(store, sequence)

        assert len(await store.events(KEY, after=0, limit=1000)) == 300


async def test_what_is_erased_is_in_no_table_and_its_bytes_not_in_the_file(
    tmp_path: Path,
) -> None:
    secret = "do-not-keep-this"
    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        await append(store, 0, EntityKey("things", "other"))
        for indexed in (False, True):
            key = EntityKey("things", f"{secret} {indexed}")
            await store.commit(Commit(key, 0, everything(secret, sequence=0, revision=0)))
            amendment = AmendValue(1, Any(value=f"{secret} amendment".encode()))
            await store.commit(Commit(key, 0, (amendment,)))
            if indexed:
                await _index(store)
            await store.delete(key, 0)

    for table, entity in TABLES.items():
        assert query(tmp_path, f"SELECT DISTINCT {entity} FROM {table}") in ([(1,)], [])
    home = slice_of(EntityKey("things", "other"))
    assert query(tmp_path, "SELECT DISTINCT log_at >> 44 FROM events_by_slice") == [(home,)]
    assert secret.encode() not in (tmp_path / "cloudstate.db").read_bytes()


async def _index(store: SqliteStore) -> None:
    """Let the writer do what it does when there are many events."""
    upkeep = store._writer._scribe._upkeep
    assert upkeep is not None
    await store.check()
    # The writer waits for work, so nobody else uses its connection.
    upkeep.index()


async def test_numbers_of_erased_entities_are_not_used_again(tmp_path: Path) -> None:
    numbers = []
    for n in range(3):
        async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
            key = EntityKey("things", f"{n}")
            await append(store, 0, key)
            numbers += query(tmp_path, "SELECT max(entity) FROM entities")
            await store.delete(key, 0)

    assert numbers == [(1,), (2,), (3,)]


@pytest.mark.parametrize("remembered", [1, 1000])
async def test_what_is_not_remembered_is_read_from_the_file(
    tmp_path: Path, remembered: int
) -> None:
    settings = SqliteSettings(remembered_entities=remembered, index_after_events=7)
    keys = [EntityKey("things", f"{n}") for n in range(20)]
    async with open_store(settings, tmp_path, SystemClock()) as store:
        for sequence in range(5):
            await asyncio.gather(*(append(store, sequence, key) for key in keys))
        assert (len(ledger_of(store)._heads) <= 1) is (remembered == 1)

        for key in keys:
            assert await store.last_sequence(key) == 5
