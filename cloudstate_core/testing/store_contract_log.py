"""Cases of the store contract: the log of a slice has no gaps and hides no event."""

from __future__ import annotations

import asyncio

import pytest

from cloudstate_core.store import (
    AppendEvents,
    Commit,
    EntityKey,
    LoggedEvent,
    StateStore,
    slice_of,
)
from cloudstate_core.testing.store_contract_setting import (
    ALL_SLICES,
    StoreContractSetting,
    append,
    data_of,
    everything,
    key,
    payload,
    traces_of,
)

__all__ = ["LogCases"]


async def _all(store: StateStore, slices: range = ALL_SLICES) -> list[LoggedEvent]:
    return await store.log(slices, after={}, limit=100_000)


def _neighbours(count: int) -> list[EntityKey]:
    """Return different entities of one slice."""
    found: list[EntityKey] = []
    number = 0
    while len(found) < count:
        candidate = key(f"{number}")
        if slice_of(candidate) == slice_of(key("0")):
            found.append(candidate)
        number += 1
    return found


def _without_gaps(events: list[LoggedEvent]) -> bool:
    positions: dict[int, int] = {}
    for event in events:
        if event.position != positions.get(event.slice, 0) + 1:
            return False
        positions[event.slice] = event.position
    return True


class LogCases(StoreContractSetting):
    """The log of a slice has no gaps and hides no event."""

    async def test_the_log_says_what_was_written_where_and_when(self, store: StateStore) -> None:
        metadata = {"trace": "\u2603", "": "empty"}
        await store.commit(Commit(key(), 0, (AppendEvents(0, [payload("a")], metadata),)))
        await append(store, key(), 1, "b")

        first, second = await _all(store)

        assert first == LoggedEvent(
            slice_of(key()), 1, key(), 1, payload("a"), metadata, first.unix_time_s
        )
        assert (second.position, second.sequence, second.metadata) == (2, 2, {})
        assert second.unix_time_s >= first.unix_time_s > 0

    async def test_positions_of_a_slice_follow_the_commits_without_gaps(
        self, store: StateStore
    ) -> None:
        one, two, three = _neighbours(3)
        await append(store, one, 0, "a", "b")
        await append(store, two, 0, "c")
        await append(store, one, 2, "d")
        await append(store, three, 0, "e", "f")
        await append(store, key(), 0, "elsewhere")

        home = slice_of(one)
        events = await _all(store, range(home, home + 1))

        assert [event.payload.value for event in events] == [b"a", b"b", b"c", b"d", b"e", b"f"]
        assert [event.position for event in events] == [1, 2, 3, 4, 5, 6]
        assert [event.sequence for event in events] == [1, 2, 1, 3, 1, 2]

    async def test_a_refused_commit_leaves_no_gap(self, store: StateStore) -> None:
        one, two = _neighbours(2)
        await append(store, one, 0, "a")
        await asyncio.gather(
            append(store, one, 0, "refused"),
            append(store, two, 0, "b"),
            append(store, two, 7, "refused"),
            return_exceptions=True,
        )
        await append(store, one, 1, "c")

        events = await _all(store)

        assert [event.payload.value for event in events] == [b"a", b"b", b"c"]
        assert _without_gaps(events)

    async def test_writers_at_the_same_time_leave_no_gap(self, store: StateStore) -> None:
        entities = [*_neighbours(8), *(key(f"other {n}") for n in range(24))]

        async def write(entity: EntityKey) -> None:
            for sequence in range(0, 20, 2):
                await append(store, entity, sequence, "x", "y")

        await asyncio.gather(*(write(entity) for entity in entities))

        events = await _all(store)
        assert len(events) == 20 * len(entities)
        assert _without_gaps(events)
        for entity in entities:
            sequences = [event.sequence for event in events if event.key == entity]
            assert sequences == list(range(1, 21))

    async def test_a_reader_that_follows_the_writers_misses_nothing(
        self, store: StateStore
    ) -> None:
        entities = [*_neighbours(4), *(key(f"other {n}") for n in range(4))]
        writers = [asyncio.create_task(_write_fifty(store, entity)) for entity in entities]
        read: list[LoggedEvent] = []
        after: dict[int, int] = {}
        is_last = False
        while not is_last:
            is_last = all(writer.done() for writer in writers)
            page = await store.log(ALL_SLICES, after=after, limit=17)
            is_last = is_last and not page
            read += page
            after |= {event.slice: event.position for event in page}

        by_slice = sorted(read, key=lambda event: (event.slice, event.position))
        assert len(read) == 50 * len(entities)
        assert _without_gaps(by_slice)

    @pytest.mark.parametrize("after", range(7))
    @pytest.mark.parametrize("limit", [1, 2, 100])
    async def test_a_page_of_the_log_begins_after_a_position_and_ends_at_the_limit(
        self, store: StateStore, after: int, limit: int
    ) -> None:
        home = slice_of(key())
        await append(store, key(), 0, "a")
        await append(store, key(), 1, "b", "c", "d")
        await append(store, key(), 4, "e", "f")

        page = await store.log(range(home, home + 1), after={home: after}, limit=limit)

        expected = list(range(after + 1, 7))[:limit]
        assert [event.position for event in page] == expected

    async def test_the_log_of_some_slices_holds_the_events_of_their_entities(
        self, store: StateStore
    ) -> None:
        for n in range(50):
            await append(store, key(f"{n}"), 0, f"{n}")

        for slices in (range(512), range(512, 1024), range(0, 1024, 2), range(0)):
            found = {event.key.entity_id for event in await _all(store, slices)}
            assert found == {f"{n}" for n in range(50) if slice_of(key(f"{n}")) in slices}

    async def test_bounds_of_the_log_that_make_no_sense_are_refused(
        self, store: StateStore
    ) -> None:
        with pytest.raises(ValueError, match="limit"):
            await store.log(ALL_SLICES, after={}, limit=0)
        with pytest.raises(ValueError, match="slice"):
            await store.log(range(1020, 1030), after={}, limit=1)

    async def test_deleting_an_entity_erases_every_trace_of_it(self, store: StateStore) -> None:
        await store.commit(Commit(key(), 0, everything("it", sequence=0, revision=0)))
        await store.commit(Commit(key("other"), 0, everything("other", sequence=0, revision=0)))

        await store.delete(key(), 0)

        assert not any(await traces_of(store, key(), "it"))
        assert await store.last_sequence(key()) == 0
        assert (await store.value(key())).revision == 0
        assert await store.snapshot(key()) is None
        assert await store.keys("things", limit=10) == [key("other")]
        assert all(await traces_of(store, key("other"), "other"))

    async def test_deleting_what_is_not_there_is_no_error(self, store: StateStore) -> None:
        await store.delete(key(), 0)

        assert await store.last_sequence(key()) == 0

    async def test_a_deleted_entity_can_begin_anew(self, store: StateStore) -> None:
        await store.commit(Commit(key(), 0, everything("it", sequence=0, revision=0)))
        await store.delete(key(), 0)

        await store.commit(Commit(key(), 0, everything("it", sequence=0, revision=0)))

        assert all(await traces_of(store, key(), "it"))
        assert await data_of(store, key()) == [b"it 1", b"it 2"]
        assert (await store.value(key())).revision == 1

    async def test_positions_of_a_deleted_entity_stay_used(self, store: StateStore) -> None:
        one, two = _neighbours(2)
        await append(store, one, 0, "a")
        await append(store, two, 0, "b", "c")

        await store.delete(two, 0)
        await append(store, one, 1, "d")
        await append(store, two, 0, "e")

        assert [(event.position, event.payload.value) for event in await _all(store)] == [
            (1, b"a"),
            (4, b"d"),
            (5, b"e"),
        ]


async def _write_fifty(store: StateStore, entity: EntityKey) -> None:
    for sequence in range(50):
        await append(store, entity, sequence, "x")
