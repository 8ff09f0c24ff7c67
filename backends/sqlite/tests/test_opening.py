from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from google.protobuf.any_pb2 import Any
from structlog.testing import capture_logs

from cloudstate_core.clock import SystemClock
from cloudstate_core.errors import SettingsError, StoreUnusable
from cloudstate_core.plugins import load_plugins
from cloudstate_core.store import AppendEvents, Commit, EntityKey
from cloudstate_sqlite.backend import SqliteBackend
from cloudstate_sqlite.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import SqliteStore, open_store

KEY = EntityKey("things", "e")


async def append(store: SqliteStore, expected: int) -> None:
    await store.commit(Commit(KEY, 0, (AppendEvents(expected, [Any(value=b"x")]),)))


async def refusal(data_dir: Path, settings: SqliteSettings | None = None) -> str:
    """Return why a store cannot be opened."""
    with pytest.raises(StoreUnusable) as caught:
        async with open_store(settings or SqliteSettings(), data_dir, SystemClock()):
            pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def contents_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


# --- One process at a time -----------------------------------------------------------


async def test_a_directory_in_use_is_refused_by_name(tmp_path: Path) -> None:
    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        why = await refusal(tmp_path)
        assert repr(str(tmp_path)) in why
        assert f"pid {os.getpid()}" in why
        # Whoever was refused has not disturbed the other.
        await append(store, 0)

    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        assert await store.last_sequence(KEY) == 1


WRITER = """
import asyncio, sys
from pathlib import Path
from google.protobuf.any_pb2 import Any
from cloudstate_core.clock import SystemClock
from cloudstate_core.store import AppendEvents, Commit, EntityKey
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import open_store

async def write(store, name):
    key = EntityKey("things", name)
    sequence = await store.last_sequence(key)
    while True:
        await store.commit(Commit(key, 0, (AppendEvents(sequence, [Any(value=b"x")] * 2),)))
        sequence += 2
        print(name, sequence, flush=True)

async def main():
    settings = SqliteSettings(index_after_events=50, checkpoint_after_pages=20)
    async with open_store(settings, Path(sys.argv[1]), SystemClock()) as store:
        await asyncio.gather(*(write(store, f"{n}") for n in range(8)))

asyncio.run(main())
"""


def start_writer(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(data_dir)], stdout=subprocess.PIPE, text=True
    )


async def test_another_process_keeps_us_out_until_it_is_gone(tmp_path: Path) -> None:
    writer = start_writer(tmp_path)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert f"pid {writer.pid}" in await refusal(tmp_path)
    finally:
        writer.kill()
        writer.communicate()

    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        await store.check()


def run_and_kill_a_writer(data_dir: Path, lines: int, answered: dict[str, int]) -> None:
    """Let a process write, and note what it was answered before it is killed."""
    writer = start_writer(data_dir)
    assert writer.stdout is not None
    seen = [writer.stdout.readline() for _ in range(lines)]
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate()
    for line in [*seen, *rest.splitlines(keepends=True)]:
        if line.endswith("\n"):
            name, sequence = line.split()
            answered[name] = int(sequence)


async def test_a_program_that_has_the_file_open_all_the_time_does_no_harm(tmp_path: Path) -> None:
    answered: dict[str, int] = {}
    run_and_kill_a_writer(tmp_path, 300, answered)
    with closing(apsw.Connection(str(tmp_path / "cloudstate.db"))) as other:
        assert other.execute("SELECT count(*) FROM events").get > 0
        # Less than before, so that much of the log is what the first one left.
        run_and_kill_a_writer(tmp_path, 10, answered)

    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        for name, sequence in answered.items():
            events = await store.events(EntityKey("things", name), after=0, limit=100_000)
            assert len(events) >= sequence
    with closing(apsw.Connection(str(tmp_path / "cloudstate.db"))) as connection:
        assert connection.pragma("integrity_check") == "ok"


async def test_what_was_answered_is_there_after_the_process_was_killed(tmp_path: Path) -> None:
    answered: dict[str, int] = {}
    for lines in (1, 40, 150, 400, 777):
        run_and_kill_a_writer(tmp_path, lines, answered)

        async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
            for name, sequence in answered.items():
                events = await store.events(EntityKey("things", name), after=0, limit=100_000)
                assert len(events) >= sequence
                assert len(events) % 2 == 0
            positions: dict[int, int] = {}
            for event in await store.log(range(1024), after={}, limit=1_000_000):
                assert event.position == positions.get(event.slice, 0) + 1
                positions[event.slice] = event.position


# --- Files that cannot be used -------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"SQLite format 3\x00", b"SQLite format 3\x00" + bytes(4080)],
    ids=["empty", "text", "short", "zeros"],
)
async def test_another_kind_of_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cloudstate.db"
    file.write_bytes(content)

    why = await refusal(tmp_path)

    assert "another kind of file" in why
    assert repr(str(file)) in why
    assert file.read_bytes() == content
    assert not file.with_name("cloudstate.db-wal").exists()


async def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "cloudstate.db"
    with closing(apsw.Connection(str(file))) as other:
        other.pragma("journal_mode", "wal")
        other.execute("CREATE TABLE events (id)")
        before = contents_of(tmp_path)

        assert "another kind of file" in await refusal(tmp_path)

        after = contents_of(tmp_path)
        del after["cloudstate.db.lock"]
        assert after == before


