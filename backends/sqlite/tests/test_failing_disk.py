from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from google.protobuf.any_pb2 import Any
from structlog.testing import capture_logs

from cloudstate_core.clock import SystemClock
from cloudstate_core.errors import LimitExceeded, StaleEpoch, StoreUnavailable
from cloudstate_core.store import AppendEvents, Commit, EntityKey
from cloudstate_sqlite.ledger import Ledger
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import SqliteStore, open_store
from cloudstate_sqlite.testing import FailingDisk
from cloudstate_sqlite.upkeep import Upkeep

KEY = EntityKey("things", "e")
SETTINGS = SqliteSettings(index_after_events=5)


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    with FailingDisk() as disk:
        yield disk


@pytest.fixture
async def store(tmp_path: Path, disk: FailingDisk) -> AsyncIterator[SqliteStore]:
    async with open_store(SETTINGS, tmp_path, SystemClock(), vfs=disk.name) as store:
        yield store


async def append(
    store: SqliteStore, expected: int, *, key: EntityKey = KEY, epoch: int = 0
) -> None:
    await store.commit(Commit(key, epoch, (AppendEvents(expected, [Any(value=b"x")]),)))


# --- A failed sync -------------------------------------------------------------------


async def test_all_commits_of_a_batch_whose_sync_fails_have_an_unknown_outcome(
    store: SqliteStore, disk: FailingDisk
) -> None:
    disk.fail_at(1, lasting=False, kinds=("sync",))

    outcomes = await asyncio.gather(
        *(append(store, 0, key=EntityKey("things", f"{n}")) for n in range(10)),
        return_exceptions=True,
    )

    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    assert "sync" in str(outcomes[0].detail)  # type: ignore[union-attr]
    assert "sync" not in str(outcomes[0])


async def test_after_a_failed_sync_the_store_is_opened_anew_before_it_goes_on(
    store: SqliteStore, disk: FailingDisk
) -> None:
    await append(store, 0)
    disk.fail_at(1, lasting=False, kinds=("sync",))
    with capture_logs() as logs:
        with pytest.raises(StoreUnavailable):
            await append(store, 1)
        await store.check()

    assert [log["event"] for log in logs] == ["store_stopped", "store_recovered"]
    await append(store, await store.last_sequence(KEY))
    events = await store.events(KEY, after=0, limit=10)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


async def test_as_long_as_syncs_fail_nothing_is_accepted_and_nothing_is_read(
    store: SqliteStore, disk: FailingDisk
) -> None:
    await append(store, 0)
    disk.fail_at(1, lasting=True, kinds=("sync",))
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await append(store, 1)
        with pytest.raises(StoreUnavailable):
            await store.check()
        with pytest.raises(StoreUnavailable):
            await store.events(KEY, after=0, limit=10)

    disk.stop()
    await store.check()
    assert await store.last_sequence(KEY) >= 1


async def test_a_store_that_is_only_read_becomes_well_again(
    store: SqliteStore, disk: FailingDisk
) -> None:
    await append(store, 0)
    disk.fail_at(1, lasting=False, kinds=("sync",))
    with pytest.raises(StoreUnavailable):
        await append(store, 1)

    found = await asyncio.gather(
        *(store.events(KEY, after=0, limit=10) for _ in range(5)), store.value(KEY)
    )

    assert all(found)


async def test_a_failed_read_is_said_to_the_reader_alone(
    store: SqliteStore, disk: FailingDisk, tmp_path: Path
) -> None:
    # Enough that it is not all in the memory of the reader.
    large = AppendEvents(0, [Any(value=bytes(1024 * 1024)) for _ in range(20)])
    await store.commit(Commit(KEY, 0, (large,)))
    # Now the writer has done all that it does after a commit.
    await store.check()

    disk.fail_at(1, lasting=True, kinds=("read",))
    with pytest.raises(StoreUnavailable):
        await store.events(KEY, after=0, limit=100)
    disk.stop()

    assert len(await store.events(KEY, after=0, limit=100)) == 20


# --- A full disk ---------------------------------------------------------------------


async def test_on_a_full_disk_a_commit_is_refused_and_nothing_of_it_written(
    store: SqliteStore, disk: FailingDisk, tmp_path: Path
) -> None:
    await append(store, 0)
    disk.error = apsw.FullError
    disk.fail_at(1, lasting=True, kinds=("write",))

    for _ in range(3):
        with pytest.raises(LimitExceeded, match="disk is full") as caught:
            await append(store, 1)
        assert caught.value.retry_after_s is not None
        assert await store.last_sequence(KEY) == 1

    disk.stop()
    await append(store, 1)
    assert await store.last_sequence(KEY) == 2


