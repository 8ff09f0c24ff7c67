"""Cases of the store contract: snapshots and values."""

from __future__ import annotations

import pytest

from cloudstate_core.errors import RevisionConflict
from cloudstate_core.store import (
    AppendEvents,
    Commit,
    DeleteValue,
    PutSnapshot,
    PutValue,
    Snapshot,
    StateStore,
    StoredValue,
    Write,
)
from cloudstate_core.testing.store_contract_setting import (
    StoreContractSetting,
    append,
    data_of,
    key,
    payload,
)

__all__ = ["StateCases"]


async def _commit(store: StateStore, *writes: Write, entity_id: str = "e") -> None:
    await store.commit(Commit(key(entity_id), 0, writes))


class StateCases(StoreContractSetting):
    """Snapshots and values."""

    async def test_an_entity_has_no_snapshot_at_first(self, store: StateStore) -> None:
        assert await store.snapshot(key()) is None

    async def test_a_snapshot_comes_with_its_events_or_later(self, store: StateStore) -> None:
        await _commit(store, AppendEvents(0, [payload("a")]), PutSnapshot(1, payload("A")))
        assert await store.snapshot(key()) == Snapshot(1, payload("A"))

        await append(store, key(), 1, "b", "c")
        await _commit(store, PutSnapshot(2, payload("AB")))

        assert await store.snapshot(key()) == Snapshot(2, payload("AB"))
        tail = await store.events(key(), after=2, limit=10)
        assert [event.payload for event in tail] == [payload("c")]

    async def test_a_snapshot_of_the_same_or_a_larger_sequence_replaces(
        self, store: StateStore
    ) -> None:
        await append(store, key(), 0, "a", "b", "c")
        for snapshot in (Snapshot(1, payload("x")), Snapshot(3, payload("y"))):
            await _commit(store, PutSnapshot(snapshot.sequence, snapshot.state))
            assert await store.snapshot(key()) == snapshot

        await _commit(store, PutSnapshot(3, payload("z")))

        assert await store.snapshot(key()) == Snapshot(3, payload("z"))

    async def test_a_snapshot_older_than_the_kept_one_changes_nothing(
        self, store: StateStore
    ) -> None:
        await append(store, key(), 0, "a", "b", "c")
        await _commit(store, PutSnapshot(3, payload("new")))

        await _commit(store, PutSnapshot(2, payload("old")), AppendEvents(3, [payload("d")]))

        assert await store.snapshot(key()) == Snapshot(3, payload("new"))
        assert await data_of(store, key()) == [b"a", b"b", b"c", b"d"]

    async def test_a_snapshot_can_be_ahead_of_the_events(self, store: StateStore) -> None:
        await append(store, key(), 0, "a")

        await _commit(store, PutSnapshot(9, payload("ahead")))

        assert await store.snapshot(key()) == Snapshot(9, payload("ahead"))
        assert await store.events(key(), after=9, limit=10) == []
        assert await store.last_sequence(key()) == 1

    async def test_a_snapshot_without_events_is_kept(self, store: StateStore) -> None:
        await _commit(store, PutSnapshot(0, payload("")))

        assert await store.snapshot(key()) == Snapshot(0, payload(""))
        assert await store.keys("things", limit=10) == [key()]

    @pytest.mark.parametrize("events", [0, 1, 99, 100, 101, 250])
    async def test_an_entity_is_its_snapshot_and_all_events_after_it(
        self, store: StateStore, events: int
    ) -> None:
        await append(store, key(), 0, "a", "b", "c")
        await _commit(store, PutSnapshot(2, payload("AB")))
        for sequence in range(3, events + 3):
            await append(store, key(), sequence, f"{sequence}")

        for limit in (1000, events + 1, 5):
            snapshot = await store.snapshot(key())
            assert snapshot == Snapshot(2, payload("AB"))
            found = await store.events(key(), after=2, limit=limit)
            assert [event.sequence for event in found] == [*range(3, events + 4)][:limit]

    @pytest.mark.parametrize("has_snapshot", [False, True])
    async def test_what_is_written_after_a_snapshot_was_read_is_read_after_it(
        self, store: StateStore, *, has_snapshot: bool
    ) -> None:
        await append(store, key(), 0, "a")
        if has_snapshot:
            await _commit(store, PutSnapshot(0, payload("nothing yet")))

        await store.snapshot(key())
        await append(store, key(), 1, "b")
        assert [event.sequence for event in await store.events(key(), after=0, limit=9)] == [1, 2]

        await store.snapshot(key())
        await store.delete(key(), 0)
        assert await store.events(key(), after=0, limit=9) == []

        await store.snapshot(key())
        await append(store, key(), 0, "anew")
        assert await data_of(store, key()) == [b"anew"]

    async def test_events_stay_when_a_snapshot_covers_them(self, store: StateStore) -> None:
        await append(store, key(), 0, "a", "b")

        await _commit(store, PutSnapshot(2, payload("AB")))

        assert await data_of(store, key()) == [b"a", b"b"]

    async def test_a_large_snapshot_and_a_large_value_are_kept(self, store: StateStore) -> None:
        large = bytes(range(256)) * 16_384

        await _commit(store, PutSnapshot(0, payload(large)), PutValue(0, payload(large)))

        assert await store.snapshot(key()) == Snapshot(0, payload(large))
        assert await store.value(key()) == StoredValue(1, payload(large))

    async def test_an_entity_has_no_value_at_first(self, store: StateStore) -> None:
        assert await store.value(key()) == StoredValue(0, None)

    async def test_every_put_and_every_delete_counts_the_revision(self, store: StateStore) -> None:
        await _commit(store, PutValue(0, payload("a")))
        assert await store.value(key()) == StoredValue(1, payload("a"))
        await _commit(store, PutValue(1, payload("b")))
        assert await store.value(key()) == StoredValue(2, payload("b"))
        await _commit(store, DeleteValue(2))
        assert await store.value(key()) == StoredValue(3, None)
        await _commit(store, DeleteValue(3))
        assert await store.value(key()) == StoredValue(4, None)
        await _commit(store, PutValue(4, payload("c")))
        assert await store.value(key()) == StoredValue(5, payload("c"))

    @pytest.mark.parametrize("expected", [0, 1, 3])
    @pytest.mark.parametrize("deletes", [False, True])
    async def test_a_writer_that_expects_another_revision_writes_nothing(
        self, store: StateStore, expected: int, *, deletes: bool
    ) -> None:
        await _commit(store, PutValue(0, payload("a")))
        await _commit(store, PutValue(1, payload("b")))

        with pytest.raises(RevisionConflict) as caught:
            await _commit(
                store, DeleteValue(expected) if deletes else PutValue(expected, payload("c"))
            )

        assert (caught.value.expected, caught.value.actual) == (expected, 2)
        assert caught.value.entity_id == "e"
        assert await store.value(key()) == StoredValue(2, payload("b"))

    async def test_a_value_that_is_empty_is_there(self, store: StateStore) -> None:
        await _commit(store, PutValue(0, payload("")))

        assert await store.value(key()) == StoredValue(1, payload(""))

    async def test_events_and_value_of_an_entity_count_apart(self, store: StateStore) -> None:
        await _commit(store, AppendEvents(0, [payload("a"), payload("b")]))
        await _commit(store, PutValue(0, payload("v")))

        assert await store.last_sequence(key()) == 2
        assert (await store.value(key())).revision == 1

    async def test_changing_a_state_outside_changes_nothing_stored(self, store: StateStore) -> None:
        state, value = payload("before"), payload("before")
        await _commit(store, PutSnapshot(0, state), PutValue(0, value))

        state.value = value.value = b"after"
        for _ in range(2):
            snapshot, stored = await store.snapshot(key()), await store.value(key())
            assert snapshot is not None
            assert stored.value is not None
            assert (snapshot.state.value, stored.value.value) == (b"before", b"before")
            snapshot.state.value = stored.value.value = b"after"
