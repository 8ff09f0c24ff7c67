"""Remembered replies take no more room in the file than what is kept."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from cloudstate_core.store import Commit, EntityKey, RememberReply, StateStore
from cloudstate_core.testing import ManualClock
from cloudstate_sqlite import replies
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import open_store


async def remember(
    store: StateStore, entity: int, name: str, *, keep_s: float = 10, keep_count: int = 1000
) -> None:
    reply = RememberReply(name, b"digest", b"reply", keep_s=keep_s, keep_count=keep_count)
    await store.commit(Commit(EntityKey("things", f"{entity}"), 0, (reply,)))


def rows_in(data_dir: Path) -> int:
    with closing(apsw.Connection(str(data_dir / "cloudstate.db"))) as connection:
        count: int = connection.execute("SELECT count(*) FROM replies").get
        return count


async def test_replies_of_entities_that_never_come_back_leave_the_file(tmp_path: Path) -> None:
    clock, largest = ManualClock(), 0
    async with open_store(SqliteSettings(), tmp_path, clock) as store:
        for entity in range(1000):
            await remember(store, entity, "c")
            await clock.advance(1)
            if entity % 50 == 0:
                largest = max(largest, rows_in(tmp_path))

        assert largest <= 11  # as many as come in ten seconds, and the one that was added last


async def test_many_whose_time_is_over_leave_a_few_at_a_time(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_store(SqliteSettings(), tmp_path, clock) as store:
        for entity in range(100):
            await remember(store, entity, "c")
        await clock.advance(11)

        await remember(store, 0, "d")
        assert rows_in(tmp_path) == 97
        for n in range(30):
            await remember(store, 0, f"{n}")
        assert rows_in(tmp_path) == 31


async def test_an_entity_has_no_more_rows_than_it_may(tmp_path: Path) -> None:
    async with open_store(SqliteSettings(), tmp_path, ManualClock()) as store:
        for n in range(40):
            await remember(store, 1, f"{n}", keep_count=5)
            await remember(store, 2, f"{n}", keep_count=7)

        assert rows_in(tmp_path) == 12


async def test_what_is_to_be_removed_is_found_through_an_index(tmp_path: Path) -> None:
    async with open_store(SqliteSettings(), tmp_path, ManualClock()) as store:
        await remember(store, 1, "c")
        with closing(apsw.Connection(str(tmp_path / "cloudstate.db"))) as connection:
            for statement in (replies._REMOVE_OLD, replies._REMOVE_SURPLUS):
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", (1, 1)).fetchall()
                assert plan
                assert not [step for *_, step in plan if step.startswith("SCAN")]
