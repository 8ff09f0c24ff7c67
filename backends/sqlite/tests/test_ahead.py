from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.clock import SystemClock
from cloudstate_core.store import AppendEvents, Commit, EntityKey, StoredEvent
from cloudstate_sqlite import reads
from cloudstate_sqlite.ahead import MAX_PAGE_BYTES, MAX_PAGE_EVENTS, Ahead
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import SqliteStore, open_store

KEY = EntityKey("things", "e")


def stored(count: int, after: int = 0) -> list[StoredEvent]:
    return [StoredEvent(n, Any()) for n in range(after + 1, after + count + 1)]


def test_a_page_is_given_out_once() -> None:
    ahead = Ahead()
    page = ahead.begin(KEY)
    page.after, page.events = 2, stored(3, after=2)

    assert ahead.take(KEY, after=2, limit=10) == stored(3, after=2)
    assert ahead.take(KEY, after=2, limit=10) is None
    assert not ahead


def test_a_page_is_cut_to_the_limit() -> None:
    ahead = Ahead()
    ahead.begin(KEY).events = stored(3)

    assert ahead.take(KEY, after=0, limit=2) == stored(2)


def test_a_page_that_begins_elsewhere_is_not_given_out() -> None:
    ahead = Ahead()
    ahead.begin(KEY).events = stored(3)

    assert ahead.take(KEY, after=1, limit=10) is None


def test_a_page_that_is_not_filled_is_not_given_out() -> None:
    ahead = Ahead()
    ahead.begin(KEY)

    assert ahead.take(KEY, after=0, limit=10) is None


@pytest.mark.parametrize(("limit", "is_enough"), [(MAX_PAGE_EVENTS, True), (1000, False)])
def test_a_full_page_does_for_no_more_than_it_holds(limit: int, *, is_enough: bool) -> None:
    ahead = Ahead()
    ahead.begin(KEY).events = stored(MAX_PAGE_EVENTS)

    assert (ahead.take(KEY, after=0, limit=limit) is not None) is is_enough


def test_a_page_that_was_taken_away_is_filled_in_vain() -> None:
    ahead = Ahead()
    page = ahead.begin(KEY)
    ahead.forget(KEY)
    page.events = stored(3)

    assert ahead.take(KEY, after=0, limit=10) is None


def test_pages_that_nobody_asks_for_do_not_add_up() -> None:
    ahead = Ahead()
    for n in range(1000):
        ahead.begin(EntityKey("things", f"{n}")).events = stored(1)

    assert ahead.take(EntityKey("things", "0"), after=0, limit=1) is None
    assert ahead.take(EntityKey("things", "999"), after=0, limit=1) == stored(1)


async def append(store: SqliteStore, count: int, size_bytes: int = 1) -> None:
    events = AppendEvents(0, [Any(value=bytes(size_bytes)) for _ in range(count)])
    await store.commit(Commit(KEY, 0, (events,)))


async def reads_of_events(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, count: int
) -> list[int]:
    """Load an entity, and return the arguments `after` of the reads that this took."""
    asked: list[int] = []
    events = reads.events

    def note(*args: object, **kwargs: object) -> list[StoredEvent]:
        asked.append(kwargs["after"])  # type: ignore[arg-type]
        return events(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(reads, "events", note)
    assert await store.snapshot(KEY) is None
    assert len(await store.events(KEY, after=0, limit=1000)) == count
    return asked


@pytest.mark.parametrize("count", [1, MAX_PAGE_EVENTS - 1])
async def test_an_entity_of_few_events_is_loaded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        await append(store, count)
        assert await reads_of_events(store, monkeypatch, count) == []


async def test_an_entity_that_was_never_written_is_loaded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        assert await reads_of_events(store, monkeypatch, 0) == []


@pytest.mark.parametrize(
    ("count", "size_bytes"), [(MAX_PAGE_EVENTS, 1), (500, 1), (2, MAX_PAGE_BYTES)]
)
async def test_an_entity_of_many_or_large_events_is_read_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, size_bytes: int
) -> None:
    async with open_store(SqliteSettings(), tmp_path, SystemClock()) as store:
        await append(store, count, size_bytes)
        assert await reads_of_events(store, monkeypatch, count) == [0]
