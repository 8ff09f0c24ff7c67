"""The store contract finds a store that keeps less than it must."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cloudstate_core.errors import StoreError
from cloudstate_core.store import AmendValue, Commit, EntityKey, StoredValue
from cloudstate_core.stores import MemoryStore
from cloudstate_core.testing import ManualClock
from cloudstate_core.testing.store_contract import OpenStore, StateStoreContract

Case = Callable[[MemoryStore], Awaitable[None]]


class Dawdling(MemoryStore):
    """Every other commit waits a little before it is written."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self._commits = 0

    async def commit(self, commit: Commit) -> None:
        self._commits += 1
        if self._commits % 2:
            await asyncio.sleep(0)
        await super().commit(commit)


class Hoarding(MemoryStore):
    """Amendments stay when the value is put anew."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self._kept: dict[EntityKey, list[AmendValue]] = {}

    async def commit(self, commit: Commit) -> None:
        await super().commit(commit)
        for write in commit.writes:
            if isinstance(write, AmendValue):
                self._kept.setdefault(commit.key, []).append(write)

    async def value(self, key: EntityKey) -> StoredValue:
        stored = await super().value(key)
        kept = tuple(each.amendment for each in self._kept.get(key, ()))
        return StoredValue(stored.revision, stored.value, kept)


class Cases(StateStoreContract):
    __test__ = False

    @pytest.fixture
    def open_store(self) -> OpenStore:
        raise AssertionError("the cases get their store directly")


CASES = Cases()
ORDER: list[Case] = [
    CASES.test_commits_that_build_on_each_other_need_not_wait_for_each_other,
    CASES.test_the_order_of_one_entity_does_not_depend_on_the_others,
    CASES.test_callers_that_are_cancelled_keep_the_place_of_their_commits,
]
AMENDMENTS: list[Case] = [
    CASES.test_putting_amending_and_deleting_at_the_same_time,
    CASES.test_a_reader_never_sees_the_amendments_of_another_value,
    CASES.test_erasing_an_entity_erases_the_amendments_of_its_value,
]


@pytest.mark.parametrize("case", ORDER)
async def test_a_store_that_changes_the_order_of_commits_is_found(case: Case) -> None:
    with pytest.raises((StoreError, AssertionError)):
        await case(Dawdling())


@pytest.mark.parametrize("case", AMENDMENTS)
async def test_a_store_that_keeps_the_amendments_of_another_value_is_found(case: Case) -> None:
    with pytest.raises(AssertionError):
        await case(Hoarding())


@pytest.mark.parametrize("case", [*ORDER, *AMENDMENTS])
async def test_the_store_that_both_are_made_of_passes(case: Case) -> None:
    await case(MemoryStore(ManualClock()))