async def test_a_refusal_for_want_of_room_is_final_even_after_a_crash(
    tmp_path: Path, disk: FailingDisk
) -> None:
    for call in range(1, 20):
        data_dir = tmp_path / f"{call}"
        async with open_store(SETTINGS, data_dir, SystemClock(), vfs=disk.name) as store:
            await append(store, 0)
            disk.error = apsw.FullError
            disk.fail_at(call, lasting=True, kinds=("write",))
            try:
                await append(store, 1)
            except LimitExceeded:
                is_refused = True
            else:
                is_refused = False
            copy = tmp_path / f"copy {call}"
            copy.mkdir()
            for name in ("cloudstate.db", "cloudstate.db-wal"):
                (copy / name).write_bytes((data_dir / name).read_bytes())
            disk.stop()
        async with open_store(SETTINGS, copy, SystemClock()) as crashed:
            assert await crashed.last_sequence(KEY) == (1 if is_refused else 2)
        if not is_refused:
            break
    assert call > 1


async def test_sqlite_itself_says_that_the_file_is_full(store: SqliteStore) -> None:
    await append(store, 0)
    connection = store._writer._scribe._ledger.connection  # type: ignore[union-attr]
    connection.pragma("max_page_count", 1)

    with pytest.raises(LimitExceeded):
        await store.commit(Commit(KEY, 0, (AppendEvents(1, [Any(value=bytes(100_000))] * 10),)))

    connection.pragma("max_page_count", 2**30)
    await append(store, 1)
    assert await store.last_sequence(KEY) == 2


async def test_indexing_waits_for_room_and_nothing_is_lost_meanwhile(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Upkeep.index
    fail = True

    def index_or_fail(upkeep: Upkeep) -> None:
        if fail:
            raise apsw.FullError("the test lets this fail")
        index(upkeep)

    monkeypatch.setattr(Upkeep, "index", index_or_fail)
    with capture_logs() as logs:
        for sequence in range(20):
            await append(store, sequence)
        assert len(await store.events(KEY, after=0, limit=100)) == 20
        assert [event.position for event in await store.log(range(1024), after={}, limit=100)] == [
            *range(1, 21)
        ]
    fail = False
    await append(store, 20)

    assert {log["event"] for log in logs} == {"upkeep_postponed"}
    assert len(await store.events(KEY, after=0, limit=100)) == 21


async def test_a_failure_while_indexing_stops_the_store_but_loses_nothing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Upkeep, "index", _fail)
        with capture_logs() as logs:
            for sequence in range(5):
                await append(store, sequence)
            with pytest.raises(StoreUnavailable):
                # It cannot be opened either, since that indexes as well.
                await store.check()
    assert "store_stopped" in [log["event"] for log in logs]

    await store.check()
    assert len(await store.events(KEY, after=0, limit=100)) == 5


async def test_a_checkpoint_that_finds_no_room_is_made_later(
    store: SqliteStore, disk: FailingDisk
) -> None:
    await append(store, 0)
    upkeep = store._writer._scribe._upkeep
    assert upkeep is not None
    disk.error = apsw.FullError
    disk.fail_at(1, lasting=True)
    with capture_logs() as logs:
        upkeep.checkpoint()
    disk.stop()

    assert [log["event"] for log in logs] == ["checkpoint_postponed"]
    await append(store, 1)
    assert await store.last_sequence(KEY) == 2


# --- Other failures ------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, KeyboardInterrupt, SystemExit])
async def test_nothing_kills_the_thread_of_the_writer(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write", fail)
        with pytest.raises(StoreUnavailable):
            await append(store, 0)

    await append(store, 0)
    assert await store.last_sequence(KEY) == 1


async def test_a_file_that_another_program_changed_is_read_anew_before_anything_is_written(
    store: SqliteStore, tmp_path: Path
) -> None:
    await append(store, 0, epoch=1)
    with closing(apsw.Connection(str(tmp_path / "cloudstate.db"))) as other:
        other.execute("UPDATE slices SET epoch = 7")

    with pytest.raises(StoreUnavailable):
        await append(store, 1, epoch=1)
    with pytest.raises(StaleEpoch) as caught:
        await append(store, 1, epoch=1)

    assert caught.value.current == 7
    await append(store, 1, epoch=7)


async def test_closing_in_the_middle_of_failures_settles_every_commit(
    tmp_path: Path, disk: FailingDisk
) -> None:
    with capture_logs() as logs:
        async with open_store(SETTINGS, tmp_path, SystemClock(), vfs=disk.name) as store:
            keys = [EntityKey("things", f"{n}") for n in range(40)]
            disk.fail_at(1, lasting=True)
            callers = [asyncio.create_task(append(store, 0, key=key)) for key in keys]
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
    disk.stop()

    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    assert "store_stopped" in [log["event"] for log in logs]
    async with open_store(SETTINGS, tmp_path, SystemClock()) as store:
        await append(store, 0, key=EntityKey("things", "new"))


async def test_a_store_whose_file_cannot_be_brought_up_to_date_when_it_closes_loses_nothing(
    tmp_path: Path, disk: FailingDisk
) -> None:
    with capture_logs() as logs:
        async with open_store(SETTINGS, tmp_path, SystemClock(), vfs=disk.name) as store:
            await append(store, 0)
            disk.fail_at(1, lasting=True)
        disk.stop()

    assert [log["event"] for log in logs] == ["store_closed_without_checkpoint"]
    async with open_store(SETTINGS, tmp_path, SystemClock()) as store:
        assert await store.last_sequence(KEY) == 1


def _fail(*_: object) -> None:
    raise apsw.IOError("the test lets this fail")
