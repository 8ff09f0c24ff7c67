"""Cases of the store contract: pages of the outbox, parked messages, forgotten notes."""

from __future__ import annotations

import asyncio

import pytest

from cloudstate_core.errors import AlreadyReceived
from cloudstate_core.store import Commit, EnqueueMessage, Received, StateStore
from cloudstate_core.testing.store_contract_setting import (
    ALL_SLICES,
    OpenStore,
    StoreContractSetting,
    append,
    key,
    payload,
)

__all__ = ["ParkingCases"]


async def _send(store: StateStore, *message_ids: str, entity_id: str = "e") -> None:
    for message_id in message_ids:
        write = EnqueueMessage(message_id, "somewhere", payload(message_id))
        await store.commit(Commit(key(entity_id), 0, (write,)))


async def _waiting(store: StateStore, after: int = 0) -> list[str]:
    found = await store.outbox(ALL_SLICES, after=after, limit=1000)
    return [message.message_id for message in found]


async def _parked(store: StateStore) -> list[tuple[str, str]]:
    return [(p.message.message_id, p.reason) for p in await store.parked(limit=1000)]


async def _is_new(store: StateStore, message_id: str, entity_id: str = "e") -> bool:
    """Receive a message, and return whether it was new."""
    try:
        await store.commit(Commit(key(entity_id), 0, (Received(message_id),)))
    except AlreadyReceived:
        return False
    return True


