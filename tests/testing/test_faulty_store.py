from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import StoreUnavailable
from cloudstate_core.store import AppendEvents, Commit, EntityKey
from cloudstate_core.stores import MemoryStore
from cloudstate_core.testing import FaultyStore, ManualClock

KEY = EntityKey("carts", "u1")


def appending(expected_sequence: int) -> Commit:
    return Commit(KEY, 0, (AppendEvents(expected_sequence, [Any(value=b"x")]),))


@pytest.fixture
def inner() -> MemoryStore:
    return MemoryStore(ManualClock())


async def test_only_the_chosen_call_fails(inner: MemoryStore) -> None:
    store = FaultyStore(inner, fail_at=2)

    await store.commit(appending(0))
    assert not store.has_failed
    with pytest.raises(StoreUnavailable):
        await store.commit(appending(1))
    assert store.has_failed
    await store.commit(appending(1))

    assert await inner.last_sequence(KEY) == 2
    assert store.calls == 3


async def test_the_chosen_call_can_have_its_effect_all_the_same(inner: MemoryStore) -> None:
    store = FaultyStore(inner, fail_at=1, after_effect=True)

    with pytest.raises(StoreUnavailable):
        await store.commit(appending(0))

    assert await inner.last_sequence(KEY) == 1


async def test_a_lasting_failure_goes_on(inner: MemoryStore) -> None:
    store = FaultyStore(inner, fail_at=2, lasting=True)

    await store.commit(appending(0))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.commit(appending(1))
    with pytest.raises(StoreUnavailable):
        await store.check()

    assert await inner.last_sequence(KEY) == 1


async def test_every_method_reaches_the_other_store(inner: MemoryStore) -> None:
    store = FaultyStore(inner, fail_at=None)
    slices = range(1024)

    epoch = await store.claim(list(slices))
    await store.commit(Commit(KEY, epoch, (AppendEvents(0, [Any(value=b"x")]),)))
    await store.save_offsets("reader", {3: 4})
    await store.acknowledge(["unknown"])
    await store.check()

    assert await store.last_sequence(KEY) == 1
    assert [event.sequence for event in await store.events(KEY, after=0, limit=9)] == [1]
    assert [event.key for event in await store.log(slices, after={}, limit=9)] == [KEY]
    assert await store.keys("carts", limit=9) == [KEY]
    assert await store.offsets("reader") == {3: 4}
    assert (await store.value(KEY)).revision == 0
    assert await store.snapshot(KEY) is None
    assert await store.remembered_reply(KEY, "c") is None
    assert await store.outbox(slices, limit=9) == []
    await store.delete(KEY, epoch)
    assert await inner.last_sequence(KEY) == 0
    assert store.calls == 15
