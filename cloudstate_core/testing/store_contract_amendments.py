"""Cases of the store contract: what is added to a value is read with it, until it is put anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import (
    LimitExceeded,
    RevisionConflict,
    SequenceConflict,
    StaleEpoch,
)
from cloudstate_core.store import (
    MAX_AMENDMENTS,
    MAX_PAYLOAD_BYTES,
    AmendValue,
    AppendEvents,
    DeleteValue,
    PutValue,
    StateStore,
    StoredValue,
    Write,
)
from cloudstate_core.testing.store_contract_setting import (
    ALL_SLICES,
    OpenStore,
    StoreContractSetting,
    amended,
    commit,
    data_of,
    key,
    payload,
    put_and_amend,
)

__all__ = ["AmendmentCases"]

_VALUE_WRITES: list[Write] = [
    PutValue(1, payload("put")),
    AmendValue(1, payload("amended")),
    DeleteValue(1),
]

_ENDINGS: list[Write] = [PutValue(4, payload("anew")), DeleteValue(4)]


def _type_name(write: Write) -> str:
    return type(write).__name__


class AmendmentCases(StoreContractSetting):
    """What is added to a value is read with it, until the value is put anew."""

    async def test_amendments_come_with_the_value_oldest_first(self, store: StateStore) -> None:
        await commit(store, PutValue(0, payload("v")))
        assert await store.value(key()) == StoredValue(1, payload("v"))

        for revision in range(1, 4):
            await commit(store, AmendValue(revision, payload(f"{revision}")))
            expected = tuple(payload(f"{n}") for n in range(1, revision + 1))
            assert await store.value(key()) == StoredValue(revision + 1, payload("v"), expected)

    async def test_an_amendment_comes_back_as_it_was_written(self, store: StateStore) -> None:
        amendments = [
            Any(type_url="type.googleapis.com/example.Added", value=b"\x0a\x01x"),
            Any(type_url="", value=b""),
            Any(type_url="nobody.knows/this\x00'%_\u2603", value=b"\xff\x00"),
            payload(bytes(range(256)) * 16_384),
        ]
        await commit(store, PutValue(0, payload("")))

        for revision, amendment in enumerate(amendments, 1):
            await commit(store, AmendValue(revision, amendment))

        assert await store.value(key()) == StoredValue(5, payload(""), tuple(amendments))

    @pytest.mark.parametrize("expected", [0, 1, 2, 4, 2**62])
    async def test_a_writer_that_expects_another_revision_amends_nothing(
        self, store: StateStore, expected: int
    ) -> None:
        await put_and_amend(store, "v", "a", "b")

        with pytest.raises(RevisionConflict) as caught:
            await commit(store, AmendValue(expected, payload("c")))

        assert (caught.value.expected, caught.value.actual) == (expected, 3)
        assert caught.value.entity_id == "e"
        assert await store.value(key()) == amended(3, "v", "a", "b")

    @pytest.mark.parametrize("write", [PutValue(1, payload("w")), DeleteValue(1)], ids=_type_name)
    async def test_an_amendment_counts_the_revision_for_every_writer(
        self, store: StateStore, write: Write
    ) -> None:
        await put_and_amend(store, "v", "a")

        with pytest.raises(RevisionConflict) as caught:
            await commit(store, write)

        assert (caught.value.expected, caught.value.actual) == (1, 2)
        assert await store.value(key()) == amended(2, "v", "a")

    async def test_what_was_never_written_cannot_be_amended(self, store: StateStore) -> None:
        with pytest.raises(RevisionConflict, match="found no value, at revision 0"):
            await commit(store, AmendValue(0, payload("a")))

        await commit(store, AppendEvents(0, [payload("x")]))
        with pytest.raises(RevisionConflict, match="found no value, at revision 0"):
            await commit(store, AmendValue(0, payload("a")))
        assert await store.value(key()) == StoredValue(0, None)

    async def test_what_is_deleted_cannot_be_amended(self, store: StateStore) -> None:
        await commit(store, PutValue(0, payload("v")))
        await commit(store, DeleteValue(1))

        with pytest.raises(RevisionConflict, match="found no value, at revision 2") as caught:
            await commit(store, AmendValue(2, payload("a")))

        assert (caught.value.expected, caught.value.actual) == (2, 2)
        assert await store.value(key()) == StoredValue(2, None)

    @pytest.mark.parametrize("ending", _ENDINGS, ids=_type_name)
    async def test_putting_and_deleting_a_value_end_its_amendments(
        self, store: StateStore, ending: Write
    ) -> None:
        await put_and_amend(store, "v", "a", "b", "c")

        await commit(store, ending)

        kept = payload("anew") if isinstance(ending, PutValue) else None
        assert await store.value(key()) == StoredValue(5, kept)
        await commit(store, PutValue(5, payload("w")))
        assert await store.value(key()) == StoredValue(6, payload("w"))
        await commit(store, AmendValue(6, payload("d")))
        assert await store.value(key()) == amended(7, "w", "d")

    async def test_putting_amending_and_deleting_at_the_same_time(self, store: StateStore) -> None:
        writes: list[Write] = [
            PutValue(0, payload("v")),
            AmendValue(1, payload("a")),
            AmendValue(2, payload("b")),
            PutValue(3, payload("w")),
            AmendValue(4, payload("c")),
            DeleteValue(5),
            PutValue(6, payload("x")),
            AmendValue(7, payload("d")),
            AmendValue(8, payload("e")),
        ]
        for count in range(1, len(writes) + 1):
            entity = key(f"{count}")
            await asyncio.gather(*(commit(store, each, entity=entity) for each in writes[:count]))

        found = [await store.value(key(f"{count}")) for count in range(1, len(writes) + 1)]

        assert found == [
            amended(1, "v"),
            amended(2, "v", "a"),
            amended(3, "v", "a", "b"),
            amended(4, "w"),
            amended(5, "w", "c"),
            StoredValue(6, None),
            amended(7, "x"),
            amended(8, "x", "d"),
            amended(9, "x", "d", "e"),
        ]

    @pytest.mark.parametrize("second", _VALUE_WRITES, ids=_type_name)
    @pytest.mark.parametrize("first", _VALUE_WRITES, ids=_type_name)
    async def test_a_commit_changes_a_value_once(
        self, store: StateStore, first: Write, second: Write
    ) -> None:
        await commit(store, PutValue(0, payload("v")))

        with pytest.raises(ValueError, match="value '' once in a commit"):
            await commit(store, first, second)

        assert await store.value(key()) == amended(1, "v")

    async def test_a_value_takes_so_many_amendments_and_no_more(self, store: StateStore) -> None:
        await commit(store, PutValue(0, payload("v")))
        amendments = [payload(f"{n}") for n in range(MAX_AMENDMENTS)]
        await asyncio.gather(
            *(commit(store, AmendValue(n, each)) for n, each in enumerate(amendments, 1))
        )
        full = StoredValue(MAX_AMENDMENTS + 1, payload("v"), tuple(amendments))
        assert await store.value(key()) == full

        with pytest.raises(LimitExceeded, match=f"at most {MAX_AMENDMENTS} amendments"):
            await commit(
                store,
                AppendEvents(0, [payload("x")]),
                AmendValue(MAX_AMENDMENTS + 1, payload("one more")),
            )

        assert await store.value(key()) == full
        assert await data_of(store, key()) == []
        await commit(store, PutValue(MAX_AMENDMENTS + 1, payload("w")))
        await commit(store, AmendValue(MAX_AMENDMENTS + 2, payload("a")))
        assert await store.value(key()) == amended(MAX_AMENDMENTS + 3, "w", "a")

    async def test_an_amendment_over_the_limit_is_refused(self, store: StateStore) -> None:
        await put_and_amend(store, "v")

        await commit(store, AmendValue(1, payload(bytes(MAX_PAYLOAD_BYTES))))
        with pytest.raises(LimitExceeded):
            await commit(store, AmendValue(2, payload(bytes(MAX_PAYLOAD_BYTES + 1))))

        stored = await store.value(key())
        assert [len(each.value) for each in stored.amendments] == [MAX_PAYLOAD_BYTES]

    async def test_an_amendment_and_what_is_written_with_it_are_one(
        self, store: StateStore
    ) -> None:
        await put_and_amend(store, "v")

        await commit(store, AppendEvents(0, [payload("x")]), AmendValue(1, payload("a")))
        with pytest.raises(SequenceConflict):
            await commit(store, AmendValue(2, payload("b")), AppendEvents(0, [payload("y")]))
        with pytest.raises(RevisionConflict):
            await commit(store, AppendEvents(1, [payload("y")]), AmendValue(1, payload("b")))

        assert await store.value(key()) == amended(2, "v", "a")
        assert await data_of(store, key()) == [b"x"]

    async def test_a_writer_of_an_older_epoch_amends_nothing(self, store: StateStore) -> None:
        old = await store.claim(ALL_SLICES)
        await put_and_amend(store, "v", "a", epoch=old)
        await store.claim(ALL_SLICES)

        with pytest.raises(StaleEpoch):
            await commit(store, AmendValue(2, payload("b")), epoch=old)

        assert await store.value(key()) == amended(2, "v", "a")

    async def test_of_writers_that_amend_one_value_exactly_one_wins(
        self, store: StateStore
    ) -> None:
        await put_and_amend(store, "v")

        outcomes = await asyncio.gather(
            *(commit(store, AmendValue(1, payload(f"{n}"))) for n in range(64)),
            return_exceptions=True,
        )

        assert outcomes.count(None) == 1
        assert sum(isinstance(each, RevisionConflict) for each in outcomes) == 63
        assert await store.value(key()) == amended(2, "v", f"{outcomes.index(None)}")

    async def test_entities_do_not_see_each_others_amendments(self, store: StateStore) -> None:
        entities = [key("one"), key("two"), key("one", "others"), key("three")]
        for entity in entities:
            await put_and_amend(store, f"{entity}", f"{entity} 1", f"{entity} 2", entity=entity)

        await commit(store, PutValue(3, payload("anew")), entity=entities[1])
        await store.delete(entities[3], 0)

        for entity in (entities[0], entities[2]):
            expected = amended(3, f"{entity}", f"{entity} 1", f"{entity} 2")
            assert await store.value(entity) == expected
        assert await store.value(entities[1]) == amended(4, "anew")
        assert await store.value(entities[3]) == StoredValue(0, None)

    async def test_erasing_an_entity_erases_the_amendments_of_its_value(
        self, store: StateStore
    ) -> None:
        await put_and_amend(store, "v", "a", "b")
        assert await store.keys("things", limit=10) == [key()]

        await store.delete(key(), 0)

        assert await store.keys("things", limit=10) == []
        assert await store.value(key()) == StoredValue(0, None)
        with pytest.raises(RevisionConflict, match="no value"):
            await commit(store, AmendValue(0, payload("c")))
        await put_and_amend(store, "w", "c")
        assert await store.value(key()) == amended(2, "w", "c")

    async def test_changing_an_amendment_outside_changes_nothing_stored(
        self, store: StateStore
    ) -> None:
        amendment = payload("before")
        await commit(store, PutValue(0, payload("v")))
        await commit(store, AmendValue(1, amendment))

        amendment.value = b"after"
        for _ in range(2):
            (found,) = (await store.value(key())).amendments
            assert found.value == b"before"
            found.value = b"after"

    async def test_a_reader_never_sees_the_amendments_of_another_value(
        self, store: StateStore
    ) -> None:
        async def write() -> None:
            for number in range(60):
                revision = 4 * number
                await commit(store, PutValue(revision, payload(f"{number}")))
                for n in range(1, 4):
                    await commit(store, AmendValue(revision + n, payload(f"{number} {n}")))

        writer = asyncio.create_task(write())
        while not writer.done():
            _check_is_whole(await store.value(key()))
        await writer

        assert await store.value(key()) == amended(240, "59", "59 1", "59 2", "59 3")

    @pytest.mark.usefixtures("needs_durability")
    async def test_amendments_are_there_again_after_the_store_was_closed(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as store:
            await put_and_amend(store, "v", "a", "b")
            await put_and_amend(store, "v", "a", "b", entity=key("other"))
        async with open_store() as store:
            assert await store.value(key()) == amended(3, "v", "a", "b")
            await commit(store, AmendValue(3, payload("c")))
            await commit(store, PutValue(3, payload("w")), entity=key("other"))
            with pytest.raises(RevisionConflict):
                await commit(store, AmendValue(3, payload("d")))
        async with open_store() as store:
            assert await store.value(key()) == amended(4, "v", "a", "b", "c")
            assert await store.value(key("other")) == amended(4, "w")
            await commit(store, DeleteValue(4))
            await commit(store, AmendValue(4, payload("d")), entity=key("other"))
        async with open_store() as store:
            assert await store.value(key()) == StoredValue(5, None)
            assert await store.value(key("other")) == amended(5, "w", "d")


def _check_is_whole(stored: StoredValue) -> None:
    """Fail if a value is not the one that was put with what was added to it."""
    if stored.value is None:
        return
    number = int(stored.value.value)
    assert stored.revision == 4 * number + 1 + len(stored.amendments)
    assert _contents(stored.amendments) == [
        f"{number} {n}" for n in range(1, len(stored.amendments) + 1)
    ]


def _contents(amendments: Sequence[Any]) -> list[str]:
    return [each.value.decode() for each in amendments]
