from __future__ import annotations

import asyncio

import pytest
from runtime_doubles.engines import (
    FakeEngine,
    FakeHome,
    first_then_well,
    order,
    replied,
    settled,
    started,
)

from cloudstate_core.errors import (
    CloudstateError,
    DeadlineExceeded,
    RevisionConflict,
    SequenceConflict,
    StaleEpoch,
    StoreUnavailable,
    UserFunctionError,
    UserFunctionUnavailable,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_runtime.activation.activation import Activation

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
    home.engines.made[0].found = UserFunctionUnavailable("Unexpected entity termination")
    await activation.handle(order(amount=2))

    assert [engine.handled for engine in home.engines.made] == [[1], [2]]
    assert home.retired == home.engines.made[:1]


FAULTS = [
    (
        UserFunctionError("Unexpected entity reply", detail="sent a message"),
        ["shop.Orders: between two commands: Unexpected entity reply: sent a message"],
    ),
    (UserFunctionUnavailable("Unexpected entity termination", detail="stopping"), []),
    (StaleEpoch("joe", held=1, current=2), []),
]


@pytest.mark.parametrize(("fault", "reports"), FAULTS, ids=["protocol", "gone", "store"])
async def test_the_author_is_told_once_what_the_user_function_did_between_two_commands(
    fault: CloudstateError, reports: list[str], activation: Activation, home: FakeHome
) -> None:
    await activation.handle(order(amount=1))
    home.engines.made[0].found = fault
    await activation.handle(order(amount=2))
    await activation.handle(order(amount=3))

    assert home.reports == reports
    assert [engine.handled for engine in home.engines.made] == [[1], [2, 3]]


@pytest.mark.parametrize(("fault", "reports"), FAULTS, ids=["protocol", "gone", "store"])
async def test_the_author_is_told_in_the_end_if_no_further_command_came(
    fault: CloudstateError, reports: list[str], activation: Activation, home: FakeHome
) -> None:
    await activation.handle(order(amount=1))
    home.engines.made[0].found = fault

    activation.passivate()

    assert home.reports == reports
    assert home.retired == home.engines.made


async def test_an_engine_that_fails_while_it_is_asked_leaves_memory_all_the_same(
    activation: Activation, home: FakeHome, logged: list[dict[str, object]]
) -> None:
    await activation.handle(order(amount=1))
    (engine,) = home.engines.made
    engine.fault = lambda: 1 / 0

    activation.passivate()

    assert home.retired == [engine]
    assert [entry["event"] for entry in logged] == ["engine_failed"]


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
