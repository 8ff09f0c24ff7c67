"""The whole kind at work, from a client's command to the store, over both links."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from acme_ratelimit import RateLimitContext, RateLimitedEntity
from acme_ratelimit.ratelimit_pb2 import Bucket
from google.protobuf.any_pb2 import Any
from quotas.quotas_pb2 import Quota, ShowRequest, SpendRequest
from serving import QUOTAS, Serve, left_in, quotas

from cloudstate_core.anys import encode, pack_message
from cloudstate_core.errors import (
    CorruptState,
    DeadlineExceeded,
    StoreUnavailable,
    UserFunctionError,
    VersionMismatch,
)
from cloudstate_core.failure_code import code_of
from cloudstate_core.handler import Conditions, Request
from cloudstate_core.status import Status
from cloudstate_core.store import SLICES, Commit, DeleteValue, EntityKey, PutValue
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing import FaultyStore, ManualClock

KEY = EntityKey(QUOTAS.full_name, "k")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock)


async def test_tokens_are_taken_and_flow_back(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(), store, clock) as client:
        assert left_in(await client.spend("k", 4)) == 6
        assert left_in(await client.spend("k", 6)) == 0
        await clock.advance(2.5)
        assert await client.left("k") == 2
        await clock.advance(0.5)
        assert await client.left("k") == 3
        await clock.advance(20)
        assert await client.left("k") == 10


async def test_a_command_with_a_key_takes_tokens_once(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    spend = pack_message(SpendRequest(api_key="k", units=4))
    request = Request(QUOTAS.full_name, "Spend", spend, conditions=Conditions("a key"))
    async with serve(quotas(refill_per_s=0), store, clock) as client:
        first = (await client.handler.handle(request)).action
        assert (await client.handler.handle(request)).action == first
        assert await client.left("k") == 6
    async with serve(quotas(refill_per_s=0), store, clock) as client:
        assert (await client.handler.handle(request)).action == first
        assert await client.left("k") == 6


async def test_tokens_are_taken_only_at_the_version_that_is_expected(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    spend = pack_message(SpendRequest(api_key="k", units=4))
    async with serve(quotas(), store, clock) as client:
        assert (await client.spend("k", 1)).version == 1
        expecting = Conditions(expected_version=1)
        request = Request(QUOTAS.full_name, "Spend", spend, conditions=expecting)
        assert (await client.handler.handle(request)).version == 2
        with pytest.raises(VersionMismatch):
            await client.handler.handle(request)


async def test_without_enough_tokens_the_client_is_told_when_to_come_back(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(), store, clock) as client:
        await client.spend("k", 8)
        refused = await client.spend("k", 5)
        assert await client.left("k") == 2

    assert refused.action.failure.description == (
        "rate limit reached: wanted 5, available 2, try again in 3.0 s"
    )
    assert code_of(refused.action.failure) is Status.RESOURCE_EXHAUSTED


async def test_every_id_has_a_bucket_of_its_own(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(), store, clock) as client:
        await client.spend("a", 10)

        assert await client.left("b") == 10


async def test_many_clients_at_once_never_get_more_than_there_is(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(), store, clock) as client:
        outcomes = await asyncio.gather(*(client.spend("k", 1) for _ in range(25)))

    answered = [o for o in outcomes if o.action.WhichOneof("action") == "reply"]
    assert sorted(left_in(o) for o in answered) == list(range(10))


async def test_a_bucket_outlives_the_process_and_fills_meanwhile(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(), store, clock) as client:
        await client.spend("k", 10)

    later = ManualClock(unix_time_s=clock.unix_time_s() + 4)
    async with serve(quotas(), store, later) as client:
        assert await client.left("k") == 4


async def test_a_clock_that_was_set_back_takes_no_tokens_away(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(), store, clock) as client:
        await client.spend("k", 3)

    earlier = ManualClock(unix_time_s=clock.unix_time_s() - 3600)
    async with serve(quotas(), store, earlier) as client:
        assert await client.left("k") == 7


async def test_new_terms_hold_for_old_buckets(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(capacity=10), store, clock) as client:
        await client.spend("k", 1)

    async with serve(quotas(capacity=5), store, clock) as client:
        assert await client.left("k") == 5


async def test_an_idle_entity_leaves_memory_and_comes_back(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(refill_per_s=0), store, clock) as client:
        await client.spend("k", 4)
        await clock.advance(31)
        assert await client.left("k") == 6

    assert client.watched.seen == ["k activated", "k passivated", "k activated"]


async def test_looking_writes_nothing_and_spending_writes_once(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(), store, clock) as client:
        await client.left("k")
        assert (await store.value(KEY)).revision == 0
        await client.spend("k", 4)

    stored = await store.value(KEY)
    assert stored.revision == 1
    assert stored.value == pack_message(Bucket(level=6, unix_time_s=clock.unix_time_s()))


async def test_after_a_lost_race_the_command_is_decided_anew(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(), store, clock) as client:
        await client.spend("k", 1)
        # With one node nobody else writes; this is what another one would do.
        other = Bucket(level=3, unix_time_s=clock.unix_time_s())
        await store.commit(Commit(KEY, 1, (PutValue(1, pack_message(other)),)))

        assert left_in(await client.spend("k", 2)) == 1
        refused = await client.spend("k", 2)

    assert refused.action.HasField("failure")
    assert (await store.value(KEY)).revision == 3


async def test_a_bucket_that_was_deleted_is_full_again(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas(refill_per_s=0), store, clock) as client:
        await client.spend("k", 9)
        await store.commit(Commit(KEY, 1, (DeleteValue(1),)))

        assert left_in(await client.spend("k", 1)) == 9


async def test_a_handler_that_raises_costs_nothing_and_hurts_nobody(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    entity = quotas_with_spend(raising)
    async with serve(entity, store, clock) as client:
        with pytest.raises(UserFunctionError, match=r"^Unexpected entity failure$") as caught:
            await client.spend("k", 5)
        assert await client.left("k") == 10

    assert "Unexpected failure: ZeroDivisionError: secret" in caught.value.detail
    assert client.watched.seen == ["k activated", "k crashed", "k activated"]


async def test_a_handler_that_fails_after_taking_costs_nothing(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    async with serve(quotas_with_spend(failing), store, clock) as client:
        outcome = await client.spend("k", 5)
        assert await client.left("k") == 10

    assert outcome.action.failure.description == "not today"
    assert (await store.value(KEY)).revision == 0


async def test_a_handler_that_never_answers_is_given_up(
    serve: Serve, store: MemoryStore, clock: ManualClock
) -> None:
    reached = asyncio.Event()

    async def waiting() -> Quota:
        reached.set()
        await asyncio.Event().wait()

    async with serve(quotas_with_spend(waiting), store, clock) as client:
        spending = asyncio.create_task(client.spend("k", 5))
        await reached.wait()
        await clock.advance(61)
        with pytest.raises(DeadlineExceeded, match="did not answer within 60 s"):
            await spending
        assert await client.left("k") == 10


@pytest.mark.parametrize("after_effect", [False, True], ids=["without effect", "with effect"])
async def test_whichever_call_of_the_store_fails_nothing_acknowledged_is_lost(
    serve: Serve, clock: ManualClock, after_effect: bool
) -> None:
    for fail_at in count(1):
        inner = MemoryStore(clock)
        store = FaultyStore(inner, fail_at=fail_at, after_effect=after_effect)
        acknowledged = unknown = 0
        try:
            async with serve(quotas(refill_per_s=0), store, clock) as client:
                for units in (1, 2, 3):
                    try:
                        await client.spend("k", units)
                    except StoreUnavailable:
                        unknown += units
                    else:
                        acknowledged += units
        except StoreUnavailable:
            assert acknowledged == 0  # the runtime did not even start

        async with serve(quotas(refill_per_s=0), inner, clock) as client:
            left = await client.left("k")
        assert 10 - acknowledged - unknown <= left <= 10 - acknowledged
        if not store.has_failed:
            assert acknowledged == 6
            break
    assert fail_at > 4


@pytest.mark.parametrize(
    "stored",
    [encode("a text"), Any(type_url=pack_message(Bucket()).type_url, value=b"\xff")],
    ids=["of another type", "broken"],
)
async def test_a_value_that_is_no_bucket_is_not_taken_for_one(
    serve: Serve, store: MemoryStore, clock: ManualClock, stored: Any
) -> None:
    epoch = await store.claim(range(SLICES))
    await store.commit(Commit(KEY, epoch, (PutValue(0, stored),)))

    async with serve(quotas(), store, clock) as client:
        with pytest.raises(CorruptState, match="expected a stored bucket"):
            await client.left("k")
        assert await client.left("other") == 10


def quotas_with_spend(handler: object) -> RateLimitedEntity:
    entity = RateLimitedEntity(QUOTAS, capacity=10, refill_per_s=1)
    entity.command_handler("Spend")(handler)

    @entity.command_handler("Show")
    async def show(ctx: RateLimitContext) -> Quota:
        return Quota(left=ctx.available)

    return entity


def raising(request: SpendRequest, ctx: RateLimitContext) -> Quota:
    ctx.take(request.units)
    raise ZeroDivisionError("secret")


def failing(request: SpendRequest, ctx: RateLimitContext) -> Quota:
    ctx.take(request.units)
    ctx.effect(QUOTAS, "Show", ShowRequest(api_key="k"))
    ctx.fail("not today")
