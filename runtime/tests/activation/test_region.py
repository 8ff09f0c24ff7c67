from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from runtime_doubles.engines import (
    ORDERS,
    Engines,
    FakeEngine,
    Gate,
    Notes,
    order,
    replied,
    settled,
)

from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import (
    LimitExceeded,
    MalformedRequest,
    Stopping,
    UnknownService,
    UserFunctionError,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.grace import Grace
from cloudstate_runtime.activation.region import Region, open_region

TIMEOUT_S = 30.0


@dataclass
class Opened:
    """An open region and what stands around it."""

    region: Region
    engines: Engines
    clock: ManualClock
    notes: Notes
    reports: list[str]

    async def ask(self, entity_id: str, amount: int = 0) -> Outcome:
        return await self.region.handle(order(entity_id, amount))

    def start(self, *entity_ids: str) -> list[asyncio.Task[Outcome]]:
        return [asyncio.create_task(self.ask(entity_id)) for entity_id in entity_ids]

    @property
    def live(self) -> list[str]:
        return list(self.region._live)


@asynccontextmanager
async def opened(
    entity: DeployedEntity = ORDERS,
    *,
    passes_metadata: bool = False,
    max_waiting_commands: int = 100,
    max_active_entities: int = 100,
    drain_grace_s: float = 10.0,
) -> AsyncIterator[Opened]:
    clock, engines, notes, reports = ManualClock(), Engines(), Notes(), []
    region = Region(
        entity,
        engines.start,
        reports.append,
        MemoryStore(clock),
        clock,
        notes,
        passes_metadata=passes_metadata,
        passivation_timeout_s=TIMEOUT_S,
        max_waiting_commands=max_waiting_commands,
        max_active_entities=max_active_entities,
    )
    async with open_region(region, Grace(clock, drain_grace_s)):
        yield Opened(region, engines, clock, notes, reports)


async def never(engine: FakeEngine) -> None:
    await asyncio.Event().wait()


# --- Finding the entity --------------------------------------------------------------


async def test_each_id_has_one_live_entity() -> None:
    async with opened() as it:
        await asyncio.gather(*it.start("a", "b", "a", "b", "a"))

        assert [engine.entity_id for engine in it.engines.made] == ["a", "b"]


async def test_entities_do_not_wait_for_each_other() -> None:
    async with opened() as it:
        gates = {name: Gate() for name in "ab"}

        async def answer(engine: FakeEngine, request: Request) -> Outcome:
            return await gates[engine.entity_id](engine, request)

        it.engines.answer = answer
        first, second = it.start("a", "b")
        await settled()
        gates["b"].open()
        await second

        assert not first.done()
        gates["a"].open()
        await first


@pytest.mark.parametrize("passes_metadata", [False, True])
async def test_an_engine_gets_the_clients_headers_only_if_its_service_passes_them_on(
    passes_metadata: bool,
) -> None:
    headers, seen = Metadata([("tenant", "a")]), []

    async def answer(engine: FakeEngine, request: Request) -> Outcome:
        seen.append(request)
        return replied(request.payload)

    async with opened(passes_metadata=passes_metadata) as it:
        it.engines.answer = answer
        with_headers = order(metadata=headers, deadline_s=5.0)
        await it.region.handle(with_headers)
        await it.region.handle(order())

    expected = headers if passes_metadata else EMPTY_METADATA
    assert seen == [order(metadata=expected, deadline_s=5.0), order()]
    assert with_headers.metadata == headers


@pytest.mark.parametrize("entity_id", ["é", "a\0b", "../x", "𝄞" * 128, "a b;--", "\u202ertl"])
async def test_any_text_is_an_id(entity_id: str) -> None:
    async with opened() as it:
        await it.ask(entity_id)
        await it.ask(entity_id)

        assert it.live == [entity_id]


async def test_a_request_without_an_id_reaches_nobody() -> None:
    async with opened() as it:
        with pytest.raises(MalformedRequest):
            await it.ask("")

        assert (it.live, it.engines.made) == ([], [])


async def test_an_unknown_command_reaches_nobody() -> None:
    async with opened() as it:
        with pytest.raises(UnknownService, match="no method 'Lose' with an entity key"):
            await it.region.handle(replace(order(), command="Lose"))

        assert it.live == []


async def test_the_author_is_told_of_a_broken_protocol() -> None:
    async with opened() as it:

        async def answer(engine: FakeEngine, request: Request) -> Outcome:
            raise UserFunctionError("Unexpected entity reply")

        it.engines.answer = answer
        with pytest.raises(UserFunctionError):
            await it.ask("a")

        assert it.reports == ["shop.Orders: Unexpected entity reply"]


# --- Leaving memory ------------------------------------------------------------------


async def test_an_idle_entity_leaves_memory_when_its_time_is_over() -> None:
    async with opened() as it:
        await it.ask("a")
        await it.clock.advance(TIMEOUT_S - 1)
        assert it.live == ["a"]

        await it.clock.advance(1)

        assert it.live == []
        assert it.engines.made[0].closed
        assert it.notes.told[-1] == ("passivated", "a")


async def test_every_command_begins_the_time_anew() -> None:
    async with opened() as it:
        for _ in range(5):
            await it.ask("a")
            await it.clock.advance(TIMEOUT_S - 1)

        assert len(it.engines.made) == 1


async def test_a_busy_entity_stays_and_its_time_begins_when_it_becomes_idle() -> None:
    async with opened() as it:
        it.engines.answer = gate = Gate()
        (task,) = it.start("a")
        await it.clock.advance(10 * TIMEOUT_S)
        assert it.live == ["a"]

        gate.open()
        await task
        await it.clock.advance(TIMEOUT_S - 1)
        assert it.live == ["a"]
        await it.clock.advance(1)
        assert it.live == []


async def test_an_entity_with_a_time_of_its_own_follows_that() -> None:
    async with opened(replace(ORDERS, passivation_timeout_s=2.0)) as it:
        await it.ask("a")
        await it.clock.advance(1.9)
        assert it.live == ["a"]
        await it.clock.advance(0.1)
        assert it.live == []


@pytest.mark.parametrize("timeout_s", [1e-9, 1e12], ids=["no time", "ages"])
async def test_an_extreme_time_neither_spins_nor_overflows(timeout_s: float) -> None:
    async with opened(replace(ORDERS, passivation_timeout_s=timeout_s)) as it:
        await it.ask("a")
        woken = it.clock._set_so_far
        async with asyncio.timeout(10):  # for one that spins, the manual clock never gets there
            await it.clock.advance(1.0)

        assert it.clock._set_so_far - woken <= 101
        assert it.live == ([] if timeout_s < 1 else ["a"])


async def test_many_due_at_once_leave_memory_and_let_commands_through() -> None:
    async with opened(max_active_entities=1_000) as it:
        for i in range(1_000):
            await it.ask(f"e{i}")
        await it.clock.advance(TIMEOUT_S - 1)
        await it.ask("e999")
        await it.clock.advance(1)

        assert it.live == ["e999"]


async def test_an_entity_that_left_is_back_with_the_next_command() -> None:
    async with opened() as it:
        await it.ask("a", 1)
        await it.clock.advance(TIMEOUT_S)
        await it.ask("a", 2)

        assert [engine.handled for engine in it.engines.made] == [[1], [2]]


async def test_it_is_back_at_once_although_the_old_one_never_closes() -> None:
    async with opened() as it:
        it.engines.when_closed = never
        await it.ask("a", 1)
        await it.clock.advance(TIMEOUT_S)
        await it.ask("a", 2)

        old, new = it.engines.made
        assert (old.closed, new.handled) == (False, [2])
        it.engines.when_closed = None
        await it.clock.advance(TIMEOUT_S)


async def test_an_engine_that_never_closes_is_given_up() -> None:
    async with opened() as it:
        it.engines.when_closed = never
        await it.ask("a")
        await it.clock.advance(TIMEOUT_S)
        assert len(it.region._retiring) == 1

        await it.clock.advance(5)
        assert len(it.region._retiring) == 0


async def test_an_engine_that_fails_to_close_is_logged_and_forgotten(
    logged: list[dict[str, object]],
) -> None:
    async def fail(engine: FakeEngine) -> None:
        raise RuntimeError("a bad engine")

    async with opened() as it:
        it.engines.when_closed = fail
        await it.ask("a")
        await it.clock.advance(TIMEOUT_S)

        assert len(it.region._retiring) == 0
        assert [entry["event"] for entry in logged] == ["engine_failed_to_close"]


async def test_an_instrument_that_raises_does_not_keep_the_others_in_memory() -> None:
    def raising(*_: object) -> None:
        raise RuntimeError("a bad instrument")

    async with opened() as it:
        it.notes.entity_passivated = raising
        await it.ask("a")
        await it.ask("b")
        await it.clock.advance(TIMEOUT_S)
        assert it.live == []

        await it.ask("c")
        await it.clock.advance(TIMEOUT_S)
        assert it.live == []


# --- Full memory ---------------------------------------------------------------------


async def test_when_memory_is_full_the_least_recently_used_idle_entity_leaves() -> None:
    async with opened(max_active_entities=3) as it:
        for entity_id in "abca":
            await it.ask(entity_id)
        await it.ask("d")

        assert sorted(it.live) == ["a", "c", "d"]
        assert ("passivated", "b") in it.notes.told


async def test_a_busy_entity_does_not_leave_although_memory_is_full() -> None:
    async with opened(max_active_entities=2) as it:
        it.engines.answer = gate = Gate()
        (task,) = it.start("a")
        await settled()
        it.engines.answer = None
        for entity_id in "bcd":
            await it.ask(entity_id)

        assert sorted(it.live) == ["a", "d"]
        gate.open()
        await task


async def test_when_all_are_busy_a_newcomer_is_refused_with_a_hint_and_old_ones_are_served() -> (
    None
):
    async with opened(max_active_entities=2) as it:
        it.engines.answer = gate = Gate()
        tasks = it.start("a", "b")
        await settled()

        with pytest.raises(LimitExceeded, match="too many entities are busy") as caught:
            await it.ask("c")

        assert caught.value.retry_after_s == 0.5
        tasks += it.start("a")
        gate.open()
        await asyncio.gather(*tasks)
        await it.ask("c")


# --- The end -------------------------------------------------------------------------


async def test_in_the_end_what_runs_and_waits_is_finished_and_every_engine_closed() -> None:
    async with opened() as it:
        it.engines.answer = gate = Gate()
        tasks = it.start("a", "a", "b")
        await settled()
        asyncio.get_running_loop().call_soon(gate.open)

    assert [task.exception() for task in tasks] == [None] * 3
    assert all(engine.closed for engine in it.engines.made)
    assert it.clock.monotonic_s() == 0
    assert it.clock.waiting == 0


async def test_what_does_not_finish_in_time_is_given_up() -> None:
    clock_moves: list[asyncio.Task[None]] = []
    async with opened(drain_grace_s=3.0) as it:
        it.engines.answer = Gate()
        tasks = it.start("a", "a", "b")
        await settled()
        clock_moves.append(asyncio.create_task(it.clock.advance(3.0)))

    for task in tasks:
        with pytest.raises(Stopping):
            await task
    assert all(engine.closed for engine in it.engines.made)
    assert it.clock.monotonic_s() == pytest.approx(3.0)
    await asyncio.gather(*clock_moves)


async def test_nothing_new_is_taken_while_the_rest_is_finished() -> None:
    refused: list[str] = []

    async def try_both(it: Opened, gate: Gate) -> None:
        for entity_id in ("a", "new"):
            with pytest.raises(Stopping):
                await it.ask(entity_id)
            refused.append(entity_id)
        gate.open()

    async with opened() as it:
        it.engines.answer = gate = Gate()
        (task,) = it.start("a")
        await settled()
        trying = asyncio.create_task(asyncio.sleep(0))
        trying.add_done_callback(lambda _: attempts.append(asyncio.create_task(try_both(it, gate))))
        attempts: list[asyncio.Task[None]] = []

    await asyncio.gather(task, *attempts)
    assert refused == ["a", "new"]


async def test_engines_that_never_close_do_not_hold_up_the_end_for_ever() -> None:
    clock_moves: list[asyncio.Task[None]] = []
    async with opened() as it:
        it.engines.when_closed = never
        await it.ask("a")
        clock_moves.append(asyncio.create_task(it.clock.advance(5.0)))

    await asyncio.gather(*clock_moves)
    assert it.clock.monotonic_s() == pytest.approx(5.0)


async def test_several_regions_share_one_grace() -> None:
    clock = ManualClock()
    grace = Grace(clock, 10.0)

    def region() -> Region:
        engines = Engines()
        engines.answer = Gate()
        return Region(
            ORDERS,
            engines.start,
            print,
            MemoryStore(clock),
            clock,
            Notes(),
            passes_metadata=False,
            passivation_timeout_s=30,
            max_waiting_commands=1,
            max_active_entities=1,
        )

    async with (
        open_region(region(), grace) as first,
        open_region(region(), grace) as second,
        open_region(region(), grace) as third,
    ):
        tasks = [asyncio.create_task(each.handle(order())) for each in (first, second, third)]
        await settled()
        moving = asyncio.create_task(clock.advance(10.0))
    await moving

    assert clock.monotonic_s() == 10.0
    for task in tasks:
        with pytest.raises(Stopping):
            await task
