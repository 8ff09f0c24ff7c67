from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from runtime_doubles.engines import FakeEngine, FakeHome, Gate, order, replied, settled

from cloudstate_core.errors import (
    DeadlineExceeded,
    LimitExceeded,
    RevisionConflict,
    SequenceConflict,
    StaleEpoch,
    Stopping,
    StoreUnavailable,
    UserFunctionError,
    UserFunctionUnavailable,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.activation import Activation


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def home(clock: ManualClock) -> FakeHome:
    return FakeHome(clock)


@pytest.fixture
def activation(home: FakeHome) -> Activation:
    return Activation("joe", home)


def first_then_well(*errors: BaseException) -> Callable[[FakeEngine, Request], object]:
    """Raise each of these once, and answer well after that."""
    left = list(errors)

    async def answer(engine: FakeEngine, request: Request) -> Outcome:
        if left:
            raise left.pop(0)
        return replied(request.payload)

    return answer


def started(activation: Activation, *amounts: int, **more) -> list[asyncio.Task[Outcome]]:
    return [asyncio.create_task(activation.handle(order(amount=a, **more))) for a in amounts]


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


# --- Errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("gone"),
        StaleEpoch("joe", held=1, current=2),
        UserFunctionUnavailable("Unexpected entity termination"),
        DeadlineExceeded("the user function did not answer within 1 s"),
        UserFunctionError("Unexpected entity reply"),
        ZeroDivisionError("a defect"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_goes_wrong_the_next_command_begins_from_the_store(
    error: Exception, activation: Activation, home: FakeHome
) -> None:
    home.engines.answer = first_then_well(error)
    first, second = started(activation, 1, 2)

    with pytest.raises(type(error)):
        await first
    await second

    old, new = home.engines.made
    assert (old.handled, new.handled) == ([1], [2])
    assert home.retired == [old]
    assert ("crashed", "joe", type(error).__name__) in home.instrument.told


@pytest.mark.parametrize(
    ("error", "report"),
    [
        (
            UserFunctionError("Unexpected entity reply", detail="to command 7"),
            "shop.Orders: Unexpected entity reply: to command 7",
        ),
        (UserFunctionUnavailable("Unexpected entity termination"), "shop.Orders: Unexpected"),
        (DeadlineExceeded("no answer within 1 s"), "shop.Orders: no answer within 1 s"),
        (StoreUnavailable("gone"), None),
        (ValueError("a defect"), None),
    ],
    ids=["protocol", "termination", "timeout", "store", "defect"],
)
async def test_the_author_is_told_what_the_user_function_did_and_nothing_else(
    error: Exception, report: str | None, activation: Activation, home: FakeHome
) -> None:
    home.engines.answer = first_then_well(error)

    with pytest.raises(type(error)):
        await activation.handle(order())

    assert len(home.reports) == (0 if report is None else 1)
    assert report is None or home.reports[0].startswith(report)


@pytest.mark.parametrize("where", ["start", "open"])
async def test_an_engine_that_does_not_start_is_tried_again_for_the_next_command(
    where: str, activation: Activation, home: FakeHome
) -> None:
    async def fail_once(engine: FakeEngine) -> None:
        home.engines.when_opened = None
        raise StoreUnavailable("gone")

    if where == "start":
        home.engines.start_error = StoreUnavailable("gone")
    else:
        home.engines.when_opened = fail_once

    with pytest.raises(StoreUnavailable):
        await activation.handle(order(amount=1))
    await activation.handle(order(amount=2))

    assert home.engines.made[-1].handled == [2]
    assert home.instrument.told.count(("activated", "joe")) == 1


async def test_something_else_that_was_cancelled_does_not_stop_the_turns(
    activation: Activation, home: FakeHome
) -> None:
    home.engines.answer = first_then_well(asyncio.CancelledError())
    first, second = started(activation, 1, 2)

    with pytest.raises(UserFunctionUnavailable, match="Unexpected entity termination"):
        await first
    await second

    assert [engine.handled for engine in home.engines.made] == [[1], [2]]


async def test_an_instrument_that_raises_does_not_stop_the_turns(
    activation: Activation, home: FakeHome, logged: list[dict[str, object]]
) -> None:
    def raising(*_: object) -> None:
        raise RuntimeError("a bad instrument")

    home.instrument.command_handled = raising

    assert await asyncio.gather(*started(activation, 1, 2))
    await settled()
    assert not activation.is_busy()
    assert [entry["event"] for entry in logged] == ["turn_ended_badly"] * 2


# --- Lost races ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "conflict",
    [
        SequenceConflict("joe", expected=1, actual=2),
        RevisionConflict("joe", expected=1, actual=2),
    ],
    ids=["sequence", "revision"],
)
async def test_a_lost_race_is_tried_once_more_from_the_store(
    conflict: Exception, activation: Activation, home: FakeHome
) -> None:
    home.engines.answer = first_then_well(conflict)

    await activation.handle(order(amount=7))

    old, new = home.engines.made
    assert (old.handled, new.handled) == ([7], [7])
    assert home.retired == [old]
    assert ("crashed", "joe", type(conflict).__name__) not in home.instrument.told


async def test_a_second_lost_race_is_the_callers_to_know(
    activation: Activation, home: FakeHome
) -> None:
    conflict = SequenceConflict("joe", expected=1, actual=2)
    home.engines.answer = first_then_well(conflict, conflict)

    with pytest.raises(SequenceConflict):
        await activation.handle(order(amount=7))
    await activation.handle(order(amount=8))

    assert [engine.handled for engine in home.engines.made] == [[7], [7], [8]]
    assert home.retired == home.engines.made[:2]


# --- Engines that are replaced -------------------------------------------------------


async def test_an_engine_that_became_unusable_is_replaced_before_the_next_command(
    activation: Activation, home: FakeHome
) -> None:
    await activation.handle(order(amount=1))
    home.engines.made[0].usable = False
    await activation.handle(order(amount=2))

    assert [engine.handled for engine in home.engines.made] == [[1], [2]]
    assert home.retired == home.engines.made[:1]


async def test_a_restart_opens_a_new_engine_before_the_next_command_but_not_before_the_answer(
    activation: Activation, home: FakeHome
) -> None:
    seen: list[tuple[bool, bool]] = []

    async def restart_once(engine: FakeEngine, request: Request) -> Outcome:
        home.engines.answer = None
        home.engines.when_opened = opened
        return replied(request.payload, restart=True)

    async def opened(engine: FakeEngine) -> None:
        await settled()
        seen.append((task.done(), follower.done()))

    home.engines.answer = restart_once
    task, follower = started(activation, 1, 2)
    await asyncio.gather(task, follower)

    assert [engine.handled for engine in home.engines.made] == [[1], [2]]
    assert seen == [(True, False)]
    assert home.retired == home.engines.made[:1]


async def test_a_restart_happens_even_if_no_command_follows(
    activation: Activation, home: FakeHome
) -> None:
    async def restart(engine: FakeEngine, request: Request) -> Outcome:
        return replied(request.payload, restart=True)

    home.engines.answer = restart
    await activation.handle(order())
    await activation.drain()

    assert [engine.is_open for engine in home.engines.made] == [True, True]
    assert home.retired == home.engines.made[:1]


@pytest.mark.parametrize(
    "error", [StoreUnavailable("gone"), ValueError("a defect"), asyncio.CancelledError()]
)
async def test_a_restart_that_fails_leaves_the_next_command_unharmed(
    error: BaseException, activation: Activation, home: FakeHome
) -> None:
    async def restart_once(engine: FakeEngine, request: Request) -> Outcome:
        home.engines.answer = None
        home.engines.when_opened = fail_once
        return replied(request.payload, restart=True)

    async def fail_once(engine: FakeEngine) -> None:
        home.engines.when_opened = None
        raise error

    home.engines.answer = restart_once
    await asyncio.gather(*started(activation, 1, 2))

    assert [engine.handled for engine in home.engines.made] == [[1], [], [2]]
    assert home.retired == home.engines.made[:2]


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
