from __future__ import annotations

import asyncio

import pytest
from runtime_doubles.engines import (
    FakeEngine,
    FakeHome,
    Gate,
    order,
    replied,
    settled,
    started,
)

from cloudstate_core.errors import (
    DeadlineExceeded,
    LimitExceeded,
    Stopping,
    StoreUnavailable,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.activation import Activation

# --- Turns ---------------------------------------------------------------------------


async def test_commands_are_carried_out_one_at_a_time_in_the_order_of_arrival(
    activation: Activation, home: FakeHome
) -> None:
    async def slowly(engine: FakeEngine, request: Request) -> Outcome:
        await settled()
        return replied(request.payload)

    home.engines.answer = slowly
    home.max_waiting_commands = 10
    answers = await asyncio.gather(*started(activation, *range(10)))

    (engine,) = home.engines.made
    assert engine.handled == list(range(10))
    assert len({id(answer) for answer in answers}) == 10
    assert home.idle == ["joe"]
    assert not activation.is_busy()


async def test_the_engine_stays_for_the_next_command(
    activation: Activation, home: FakeHome
) -> None:
    for amount in range(3):
        await activation.handle(order(amount=amount))

    (engine,) = home.engines.made
    assert engine.handled == [0, 1, 2]
    assert home.retired == []
    assert home.idle == ["joe"] * 3
    assert home.instrument.told[0] == ("activated", "joe")
    assert home.instrument.told.count(("activated", "joe")) == 1


async def test_how_long_a_command_took_is_told(
    activation: Activation, home: FakeHome, clock: ManualClock
) -> None:
    home.engines.answer = gate = Gate()
    (task,) = started(activation, 1)
    await clock.advance(1.5)
    gate.open()
    await task

    assert ("handled", "Place", 1.5) in home.instrument.told


# --- The queue -----------------------------------------------------------------------


async def test_more_than_may_wait_are_refused_with_a_hint(
    activation: Activation, home: FakeHome
) -> None:
    home.engines.answer = gate = Gate()
    running = started(activation, 0)
    await settled()
    running += started(activation, 1, 2, 3)
    await settled()

    with pytest.raises(LimitExceeded, match="at most 3 may") as caught:
        await activation.handle(order(amount=4))

    assert caught.value.retry_after_s == 0.1
    gate.open()
    await asyncio.gather(*running)
    assert home.engines.made[0].handled == [0, 1, 2, 3]


async def test_a_caller_that_leaves_frees_its_place(activation: Activation, home: FakeHome) -> None:
    home.engines.answer = gate = Gate()
    running = started(activation, 0)
    await settled()
    first, *others = started(activation, 1, 2, 3)
    await settled()

    first.cancel()
    await settled()
    others += started(activation, 4)
    await settled()
    gate.open()
    await asyncio.gather(*running, *others)

    assert home.engines.made[0].handled == [0, 2, 3, 4]
    assert first.cancelled()


async def test_those_whose_time_is_over_make_room(
    activation: Activation, home: FakeHome, clock: ManualClock
) -> None:
    home.engines.answer = gate = Gate()
    running = started(activation, 0)
    await settled()
    late = started(activation, 1, 2, deadline_s=5.0)
    patient = started(activation, 3, deadline_s=50.0)
    await clock.advance(6)

    patient += started(activation, 4, 5)
    await settled()
    gate.open()
    await asyncio.gather(*running, *patient)

    for task in late:
        with pytest.raises(DeadlineExceeded, match="before the command was begun"):
            await task
    assert home.engines.made[0].handled == [0, 3, 4, 5]


# --- Callers that leave --------------------------------------------------------------


async def test_a_command_that_was_begun_runs_to_its_end_although_its_caller_left(
    activation: Activation, home: FakeHome
) -> None:
    ends: list[int] = []

    async def answer(engine: FakeEngine, request: Request) -> Outcome:
        await settled()
        ends.append(len(engine.handled))
        return replied(request.payload)

    home.engines.answer = answer
    (task,) = started(activation, 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert home.engines.made[0].handled == [1]

    task.cancel()
    await activation.drain()

    assert task.cancelled()
    assert ends == [1]
    assert home.instrument.told[-1][0] == "handled"


async def test_a_command_that_was_not_begun_is_not_begun_once_its_caller_left(
    activation: Activation, home: FakeHome
) -> None:
    (task,) = started(activation, 1)
    task.cancel()
    await settled()
    await activation.drain()

    assert home.engines.made == []
    assert not activation.is_busy()


async def test_a_command_is_not_begun_in_the_moment_in_which_its_caller_leaves(
    activation: Activation, home: FakeHome
) -> None:
    home.engines.answer = gate = Gate()
    running, leaving = started(activation, 1, 2)
    await settled()

    gate.open()
    leaving.cancel()
    await running
    await activation.drain()

    assert home.engines.made[0].handled == [1]


async def test_a_caller_that_leaves_while_its_command_fails_leaves_no_trace(
    activation: Activation, home: FakeHome
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    callers: list[asyncio.Task[Outcome]] = []

    async def answer(engine: FakeEngine, request: Request) -> Outcome:
        asyncio.get_running_loop().call_soon(callers[0].cancel)
        raise StoreUnavailable("gone")

    home.engines.answer = answer
    callers += started(activation, 1)
    await activation.drain()
    await settled()
    await activation.drain()
    await asyncio.wait(callers)
    callers.clear()
    await settled()

    assert complaints == []


# --- Deadlines -----------------------------------------------------------------------


async def test_a_command_is_not_begun_after_its_deadline(
    activation: Activation, home: FakeHome, clock: ManualClock
) -> None:
    await clock.advance(10)

    for deadline_s in (10.0, 3.0):
        with pytest.raises(DeadlineExceeded, match="before the command was begun"):
            await activation.handle(order(deadline_s=deadline_s))

    assert home.engines.made == []


async def test_a_command_whose_deadline_passes_while_it_waits_is_not_begun(
    activation: Activation, home: FakeHome, clock: ManualClock
) -> None:
    home.engines.answer = gate = Gate()
    running = started(activation, 1, deadline_s=5.0)
    await settled()
    waiting = started(activation, 2, deadline_s=5.0)
    await clock.advance(5)
    gate.open()

    await running[0]  # it was begun in time
    with pytest.raises(DeadlineExceeded):
        await waiting[0]
    assert home.engines.made[0].handled == [1]


async def test_a_deadline_costs_no_timer(
    activation: Activation, home: FakeHome, clock: ManualClock
) -> None:
    home.engines.answer = gate = Gate()
    running = started(activation, 1, 2, deadline_s=5.0)
    await settled()

    assert clock.waiting == 0
    gate.open()
    await asyncio.gather(*running)


# --- The end -------------------------------------------------------------------------


async def test_draining_waits_for_what_runs_and_waits(
    activation: Activation, home: FakeHome
) -> None:
    home.engines.answer = gate = Gate()
    running = started(activation, 1, 2)
    await settled()
    draining = asyncio.create_task(activation.drain())
    await settled()
    assert not draining.done()

    gate.open()
    await draining

    assert all(task.done() for task in running)
    assert home.engines.made[0].handled == [1, 2]


async def test_stopping_gives_up_what_runs_and_tells_the_two_kinds_of_callers_apart(
    activation: Activation, home: FakeHome
) -> None:
    home.engines.answer = Gate()
    begun, waiting = started(activation, 1, 2)
    await settled()

    await activation.stop()

    with pytest.raises(Stopping, match="whether it was carried out is unknown"):
        await begun
    with pytest.raises(Stopping, match=r"^the runtime is stopping$"):
        await waiting
    assert home.retired == home.engines.made
    assert home.engines.made[0].handled == [1]


async def test_stopping_lets_go_of_the_engine_only_when_it_is_not_used_any_more(
    activation: Activation, home: FakeHome
) -> None:
    order_of_events: list[str] = []

    async def commits(engine: FakeEngine, request: Request) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            await settled()  # a store that finishes what it began
            order_of_events.append("command ended")
        raise AssertionError

    home.engines.answer = commits
    home.retire = lambda _: order_of_events.append("engine retired")
    (task,) = started(activation, 1)
    await settled()

    await activation.stop()

    assert order_of_events == ["command ended", "engine retired"]
    with pytest.raises(Stopping):
        await task


async def test_a_command_that_was_stored_while_stopping_is_not_answered_as_refused(
    activation: Activation, home: FakeHome
) -> None:
    """A store may finish its commit although nobody waits for it; the caller must know."""
    stored: list[int] = []

    async def commits(engine: FakeEngine, request: Request) -> Outcome:
        commit = asyncio.get_running_loop().create_task(settled())
        commit.add_done_callback(lambda _: stored.append(1))
        await asyncio.shield(commit)
        return replied(request.payload)

    home.engines.answer = commits
    (task,) = started(activation, 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    await activation.stop()
    await settled()
    await settled()

    assert stored == [1]
    with pytest.raises(Stopping, match="unknown"):
        await task


async def test_stopping_before_the_first_turn_leaves_nothing_behind(
    activation: Activation, home: FakeHome
) -> None:
    await activation.handle(order(amount=1))
    (task,) = started(activation, 2)
    await asyncio.sleep(0)  # it waits, and its turn has not begun

    await activation.stop()

    with pytest.raises(Stopping):
        await task
    assert home.retired == home.engines.made
    assert home.engines.made[0].handled == [1]