@pytest.mark.parametrize("version", [0, min(MIGRATIONS) - 1, SCHEMA_VERSION + 1, 99])
async def test_a_store_of_another_version_is_left_alone(tmp_path: Path, version: int) -> None:
    file = tmp_path / "cloudstate.db"
    with closing(apsw.Connection(str(file))) as other:
        other.pragma("application_id", APPLICATION_ID)
        other.pragma("user_version", version)
        other.execute("CREATE TABLE of_the_future (id)")
    before = file.read_bytes()

    why = await refusal(tmp_path)

    assert f"expected a store of version {SCHEMA_VERSION}, found version {version}" in why
    assert file.read_bytes() == before


async def test_a_damaged_store_is_refused_with_one_line(tmp_path: Path) -> None:
    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        await append(store, 0)
    file = tmp_path / "cloudstate.db"
    content = bytearray(file.read_bytes())
    content[100:4096] = bytes(range(256)) * 15 + bytes(156)
    file.write_bytes(content)

    assert repr(str(file)) in await refusal(tmp_path)


async def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    for data_dir in (tmp_path / "file", tmp_path / "file" / "data", Path("/proc/cloudstate")):
        assert f"cannot write to data directory {str(data_dir)!r}" in await refusal(data_dir)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for the superuser")
async def test_a_directory_that_is_read_only_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    assert "cannot write to data directory" in await refusal(tmp_path)


async def test_after_a_refusal_the_directory_is_free(tmp_path: Path) -> None:
    file = tmp_path / "cloudstate.db"
    file.write_bytes(b"hello")
    await refusal(tmp_path)

    file.unlink()

    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        await append(store, 0)


# --- Files that are made -------------------------------------------------------------


async def test_directories_are_made_and_nobody_else_can_read_them(tmp_path: Path) -> None:
    data_dir = tmp_path / "a" / "b"
    async with open_store(SqliteSettings(), data_dir, SystemClock()) as store:
        await append(store, 0)
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data_dir.iterdir()}

    assert files == dict.fromkeys(
        ["cloudstate.db", "cloudstate.db-shm", "cloudstate.db-wal", "cloudstate.db.lock"], 0o600
    )
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


async def test_a_closed_store_is_one_file(tmp_path: Path) -> None:
    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        await append(store, 0)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cloudstate.db",
        "cloudstate.db.lock",
    ]
    with closing(apsw.Connection(str(tmp_path / "cloudstate.db"))) as connection:
        assert connection.execute("SELECT count(*) FROM events_by_entity").get == 1
        assert connection.pragma("integrity_check") == "ok"


async def test_a_file_that_was_being_made_when_the_process_ended_is_made_anew(
    tmp_path: Path,
) -> None:
    for name in ("cloudstate.db.new", "cloudstate.db.new-wal", "cloudstate.db.new-shm"):
        (tmp_path / name).write_bytes(b"half a file")

    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        await append(store, 0)


async def test_the_file_can_have_another_name(tmp_path: Path) -> None:
    settings = SqliteSettings(file="carts.db")
    async with (
        open_store(settings, tmp_path, SystemClock()) as carts,
        open_store(SqliteSettings(), tmp_path, SystemClock()) as others,
    ):
        await append(carts, 0)
        assert await others.last_sequence(KEY) == 0

    assert (tmp_path / "carts.db").exists()


async def test_many_stores_can_be_opened_and_closed(tmp_path: Path) -> None:
    for sequence in range(20):
        async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
            await append(store, sequence)


# --- The plugin ----------------------------------------------------------------------


async def test_a_weaker_setting_is_logged_at_every_start(tmp_path: Path) -> None:
    with capture_logs() as logs:
        for synchronous in ("full", "normal", "off"):
            settings = SqliteSettings(synchronous=synchronous)  # type: ignore[arg-type]
            async with open_store(settings, tmp_path, SystemClock()):
                pass

    assert [(log["event"], log["log_level"], log["synchronous"]) for log in logs] == [
        ("durability_is_weakened", "warning", "normal"),
        ("durability_is_weakened", "warning", "off"),
    ]


def test_the_installed_plugin_offers_the_store() -> None:
    backend = load_plugins().stores["sqlite"]

    assert isinstance(backend, SqliteBackend)
    assert backend.durable
    assert backend.describe(SqliteSettings(), Path("data")) == "in data/cloudstate.db"


async def test_settings_of_another_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SqliteSettings"):
        SqliteBackend().open(object(), tmp_path, SystemClock())


def test_a_loop_that_is_closed_before_the_store_hangs_nothing(tmp_path: Path) -> None:
    async def open_and_forget() -> SqliteStore:
        opening = open_store(SqliteSettings(), tmp_path, SystemClock())
        store = await opening.__aenter__()
        kept.append(opening)
        return store

    kept: list[object] = []
    loop = asyncio.new_event_loop()
    store = loop.run_until_complete(open_and_forget())
    with capture_logs() as logs:
        loop.call_soon(lambda: asyncio.ensure_future(append(store, 0), loop=loop))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        store._writer._batches.put(None)
        store._writer._thread.join(timeout=10)

    assert not store._writer._thread.is_alive()
    assert "store_outlived_its_event_loop" in [log["event"] for log in logs]
    for _ in store._readers._threads:
        store._readers._reads.put(None)
