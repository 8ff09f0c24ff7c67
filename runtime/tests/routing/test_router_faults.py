from __future__ import annotations

import asyncio

import pytest
from runtime_doubles.engines import settled
from runtime_doubles.routes import Handlers, effect, forwards, gate, replies, request

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.errors import (
    DeadlineExceeded,
    LimitExceeded,
    MalformedRequest,
    RoutingError,
    Stopping,
    StoreUnavailable,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.routing.router import Router
from cloudstate_runtime.routing.served import ServedNow

# --- What leads nowhere --------------------------------------------------------------


async def test_an_unknown_service_is_reported_with_the_way_to_it(
    router: Router, handlers: Handlers, reports: list[tuple[str, str]]
) -> None:
    handlers.answers_with("A", replies(effect("B", synchronous=True)))
    handlers.answers_with("B", forwards("Lost"))

    with pytest.raises(RoutingError) as caught:
        await router.handle(request())

    assert reports == [
        ("r.B", "Service [r.Lost] unknown\n  forwarded from r.B.Do\n  as side effect of r.A.Do")
    ]
    assert str(caught.value) == "r.B.Do: its forward leads nowhere"
    assert "r.Lost" in caught.value.detail


async def test_an_unknown_command_is_reported_with_the_way_to_it(
    router: Router, handlers: Handlers, reports: list[tuple[str, str]]
) -> None:
    handlers.answers_with("A", replies(effect("B", command="Lose", synchronous=True)))

    with pytest.raises(RoutingError, match=r"r\.A\.Do: its side effect leads nowhere"):
        await router.handle(request())

    assert reports == [
        (
            "r.A",
            "Service [r.B] does not have a command named: [Lose]\n  as side effect of r.A.Do",
        )
    ]


async def test_an_asynchronous_effect_that_leads_nowhere_is_reported_and_the_call_succeeds(
    router: Router,
    handlers: Handlers,
    reports: list[tuple[str, str]],
    logged: list[dict[str, object]],
) -> None:
    handlers.answers_with("A", replies(effect("Lost"), effect("B", synchronous=True)))

    assert (await router.handle(request())).action.HasField("reply")
    await settled()

    assert handlers.order == ["r.A", "r.B"]
    assert reports == [("r.A", "Service [r.Lost] unknown\n  as side effect of r.A.Do")]
    assert [entry["event"] for entry in logged] == ["side_effect_failed"]


@pytest.mark.parametrize("how", ["forward", "effect"])
async def test_a_target_that_finds_the_request_malformed_is_not_the_clients_mistake(
    how: str, router: Router, handlers: Handlers, reports: list[tuple[str, str]]
) -> None:
    outcome = forwards("B") if how == "forward" else replies(effect("B", synchronous=True))
    handlers.answers_with("A", outcome)
    handlers.raises("B", MalformedRequest("the entity key is missing: set id of r.M"))

    with pytest.raises(RoutingError):
        await router.handle(request())

    assert reports[0][0] == "r.A"
    assert reports[0][1].startswith("the entity key is missing: set id of r.M\n")


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("gone"),
        DeadlineExceeded("too late"),
        LimitExceeded("too many", retry_after_s=1.0),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_other_errors_of_a_target_are_those_of_the_call(
    error: Exception, router: Router, handlers: Handlers, reports: list[tuple[str, str]]
) -> None:
    handlers.answers_with("A", forwards("B"))
    handlers.raises("B", error)

    with pytest.raises(type(error)):
        await router.handle(request())

    assert reports == []


# --- Types ---------------------------------------------------------------------------


async def test_an_answer_of_another_type_is_reported_and_passed_on(
    router: Router, handlers: Handlers, reports: list[tuple[str, str]]
) -> None:
    other = replies(type_url="type.googleapis.com/r.Other")
    handlers.answers_with("A", forwards("B", command="Ask"))
    handlers.answers_with("B", other)

    assert await router.handle(request()) is other
    assert reports == [
        (
            "r.A",
            (
                "Warning: r.A.Do forwarded to a command that answered "
                "'type.googleapis.com/r.Other', expected 'type.googleapis.com/r.M'"
            ),
        )
    ]


async def test_only_the_type_that_the_client_expects_matters(
    router: Router, handlers: Handlers, reports: list[tuple[str, str]]
) -> None:
    handlers.answers_with("A", forwards("B", command="Ask"))
    handlers.answers_with("B", forwards("C"))

    await router.handle(request())

    assert reports == []


def nothing() -> Outcome:
    return Outcome(ClientAction())


async def test_an_answer_without_an_action_is_reported_and_passed_on(
    router: Router, handlers: Handlers, reports: list[tuple[str, str]]
) -> None:
    handlers.answers_with("A", nothing())

    outcome = await router.handle(request())

    assert outcome == nothing()
    assert reports == [
        ("r.A", "r.A.Do: expected a reply, a forward or a failure, found none of them")
    ]


async def test_who_was_forwarded_to_and_gives_no_answer_is_the_one_who_is_told(
    router: Router, handlers: Handlers, reports: list[tuple[str, str]]
) -> None:
    handlers.answers_with("A", forwards("B"))
    handlers.answers_with("B", nothing())

    await router.handle(request())

    assert [service for service, _ in reports] == ["r.B"]


async def test_an_answer_that_nobody_waits_for_may_be_missing(
    router: Router, handlers: Handlers, reports: list[tuple[str, str]]
) -> None:
    handlers.answers_with("A", replies(effect("B", synchronous=True)))
    handlers.answers_with("B", nothing())

    await router.handle(request())

    assert reports == []


async def test_a_service_that_is_gone_when_its_forward_returns_is_no_defect(
    router: Router, handlers: Handlers, served: ServedNow
) -> None:
    async def withdraw(request: Request) -> Outcome:
        served.withdraw("here")
        return replies()

    handlers.answers_with("A", forwards("B"))
    handlers.answers["r.B"] = withdraw

    assert (await router.handle(request())).action.HasField("reply")


# --- The end -------------------------------------------------------------------------


async def test_draining_waits_for_requests_their_effects_and_the_effects_of_those(
    router: Router, handlers: Handlers
) -> None:
    gates = {name: gate(handlers, name) for name in "AC"}

    async def first(request: Request) -> Outcome:
        await gates["A"].wait()
        return replies(effect("B"))

    handlers.answers["r.A"] = first
    handlers.answers_with("B", replies(effect("C")))
    asking = asyncio.create_task(router.handle(request()))
    await settled()
    draining = asyncio.create_task(router.drain(10.0))
    await settled()

    gates["A"].set()
    await settled()
    assert (asking.done(), handlers.order) == (True, ["r.A", "r.B", "r.C"])
    assert not draining.done()
    gates["C"].set()
    await draining


async def test_nothing_new_is_taken_while_draining_but_what_was_taken_is_followed(
    router: Router, handlers: Handlers
) -> None:
    opened = gate(handlers, "A")

    async def first(request: Request) -> Outcome:
        await opened.wait()
        return forwards("B")

    handlers.answers["r.A"] = first
    asking = asyncio.create_task(router.handle(request()))
    await settled()
    draining = asyncio.create_task(router.drain(10.0))
    await settled()

    with pytest.raises(Stopping):
        await router.handle(request("C"))
    opened.set()
    await draining
    assert (await asking).action.HasField("reply")


async def test_draining_with_nothing_to_wait_for_ends_at_once(
    router: Router, handlers: Handlers, clock: ManualClock
) -> None:
    handlers.answers_with("A", replies(effect("B")))
    await router.handle(request())
    await settled()

    await router.drain(10.0)

    assert clock.monotonic_s() == 0


async def test_draining_ends_with_the_grace_and_cuts_effects_off(
    router: Router, handlers: Handlers, clock: ManualClock, logged: list[dict[str, object]]
) -> None:
    gate(handlers, "B")
    handlers.answers_with("A", replies(effect("B"), effect("B")))
    await router.handle(request())
    draining = asyncio.create_task(router.drain(10.0))
    await clock.advance(9.9)
    assert not draining.done()

    await clock.advance(0.1)
    await draining

    (entry,) = [each for each in logged if each["event"] == "requests_given_up"]
    assert (entry["running"], entry["side_effects"]) == (2, 2)
    assert router._running == 0
    assert router._effects == set()
