"""A file that an earlier release wrote is one of this release when it is opened."""

from __future__ import annotations

import shutil
from contextlib import AbstractAsyncContextManager, closing
from itertools import count
from pathlib import Path
from random import Random

import apsw
import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import StoreUnusable
from cloudstate_core.store import (
    AmendValue,
    AppendEvents,
    Commit,
    EntityKey,
    RememberedReply,
    Snapshot,
    StateStore,
    StoredValue,
)
from cloudstate_core.testing import ManualClock
from cloudstate_sqlite import database
from cloudstate_sqlite.schema import MIGRATIONS, SCHEMA_VERSION
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import SqliteStore, open_store
from cloudstate_sqlite.testing import FailingDisk, PowerCutDisk

ONE, TWO = EntityKey("things", "one"), EntityKey("things", "two")
FILE = "cloudstate.db"

# A short log: all of it is written when a store is opened.
SETTINGS = SqliteSettings(checkpoint_after_pages=25, busy_timeout_s=0)
WRITTEN = {3: Path(__file__).with_name("version_3.sql")}


@pytest.fixture(params=sorted(MIGRATIONS))
def old_dir(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a data directory that an earlier release left when its process was killed."""
    with closing(apsw.Connection(str(tmp_path / FILE))) as connection:
        connection.pragma("journal_mode", "wal")
        with connection:
            connection.execute(WRITTEN[request.param].read_text())
        connection.wal_checkpoint()
        # This one is in the log alone.
        connection.execute("UPDATE counters SET value = 7 WHERE name = 'recoveries'")
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    assert version_in(tmp_path) == request.param
    return tmp_path


def opened(data_dir: Path, vfs: str | None = None) -> AbstractAsyncContextManager[SqliteStore]:
    return open_store(SETTINGS, data_dir, ManualClock(unix_time_s=1000.0), vfs=vfs)


def version_in(data_dir: Path) -> int:
    """Return the version that stands in the header, where an earlier release looks for it."""
    return int.from_bytes((data_dir / FILE).read_bytes()[60:64], "big")


def payload(content: str) -> Any:
    return Any(type_url="t/x", value=content.encode())


async def check_contents(store: StateStore) -> None:
    """Fail if anything is missing of what the earlier release had written."""
    assert await store.value(ONE) == StoredValue(1, payload("one value"))
    assert await store.value(TWO) == StoredValue(2, None)
    for key in (ONE, TWO):
        name = key.entity_id
        found = await store.events(key, after=0, limit=10)
        assert [event.payload for event in found] == [payload(f"{name} 1"), payload(f"{name} 2")]
        assert await store.snapshot(key) == Snapshot(1, payload(f"{name} snapshot"))
        assert await store.remembered_reply(key, "command") == RememberedReply(b"digest", b"reply")
    messages = await store.outbox(range(1024), limit=10)
    assert [each.message_id for each in messages] == ["one out", "two out"]
    assert len(await store.log(range(1024), after={}, limit=10)) == 4
    assert await store.offsets("reader") == {3: 4}
    assert await store.claim([3]) == 2


async def test_a_file_of_an_earlier_release_holds_all_that_it_held(old_dir: Path) -> None:
    async with opened(old_dir) as store:
        assert version_in(old_dir) == SCHEMA_VERSION
        await check_contents(store)
        await store.commit(Commit(ONE, 9, (AppendEvents(2, [payload("one 3")]),)))

    async with opened(old_dir) as store:
        assert await store.last_sequence(ONE) == 3
    with closing(apsw.Connection(str(old_dir / FILE))) as connection:
        recoveries = "SELECT value FROM counters WHERE name = 'recoveries'"
        assert connection.execute(recoveries).get == 7
        assert connection.pragma("integrity_check") == "ok"


async def test_its_values_can_be_amended(old_dir: Path) -> None:
    async with opened(old_dir) as store:
        await store.commit(Commit(ONE, 9, (AmendValue(1, payload("more")),)))

    async with opened(old_dir) as store:
        assert await store.value(ONE) == StoredValue(2, payload("one value"), (payload("more"),))


async def test_it_has_the_tables_of_a_new_file(old_dir: Path) -> None:
    new_dir = old_dir / "new"
    for data_dir in (old_dir, new_dir):
        async with opened(data_dir):
            pass

    assert tables_of(old_dir) == tables_of(new_dir)


def tables_of(data_dir: Path) -> list[tuple[object, ...]]:
    with closing(apsw.Connection(str(data_dir / FILE))) as connection:
        return connection.execute(
            "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
        ).fetchall()


async def test_a_failure_at_any_call_of_the_disk_leaves_a_file_that_can_be_opened(
    old_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refused = 0
    for call in count(1):
        data_dir = tmp_path_factory.mktemp("copy") / "data"
        shutil.copytree(old_dir, data_dir)
        with FailingDisk() as disk:
            disk.fail_at(call, lasting=True)
            try:
                async with opened(data_dir, disk.name) as store:
                    pass
            except StoreUnusable:
                refused += 1
            was_reached = disk.stop()
        async with opened(data_dir) as store:
            assert version_in(data_dir) == SCHEMA_VERSION
            await check_contents(store)
        if not was_reached:
            break
    assert refused >= 3


async def test_a_power_cut_at_any_moment_leaves_a_file_that_can_be_opened(
    old_dir: Path, memory_dir: Path
) -> None:
    assert await losses_by_power_cuts(old_dir, memory_dir) == 0


async def test_the_loss_is_found_if_the_tables_are_made_before_the_transaction(
    old_dir: Path, memory_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def migrate(connection: apsw.Connection) -> None:
        connection.execute(MIGRATIONS[SCHEMA_VERSION - 1])
        connection.pragma("user_version", SCHEMA_VERSION)
        connection.wal_checkpoint()

    monkeypatch.setattr(database, "_migrate", migrate)

    assert await losses_by_power_cuts(old_dir, memory_dir) > 0


async def losses_by_power_cuts(old_dir: Path, memory_dir: Path) -> int:
    with PowerCutDisk() as disk:
        async with opened(old_dir, disk.name):
            pass
    losses = cuts = 0
    for _, image in disk.images(Random(5), per_operation=4):
        data_dir = memory_dir / f"{cuts}"
        data_dir.mkdir()
        for path, content in image.items():
            (data_dir / path.name).write_bytes(content)
        try:
            async with opened(data_dir) as store:
                await check_contents(store)
        except StoreUnusable:
            losses += 1
        shutil.rmtree(data_dir)
        cuts += 1
    assert cuts >= 50
    return losses


async def test_a_reader_in_the_way_is_no_reason_to_leave_the_old_version_in_the_header(
    old_dir: Path,
) -> None:
    with closing(apsw.Connection(str(old_dir / FILE))) as other, other:
        assert other.execute("SELECT count(*) FROM events").get == 4
        with pytest.raises(StoreUnusable, match="locked"):
            async with opened(old_dir):
                pass

    async with opened(old_dir) as store:
        assert version_in(old_dir) == SCHEMA_VERSION
        await check_contents(store)
