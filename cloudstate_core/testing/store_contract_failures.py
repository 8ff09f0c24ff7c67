"""Cases of the store contract: closing, opening again, and failures from below."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from cloudstate_core.errors import (
    AlreadyReceived,
    LimitExceeded,
    StaleEpoch,
    StoreUnavailable,
)
from cloudstate_core.store import Commit, EntityKey, Received, StateStore
from cloudstate_core.testing.store_contract_setting import (
    ALL_SLICES,
    FaultInjector,
    OpenStore,
    StoreContractSetting,
    append,
    data_of,
    everything,
    key,
    traces_of,
    wait_until_well,
)

__all__ = ["FailureCases"]


class FailureCases(StoreContractSetting):
    """Closing, opening again, and failures from below."""

    async def test_an_open_store_is_ready(self, store: StateStore) -> None:
        await store.check()

    @pytest.mark.usefixtures("needs_durability")
    async def test_everything_is_there_again_after_the_store_was_closed(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as store:
            await store.commit(Commit(key(), 0, everything("it", sequence=0, revision=0)))
            await store.save_offsets("reader", {3: 4})
            log = await store.log(ALL_SLICES, after={}, limit=10)
            outbox = await store.outbox(ALL_SLICES, limit=10)

        async with open_store() as store:
            assert all(await traces_of(store, key(), "it"))
            assert await store.log(ALL_SLICES, after={}, limit=10) == log
            assert await store.outbox(ALL_SLICES, limit=10) == outbox
            assert await store.offsets("reader") == {3: 4}
            assert await store.keys("things", limit=10) == [key()]
            await store.commit(Commit(key(), 0, everything("more", sequence=2, revision=1)))

        async with open_store() as store:
            assert all(await traces_of(store, key(), "more"))
            assert [e.position for e in await store.log(ALL_SLICES, after={}, limit=10)] == [
                1,
                2,
                3,
                4,
            ]

    @pytest.mark.usefixtures("needs_durability")
    async def test_a_claim_is_newer_than_those_of_an_earlier_opening(
        self, open_store: OpenStore
    ) -> None:
        epochs = []
        for _ in range(3):
            async with open_store() as store:
                epochs.append(await store.claim(ALL_SLICES))

        assert epochs == sorted(set(epochs))
        async with open_store() as store:
            with pytest.raises(StaleEpoch):
                await append(store, key(), 0, "x", epoch=epochs[0])
            await append(store, key(), 0, "x", epoch=epochs[-1])

    @pytest.mark.usefixtures("needs_durability")
    async def test_what_was_deleted_stays_deleted_and_its_positions_used(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as store:
            await store.commit(Commit(key(), 0, everything("it", sequence=0, revision=0)))
            await store.delete(key(), 0)

        async with open_store() as store:
            assert not any(await traces_of(store, key(), "it"))
            await append(store, key(), 0, "x")
            (event,) = await store.log(ALL_SLICES, after={}, limit=10)
            assert (event.position, event.sequence) == (3, 1)

    @pytest.mark.usefixtures("needs_durability")
    async def test_acknowledged_messages_stay_away(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.commit(Commit(key(), 0, everything("it", sequence=0, revision=0)))
            (message,) = await store.outbox(ALL_SLICES, limit=10)
            await store.acknowledge([message.message_id])

        async with open_store() as store:
            assert await store.outbox(ALL_SLICES, limit=10) == []
            await store.commit(Commit(key(), 0, everything("more", sequence=2, revision=1)))
            (later,) = await store.outbox(ALL_SLICES, limit=10)
            assert later.number > message.number

    async def test_a_closed_store_refuses(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await append(store, key(), 0, "x")

        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: append(store, key(), 1, "y"),
            lambda: store.events(key(), after=0, limit=1),
            lambda: store.claim([1]),
            store.check,
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable):
                await call()

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10])
    async def test_closing_during_commits_leaves_each_whole_or_refused(
        self, open_store: OpenStore, turns: int
    ) -> None:
        async with open_store() as store:
            writers = [
                asyncio.create_task(_write_until_closed(store, key(f"{n}"))) for n in range(32)
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
        answered = await asyncio.gather(*writers)

        if self.durable:
            async with open_store() as store:
                for n, number in enumerate(answered):
                    assert len(await data_of(store, key(f"{n}"))) == 2 * number

    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("lasting", [False, True])
    async def test_a_failure_at_any_call_below_leaves_a_commit_whole_or_away(
        self, open_store: OpenStore, faults: FaultInjector | None, *, lasting: bool
    ) -> None:
        if faults is None:
            pytest.skip("nothing below this store can be made to fail")
        for call in count(1):
            entity, before, it = key(f"{call}"), f"before {call}", f"it {call}"
            async with open_store() as store:
                await store.commit(Commit(entity, 0, everything(before, sequence=0, revision=0)))
                faults.fail_at(call, lasting=lasting)
                outcome = await _outcome_of(
                    store.commit(Commit(entity, 0, everything(it, sequence=2, revision=1)))
                )
                was_reached = faults.stop()
                await wait_until_well(store)
                is_written = await _is_written(store, entity, before, it)
                await append(store, entity, 4 if is_written else 2, "after")
            async with open_store() as store:
                assert await _is_written(store, entity, before, it) == is_written
                assert (await data_of(store, entity))[-1] == b"after"
            _judge(outcome, is_written=is_written)
            if not was_reached:
                break
        print(f"PROMISE P2 failure_points={call - 1} partial=0 target=0 ok")  # noqa: T201
        assert call > 1

    @pytest.mark.parametrize("lasting", [False, True])
    async def test_a_store_that_failed_says_so_until_it_is_well(
        self, open_store: OpenStore, faults: FaultInjector | None, *, lasting: bool
    ) -> None:
        if faults is None:
            pytest.skip("nothing below this store can be made to fail")
        async with open_store() as store:
            await append(store, key(), 0, "a")
            faults.fail_at(1, lasting=lasting)

            with pytest.raises((StoreUnavailable, LimitExceeded)):
                await append(store, key(), 1, "b")
            if lasting:
                with pytest.raises(StoreUnavailable):
                    await store.check()
                with pytest.raises((StoreUnavailable, LimitExceeded)):
                    await append(store, key(), 1, "b")

            faults.stop()
            await wait_until_well(store)
            await append(store, key(), await store.last_sequence(key()), "c")
            assert (await data_of(store, key()))[-1] == b"c"

    @pytest.mark.timeout(300)
    async def test_commits_at_the_same_time_survive_a_failure_at_any_call_each_whole_or_away(
        self, open_store: OpenStore, faults: FaultInjector | None
    ) -> None:
        if faults is None:
            pytest.skip("nothing below this store can be made to fail")
        for call in count(1):
            async with open_store() as store:
                faults.fail_at(call, lasting=False)
                outcomes = await asyncio.gather(
                    *(
                        _outcome_of(append(store, key(f"{call} {n}"), 0, "x", "y"))
                        for n in range(16)
                    )
                )
                was_reached = faults.stop()
                await wait_until_well(store)
            async with open_store() as store:
                for n, outcome in enumerate(outcomes):
                    written = await data_of(store, key(f"{call} {n}"))
                    assert written in ([], [b"x", b"y"])
                    _judge(outcome, is_written=bool(written))
            if not was_reached:
                break
        assert call > 1


async def _write_until_closed(store: StateStore, entity: EntityKey) -> int:
    """Return how many commits were answered."""
    for answered in count():
        try:
            await append(store, entity, 2 * answered, "x", "y")
        except StoreUnavailable:
            return answered
    raise AssertionError


async def _outcome_of(commit: Awaitable[None]) -> Exception | None:
    try:
        await commit
    except (StoreUnavailable, LimitExceeded) as error:
        return error
    return None


async def _is_written(store: StateStore, entity: EntityKey, before: str, it: str) -> bool:
    """Return whether all of the second commit is there; fail if it is a part."""
    traces = await traces_of(store, entity, it)
    assert len(set(traces)) == 1, traces
    assert any(await traces_of(store, entity, before))
    assert await _is_received(store, entity, before, it) == traces[0]
    return traces[0]


async def _is_received(store: StateStore, entity: EntityKey, before: str, it: str) -> bool:
    """Return whether the message of the second commit is noted, without noting it."""
    probe = (Received(f"{it} in"), Received(f"{before} in"))
    with pytest.raises(AlreadyReceived) as caught:
        await store.commit(Commit(entity, 0, probe))
    return caught.value.message_id == f"{it} in"


def _judge(outcome: Exception | None, *, is_written: bool) -> None:
    """Fail if what the caller was told is not so; after `StoreUnavailable` both may be."""
    if outcome is None:
        assert is_written, "an answered commit is lost"
    if isinstance(outcome, LimitExceeded):
        assert not is_written, "a commit that was refused is there"
