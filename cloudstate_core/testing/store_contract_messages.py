"""Cases of the store contract: received messages, the outbox, offsets."""

from __future__ import annotations

import asyncio

import pytest

from cloudstate_core.errors import AlreadyReceived
from cloudstate_core.store import (
    AppendEvents,
    Commit,
    EnqueueMessage,
    OutboxMessage,
    Received,
    RememberReply,
    StateStore,
    slice_of,
)
from cloudstate_core.testing.store_contract_setting import (
    ALL_SLICES,
    StoreContractSetting,
    append,
    data_of,
    key,
    payload,
)

__all__ = ["MessageCases"]


async def _enqueue(store: StateStore, *message_ids: str, entity_id: str = "e") -> None:
    writes = tuple(EnqueueMessage(each, "somewhere", payload(each)) for each in message_ids)
    await store.commit(Commit(key(entity_id), 0, writes))


async def _waiting(store: StateStore, slices: range = ALL_SLICES, limit: int = 1000) -> list[str]:
    return [message.message_id for message in await store.outbox(slices, limit=limit)]


class MessageCases(StoreContractSetting):
    """Received messages, the outbox, offsets."""

    async def test_a_message_has_its_effect_once(self, store: StateStore) -> None:
        first = (AppendEvents(0, [payload("effect")]), Received("m1"))
        await store.commit(Commit(key(), 0, first))

        again = (AppendEvents(1, [payload("effect")]), Received("m1"))
        with pytest.raises(AlreadyReceived) as caught:
            await store.commit(Commit(key(), 0, again))

        assert (caught.value.entity_id, caught.value.message_id) == ("e", "m1")
        assert await data_of(store, key()) == [b"effect"]

    async def test_a_message_can_have_an_effect_on_each_of_several_entities(
        self, store: StateStore
    ) -> None:
        for name in ("one", "two"):
            await store.commit(Commit(key(name), 0, (Received("m1"),)))

        with pytest.raises(AlreadyReceived):
            await store.commit(Commit(key("two"), 0, (Received("m1"),)))

    async def test_of_equal_messages_at_the_same_time_one_has_its_effect(
        self, store: StateStore
    ) -> None:
        commits = [
            Commit(key(), 0, (Received("m1"), RememberReply(f"{n}", b"", b""))) for n in range(20)
        ]

        outcomes = await asyncio.gather(
            *(store.commit(commit) for commit in commits), return_exceptions=True
        )

        assert outcomes.count(None) == 1
        assert sum(isinstance(each, AlreadyReceived) for each in outcomes) == 19
        replies = [await store.remembered_reply(key(), f"{n}") for n in range(20)]
        assert [reply is not None for reply in replies] == [each is None for each in outcomes]

    async def test_a_message_waits_in_the_outbox_as_it_was_sent(self, store: StateStore) -> None:
        write = EnqueueMessage("m1", "topic/x\u2603", payload(b"\x00\xff"), {"k\u2603": "v\n"})
        await store.commit(Commit(key(), 0, (write,)))

        (message,) = await store.outbox(ALL_SLICES, limit=10)

        assert message == OutboxMessage(
            message.number, key(), "m1", "topic/x\u2603", payload(b"\x00\xff"), {"k\u2603": "v\n"}
        )

    async def test_the_outbox_is_in_the_order_of_commits(self, store: StateStore) -> None:
        await _enqueue(store, "z", "y")
        await _enqueue(store, "x")
        await _enqueue(store, "a", "b")

        messages = await store.outbox(ALL_SLICES, limit=10)

        assert [message.message_id for message in messages] == ["z", "y", "x", "a", "b"]
        numbers = [message.number for message in messages]
        assert numbers == sorted(set(numbers))
        assert await _waiting(store, limit=2) == ["z", "y"]

    async def test_the_outbox_of_some_slices_holds_what_their_entities_sent(
        self, store: StateStore
    ) -> None:
        for n in range(20):
            await _enqueue(store, f"m{n}", entity_id=f"{n}")

        low, high = range(512), range(512, 1024)
        assert set(await _waiting(store, low)) == {
            f"m{n}" for n in range(20) if slice_of(key(f"{n}")) in low
        }
        assert sorted(await _waiting(store, low) + await _waiting(store, high)) == sorted(
            f"m{n}" for n in range(20)
        )
        home = slice_of(key("3"))
        assert "m3" in await _waiting(store, range(home, home + 1))
        assert await _waiting(store, range(0)) == []

    async def test_an_acknowledged_message_is_gone_for_good(self, store: StateStore) -> None:
        await _enqueue(store, "a", "b", "c")

        await store.acknowledge(["a", "c", "unknown"])
        await store.acknowledge(["a"])
        await store.acknowledge([])

        assert await _waiting(store) == ["b"]

    async def test_numbers_of_acknowledged_messages_are_not_used_again(
        self, store: StateStore
    ) -> None:
        await _enqueue(store, "a")
        (first,) = await store.outbox(ALL_SLICES, limit=1)
        await store.acknowledge(["a"])

        await _enqueue(store, "b")

        (second,) = await store.outbox(ALL_SLICES, limit=1)
        assert second.number > first.number

    async def test_a_message_id_that_waits_already_is_refused(self, store: StateStore) -> None:
        await _enqueue(store, "a")

        with pytest.raises(ValueError, match="'a'"):
            await _enqueue(store, "a", entity_id="other")

        await store.acknowledge(["a"])
        await _enqueue(store, "a", entity_id="other")
        assert await _waiting(store) == ["a"]

    async def test_of_equal_message_ids_at_the_same_time_one_waits(self, store: StateStore) -> None:
        outcomes = await asyncio.gather(
            *(_enqueue(store, "a", entity_id=f"{n}") for n in range(20)), return_exceptions=True
        )

        assert outcomes.count(None) == 1
        (message,) = await store.outbox(ALL_SLICES, limit=10)
        assert message.sender == key(f"{outcomes.index(None)}")

    async def test_changing_a_message_outside_changes_nothing_stored(
        self, store: StateStore
    ) -> None:
        content, metadata = payload("before"), {"k": "before"}
        await store.commit(Commit(key(), 0, (EnqueueMessage("m", "d", content, metadata),)))

        content.value = b"after"
        metadata["k"] = "after"
        for _ in range(2):
            (message,) = await store.outbox(ALL_SLICES, limit=10)
            assert (message.payload.value, message.metadata) == (b"before", {"k": "before"})
            message.payload.value = b"after"

    async def test_offsets_are_kept_for_each_consumer_and_slice(self, store: StateStore) -> None:
        assert await store.offsets("reader") == {}

        await store.save_offsets("reader", {0: 5, 1023: 2**40})
        await store.save_offsets("reader", {0: 6, 3: 0})
        await store.save_offsets("reader\u2603", {0: 1})
        await store.save_offsets("reader", {})

        assert await store.offsets("reader") == {0: 6, 3: 0, 1023: 2**40}
        assert await store.offsets("reader\u2603") == {0: 1}

    async def test_offsets_that_make_no_sense_are_refused(self, store: StateStore) -> None:
        for offsets in ({1024: 1}, {-1: 1}, {0: -1}, {0: 2**64}):
            with pytest.raises(ValueError, match="expected"):
                await store.save_offsets("reader", offsets)

        await append(store, key(), 0, "nothing is wrong with the store")
        assert await store.offsets("reader") == {}
