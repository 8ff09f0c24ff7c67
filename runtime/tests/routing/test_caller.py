from __future__ import annotations

import asyncio

import pytest
from runtime_doubles.engines import settled
from runtime_doubles.routes import Handlers, effect, forwards, gate, packed, replies

from cloudstate.entity_pb2 import ClientAction, Failure
from cloudstate_core.caller import Ask
from cloudstate_core.errors import AskFailed, StoreUnavailable
from cloudstate_core.failure_code import with_code
from cloudstate_core.handler import Conditions, Hop, Outcome
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.waiting import waiting_of
from cloudstate_runtime.routing.caller import RuntimeCaller
from cloudstate_runtime.routing.router import Router
from cloudstate_runtime.routing.served import ServedNow

HOP = Hop("r.C", "Do", "ask")


@pytest.fixture
def caller(router: Router, served: ServedNow, clock: ManualClock) -> RuntimeCaller:
    return RuntimeCaller(router, served, clock)


def ask(service: str = "r.A", command: str = "Do", **more) -> Ask:
    return Ask(service, command, packed(), 5.0, hop=HOP, **more)


async def refused(caller: RuntimeCaller, asked: Ask) -> AskFailed:
    with pytest.raises(AskFailed) as caught:
        await caller.ask(asked)
    return caught.value


async def test_the_reply_comes_back_packed(caller: RuntimeCaller, handlers: Handlers) -> None:
    assert await caller.ask(ask()) == replies().action.reply.payload


async def test_a_request_says_who_asks_and_until_when(
    caller: RuntimeCaller, handlers: Handlers, clock: ManualClock
) -> None:
    await caller.ask(ask(metadata=Metadata([("a", "1")]), waiting=("r.C/joe",), command_key="once"))

    (request,) = handlers.requests
    assert request.hops == (HOP,)
    assert request.deadline_s == clock.monotonic_s() + 5.0
    assert request.waiting == ("r.C/joe",)
    assert waiting_of(request.metadata) == ("r.C/joe",)
    assert request.metadata.get("a") == "1"
    assert request.conditions == Conditions(command_key="once")


async def test_whom_it_is_forwarded_to_answers_and_knows_who_waits(
    caller: RuntimeCaller, handlers: Handlers
) -> None:
    handlers.answers_with("A", forwards("B"))

    assert await caller.ask(ask(waiting=("r.C/joe",))) == replies().action.reply.payload
    assert [each.waiting for each in handlers.requests] == [("r.C/joe",), ("r.C/joe",)]
    assert waiting_of(handlers.requests[1].metadata) == ("r.C/joe",)


async def test_a_failure_comes_with_its_text_and_code(
    caller: RuntimeCaller, handlers: Handlers
) -> None:
    failure = with_code(Failure(description="sold out"), Status.OUT_OF_RANGE)
    handlers.answers_with("A", Outcome(ClientAction(failure=failure)))

    error = await refused(caller, ask())

    assert (str(error), error.code) == ("sold out", Status.OUT_OF_RANGE)


async def test_what_goes_wrong_on_the_way_has_its_own_code(
    caller: RuntimeCaller, handlers: Handlers
) -> None:
    handlers.raises("A", StoreUnavailable("the disk is gone"))

    error = await refused(caller, ask())

    assert (str(error), error.code) == ("r.A.Do: the disk is gone", Status.UNAVAILABLE)


async def test_no_answer_in_time_ends_the_waiting_and_nothing_else(
    caller: RuntimeCaller, handlers: Handlers, clock: ManualClock
) -> None:
    gate(handlers, "A")
    asking = asyncio.create_task(refused(caller, ask()))
    await settled()

    await clock.advance(5.1)

    error = await asking
    assert (str(error), error.code) == ("r.A.Do: no answer within 5 s", Status.DEADLINE_EXCEEDED)


async def test_what_was_asked_is_carried_out_to_its_end_whoever_is_cancelled(
    caller: RuntimeCaller, handlers: Handlers
) -> None:
    handlers.answers_with("A", replies(effect("B", synchronous=True), effect("C")))
    opened = gate(handlers, "B")
    asking = asyncio.create_task(caller.ask(ask()))
    await settled()

    asking.cancel()
    await settled()
    opened.set()
    await settled()

    assert asking.cancelled()
    assert [request.service for request in handlers.requests] == ["r.A", "r.B", "r.C"]


async def test_what_is_asked_hears_that_nobody_waits_any_more(
    caller: RuntimeCaller, handlers: Handlers
) -> None:
    gate(handlers, "A")
    asking = asyncio.create_task(caller.ask(ask()))
    await settled()
    departure = handlers.requests[0].departure
    assert departure is not None
    assert not departure.has_left()
    heard: list[str] = []
    departure.when_left(lambda: heard.append("left"))

    asking.cancel()
    await settled()

    assert departure.has_left()
    assert heard == ["left"]


async def test_an_unknown_service_is_told_to_the_author_of_the_one_who_asks(
    caller: RuntimeCaller, reports: list[tuple[str, str]]
) -> None:
    error = await refused(caller, ask("r.Lost"))

    assert error.code is Status.INTERNAL
    ((service, message),) = reports
    assert service == "r.C"
    assert message.startswith("Service [r.Lost] unknown")


async def test_no_answer_at_all_is_an_error(caller: RuntimeCaller, handlers: Handlers) -> None:
    handlers.answers_with("A", Outcome(ClientAction()))

    error = await refused(caller, ask())

    assert (str(error), error.code) == ("r.A.Do: the user function gave no reply", Status.INTERNAL)


async def test_those_who_ask_one_another_without_end_are_stopped(
    caller: RuntimeCaller, handlers: Handlers
) -> None:
    error = await refused(caller, ask(waiting=tuple(f"r.C/{n}" for n in range(99))))

    assert "handlers wait for one another" in str(error)
    assert handlers.requests == []
