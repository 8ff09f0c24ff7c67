from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.store import AppendEvents, Commit, EntityKey, StateStore
from cloudstate_core.stores import MemoryBackend, MemorySettings
from cloudstate_core.testing import ManualClock
from cloudstate_core.testing.store_contract import OpenStore, StateStoreContract


class TestMemoryStore(StateStoreContract):
    durable = False

    @pytest.fixture
    def open_store(self, tmp_path: Path, clock: ManualClock) -> OpenStore:
        return lambda: MemoryBackend().open(MemorySettings(), tmp_path, clock)


@asynccontextmanager
async def opened(clock: ManualClock, data_dir: Path) -> AsyncIterator[StateStore]:
    async with MemoryBackend().open(MemorySettings(), data_dir, clock) as store:
        yield store


async def test_the_time_of_an_event_is_that_of_the_clock(tmp_path: Path) -> None:
    clock = ManualClock(unix_time_s=1000.0)
    async with opened(clock, tmp_path) as store:
        for sequence in range(2):
            events = AppendEvents(sequence, [Any()])
            await store.commit(Commit(EntityKey("things", "e"), 0, (events,)))
            await clock.advance(2.5)

        log = await store.log(range(1024), after={}, limit=10)

    assert [event.unix_time_s for event in log] == [1000.0, 1002.5]


async def test_nothing_is_written_to_disk_and_nothing_is_kept(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    key = EntityKey("things", "e")
    async with opened(ManualClock(), data_dir) as store:
        await store.commit(Commit(key, 0, (AppendEvents(0, [Any()]),)))
    async with opened(ManualClock(), data_dir) as store:
        assert await store.last_sequence(key) == 0

    assert not data_dir.exists()


def test_the_backend_says_that_nothing_is_kept() -> None:
    backend = MemoryBackend()

    assert (backend.name, backend.durable) == ("memory", False)
    assert "gone" in backend.describe(MemorySettings(), Path("data"))