class ParkingCases(StoreContractSetting):
    """Pages of the outbox, parked messages, and notes that are forgotten."""

    async def test_the_outbox_can_be_read_in_pages(self, store: StateStore) -> None:
        sent = [f"m{n}" for n in range(7)]
        for n, name in enumerate(sent):
            await _send(store, name, entity_id=f"{n}")

        found: list[str] = []
        after = 0
        while page := await store.outbox(ALL_SLICES, after=after, limit=3):
            found += [message.message_id for message in page]
            after = page[-1].number

        assert found == sent

    async def test_a_page_after_a_negative_number_is_refused(self, store: StateStore) -> None:
        with pytest.raises(ValueError, match="expected"):
            await store.outbox(ALL_SLICES, after=-1, limit=1)
        with pytest.raises(ValueError, match="expected"):
            await store.parked(after=-1, limit=1)
        with pytest.raises(ValueError, match="expected"):
            await store.parked(limit=0)

    async def test_a_parked_message_does_not_wait(self, store: StateStore) -> None:
        await _send(store, "a", "b", "c")
        waiting = {m.message_id: m for m in await store.outbox(ALL_SLICES, limit=10)}

        assert await store.park("b", "nobody is at home")

        assert await _waiting(store) == ["a", "c"]
        (parked,) = await store.parked(limit=10)
        assert parked.message == waiting["b"]
        assert parked.reason == "nobody is at home"
        assert parked.unix_time_s > 0

    async def test_only_a_message_that_waits_is_parked(self, store: StateStore) -> None:
        await _send(store, "a")

        assert not await store.park("unknown", "why")
        assert await store.park("a", "first")
        assert not await store.park("a", "second")

        assert await _parked(store) == [("a", "first")]

    async def test_parked_messages_can_be_read_in_pages(self, store: StateStore) -> None:
        await _send(store, "z", "y", "x", "w")
        for name in ("x", "z", "w"):
            await store.park(name, "why")

        first = await store.parked(limit=2)
        rest = await store.parked(after=first[-1].message.number, limit=2)

        assert [p.message.message_id for p in (*first, *rest)] == ["z", "x", "w"]

    async def test_a_message_waits_again_in_its_old_place(self, store: StateStore) -> None:
        await _send(store, "a", "b", "c")
        before = await store.outbox(ALL_SLICES, limit=10)
        await store.park("a", "why")
        await store.park("b", "why")

        assert await store.unpark(["b", "c", "unknown", "a"]) == ["b", "a"]

        assert await store.outbox(ALL_SLICES, limit=10) == before
        assert await _parked(store) == []
        assert await store.unpark(["a"]) == []

    async def test_a_parked_message_that_is_acknowledged_is_gone(self, store: StateStore) -> None:
        await _send(store, "a")
        await store.park("a", "why")

        await store.acknowledge(["a"])

        assert await _parked(store) == []
        assert await store.unpark(["a"]) == []
        assert await _waiting(store) == []

    async def test_a_parked_message_keeps_its_id(self, store: StateStore) -> None:
        await _send(store, "a")
        await store.park("a", "why")

        with pytest.raises(ValueError, match="'a'"):
            await _send(store, "a", entity_id="other")

    async def test_parked_messages_of_a_deleted_entity_are_gone(self, store: StateStore) -> None:
        await _send(store, "a")
        await _send(store, "b", entity_id="other")
        for name in ("a", "b"):
            await store.park(name, "why")

        await store.delete(key(), 0)

        assert await _parked(store) == [("b", "why")]

    async def test_who_is_done_with_a_message_forgets_that_it_was_received(
        self, store: StateStore
    ) -> None:
        for entity_id in ("one", "two"):
            assert await _is_new(store, "m", entity_id)

        await store.acknowledge(["m"])

        for entity_id in ("one", "two"):
            assert await _is_new(store, "m", entity_id)
            assert not await _is_new(store, "m", entity_id)

    async def test_notes_of_derived_ids_are_forgotten_and_of_others_are_not(
        self, store: StateStore
    ) -> None:
        derived = ["m", "m.0", "m.1", "m.1.2", "m.", "m.\U0010ffff"]
        others = ["", "m/", "m-", "ma", "mm", "l", "l.m", "M", "m\x00"]
        for name in (*derived, *others):
            assert await _is_new(store, name)

        await store.acknowledge(["m"])

        assert [name for name in others if await _is_new(store, name)] == []
        assert [name for name in derived if not await _is_new(store, name)] == []

    async def test_notes_of_a_derived_id_are_forgotten_with_what_derives_from_it(
        self, store: StateStore
    ) -> None:
        names = ["m", "m.1", "m.1.1", "m.10", "m.2"]
        for name in names:
            assert await _is_new(store, name)

        await store.acknowledge(["m.1"])

        assert [name for name in names if await _is_new(store, name)] == ["m.1", "m.1.1"]

    async def test_notes_stay_while_a_message_waits_or_is_parked(self, store: StateStore) -> None:
        await _send(store, "m")
        assert await _is_new(store, "m")
        await store.park("m", "why")
        assert not await _is_new(store, "m")
        await store.unpark(["m"])
        assert not await _is_new(store, "m")

    async def test_messages_are_acknowledged_while_others_are_committed(
        self, store: StateStore
    ) -> None:
        for n in range(20):
            await _send(store, f"m{n}", entity_id=f"{n}")

        async def done(n: int) -> None:
            await append(store, key(f"receiver {n}"), 0, f"effect of {n}")
            await store.acknowledge([f"m{n}"])
            await _send(store, f"next {n}", entity_id=f"{n}")

        await asyncio.gather(*(done(n) for n in range(20)))

        assert sorted(await _waiting(store)) == sorted(f"next {n}" for n in range(20))

    @pytest.mark.usefixtures("needs_durability")
    async def test_parked_messages_are_there_again_after_the_store_was_closed(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as store:
            await _send(store, "a", "b")
            await store.park("a", "why")
            assert await _is_new(store, "a")
            assert await _is_new(store, "gone")
            await store.acknowledge(["gone"])
            parked = await store.parked(limit=10)

        async with open_store() as store:
            assert await store.parked(limit=10) == parked
            assert await _waiting(store) == ["b"]
            assert not await _is_new(store, "a")
            assert await _is_new(store, "gone")
