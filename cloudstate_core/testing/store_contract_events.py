"""Cases of the store contract: events are kept in order, verbatim, and read in pages."""

from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import LimitExceeded
from cloudstate_core.store import MAX_PAYLOAD_BYTES, AppendEvents, Commit, StateStore, StoredEvent
from cloudstate_core.testing.store_contract_setting import (
    StoreContractSetting,
    append,
    data_of,
    key,
    payload,
)

__all__ = ["EventCases"]

_MANY_EVENTS = 10_000


class EventCases(StoreContractSetting):
    """Events are kept in order, verbatim, and read in pages."""

    async def test_an_entity_that_never_wrote_has_nothing(self, store: StateStore) -> None:
        assert await store.events(key(), after=0, limit=10) == []
        assert await store.last_sequence(key()) == 0

    async def test_events_come_back_as_they_were_appended(self, store: StateStore) -> None:
        events = [
            Any(type_url="type.googleapis.com/example.Added", value=b"\x0a\x01x"),
            Any(type_url="p.cloudstate.io/string", value=b""),
            Any(type_url="json.cloudstate.io/object", value=b"\x0a\x02{}"),
            Any(type_url="", value=bytes(range(256))),
            Any(type_url="nobody.knows/this\x00'%_\u2603", value=b"\xff\x00"),
        ]

        await store.commit(Commit(key(), 0, (AppendEvents(0, events),)))

        found = await store.events(key(), after=0, limit=10)
        assert found == [StoredEvent(n, event) for n, event in enumerate(events, 1)]
        assert [event.payload.type_url for event in found] == [event.type_url for event in events]

    async def test_sequences_count_on_from_commit_to_commit(self, store: StateStore) -> None:
        await append(store, key(), 0, "a")
        await append(store, key(), 1, "b", "c")
        await append(store, key(), 3, "d")

        found = await store.events(key(), after=0, limit=10)

        assert [event.sequence for event in found] == [1, 2, 3, 4]
        assert [event.payload.value for event in found] == [b"a", b"b", b"c", b"d"]
        assert await store.last_sequence(key()) == 4

    async def test_two_appends_of_one_commit_follow_each_other(self, store: StateStore) -> None:
        writes = (AppendEvents(0, [payload("a")]), AppendEvents(1, [payload("b")]))

        await store.commit(Commit(key(), 0, writes))

        assert await data_of(store, key()) == [b"a", b"b"]

    @pytest.mark.parametrize(
        ("after", "limit", "expected"),
        [
            (0, 10, [1, 2, 3, 4, 5]),
            (0, 5, [1, 2, 3, 4, 5]),
            (0, 2, [1, 2]),
            (2, 2, [3, 4]),
            (4, 2, [5]),
            (5, 2, []),
            (99, 2, []),
            (2**62, 2**62, []),
        ],
    )
    async def test_a_page_begins_after_a_sequence_and_ends_at_the_limit(
        self, store: StateStore, after: int, limit: int, expected: list[int]
    ) -> None:
        await append(store, key(), 0, "a", "b", "c")
        await append(store, key(), 3, "d", "e")

        found = await store.events(key(), after=after, limit=limit)

        assert [event.sequence for event in found] == expected

    @pytest.mark.parametrize(("after", "limit"), [(-1, 1), (0, 0), (0, -5)])
    async def test_bounds_that_make_no_sense_are_refused(
        self, store: StateStore, after: int, limit: int
    ) -> None:
        with pytest.raises(ValueError, match="expected"):
            await store.events(key(), after=after, limit=limit)

    async def test_entities_do_not_see_each_others_events(self, store: StateStore) -> None:
        await append(store, key("one"), 0, "a")
        await append(store, key("two"), 0, "b", "c")

        assert await data_of(store, key("one")) == [b"a"]
        assert await data_of(store, key("two")) == [b"b", b"c"]

    @pytest.mark.parametrize(
        "size_bytes", [0, 1, 1000, 4096, 65_537, 1024 * 1024, MAX_PAYLOAD_BYTES]
    )
    async def test_a_payload_up_to_the_limit_is_kept(
        self, store: StateStore, size_bytes: int
    ) -> None:
        content = (b"0123456789abcdef" * (size_bytes // 16 + 1))[:size_bytes]

        await append(store, key(), 0, content, "and another")

        assert await data_of(store, key()) == [content, b"and another"]

    async def test_a_payload_over_the_limit_is_refused_with_its_commit(
        self, store: StateStore
    ) -> None:
        await append(store, key(), 0, "a")

        with pytest.raises(LimitExceeded):
            await append(store, key(), 1, "small", bytes(MAX_PAYLOAD_BYTES + 1))

        assert await data_of(store, key()) == [b"a"]

    async def test_no_events_are_no_append(self, store: StateStore) -> None:
        with pytest.raises(ValueError, match="events"):
            await append(store, key(), 0)

    async def test_a_thousand_events_in_one_commit(self, store: StateStore) -> None:
        contents = [f"{n}" for n in range(1000)]

        await append(store, key(), 0, *contents)

        assert await data_of(store, key()) == [content.encode() for content in contents]

    async def test_ten_thousand_events_of_one_entity_are_read_in_pages(
        self, store: StateStore
    ) -> None:
        for first in range(0, _MANY_EVENTS, 500):
            await append(store, key(), first, *(f"{n}" for n in range(first, first + 500)))

        sequences: list[int] = []
        while page := await store.events(key(), after=len(sequences), limit=999):
            sequences += [event.sequence for event in page]
            assert len(page) == 999 or len(sequences) == _MANY_EVENTS

        assert sequences == list(range(1, _MANY_EVENTS + 1))
        assert await store.last_sequence(key()) == _MANY_EVENTS

    async def test_changing_what_was_passed_changes_nothing_stored(self, store: StateStore) -> None:
        event, metadata = payload("before"), {"k": "before"}
        events = [event]
        await store.commit(Commit(key(), 0, (AppendEvents(0, events, metadata),)))

        event.value = b"after"
        events.append(payload("more"))
        metadata["k"] = "after"

        assert await data_of(store, key()) == [b"before"]
        (logged,) = await store.log(range(1024), after={}, limit=10)
        assert (logged.payload.value, logged.metadata) == (b"before", {"k": "before"})

    async def test_changing_what_came_back_changes_nothing_stored(self, store: StateStore) -> None:
        await append(store, key(), 0, "before")

        found = await store.events(key(), after=0, limit=10)
        found[0].payload.value = b"after"
        found.clear()
        (logged,) = await store.log(range(1024), after={}, limit=10)
        logged.payload.value = b"after"

        assert await data_of(store, key()) == [b"before"]
