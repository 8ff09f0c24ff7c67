from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudstate_core.testing import ManualClock
from cloudstate_core.testing.store_contract import OpenStore, StateStoreContract
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import open_store
from cloudstate_sqlite.testing import FailingDisk


class TestSqliteStore(StateStoreContract):
    @pytest.fixture
    def faults(self) -> Iterator[FailingDisk]:
        with FailingDisk() as disk:
            yield disk

    @pytest.fixture
    def open_store(self, tmp_path: Path, clock: ManualClock, faults: FailingDisk) -> OpenStore:
        settings = SqliteSettings(checkpoint_after_pages=50, reader_threads=2)
        return lambda: open_store(settings, tmp_path, clock, vfs=faults.name)


class TestSqliteStoreThatIndexesAllTheTime(StateStoreContract):
    """So that events are found in the indexes, in the tail, and in both."""

    @pytest.fixture
    def open_store(self, tmp_path: Path, clock: ManualClock) -> OpenStore:
        settings = SqliteSettings(
            index_after_events=3,
            checkpoint_after_pages=20,
            remembered_entities=2,
            max_batch_commits=7,
        )
        return lambda: open_store(settings, tmp_path, clock)

    # It would index thousands of times, to the same effect.
    test_every_character_can_be_in_an_id = None
