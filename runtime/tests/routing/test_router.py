from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from google.protobuf.any_pb2 import Any
from runtime_doubles.deployed import deploy
from runtime_doubles.engines import settled
from runtime_doubles.specs import field, file, message, service

from cloudstate.entity_pb2 import ClientAction, Failure, Forward, Reply, SideEffect
from cloudstate.entity_pb2 import Metadata as WireMetadata
from cloudstate_core.errors import (
    DeadlineExceeded,
    LimitExceeded,
    MalformedRequest,
    RoutingError,
    Stopping,
    StoreUnavailable,
    UnknownService,
)
from cloudstate_core.handler import Hop, Outcome, Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.routing.router import Router
from cloudstate_runtime.routing.served import ServedNow

Answer = Callable[[Request], Awaitable[Outcome]]

ROUTES = file(
    "routes.proto",
    "r",
    message("M", field("id", 1, key=True)),
    message("Other"),
    service=[
        service(name, {"Do": (".r.M", ".r.M"), "Ask": (".r.M", ".r.Other")}) for name in "ABC"
    ],
    dependency=["cloudstate/entity_key.proto"],
)


class Handlers:
    """One handler for all services, which does what the test says and notes it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: dict[str, Answer] = {}

    async def handle(self, request: Request) -> Outcome:
        self.requests.append(request)
        answer = self.answers.get(request.service)
        return replies() if answer is None else await answer(request)

    @property
    def order(self) -> list[str]:
        return [request.service for request in self.requests]

    def answers_with(self, service: str, outcome: Outcome) -> None:
        async def answer(request: Request) -> Outcome:
            return outcome

        self.answers[f"r.{service}"] = answer

    def raises(self, service: str, error: Exception) -> None:
        async def answer(request: Request) -> Outcome:
            raise error

        self.answers[f"r.{service}"] = answer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def served(handlers: Handlers) -> ServedNow:
    served = ServedNow()
    deployment = deploy(ROUTES, services=("r.A", "r.B", "r.C"))
    served.deploy(deployment, dict.fromkeys(("r.A", "r.B", "r.C"), handlers))
    return served


@pytest.fixture
def reports() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def router(served: ServedNow, reports: list[tuple[str, str]], clock: ManualClock) -> Router:
    return Router(
        served,
        lambda service, text: reports.append((service, text)),
        clock,
        max_hops=16,
        max_pending_effects=3,
    )


def request(service: str = "A", **more) -> Request:
    payload = Any(type_url="type.googleapis.com/r.M", value=b"\x0a\x03joe")
    return Request(f"r.{service}", "Do", payload, **more)


def packed(text: bytes = b"\x0a\x01x", type_url: str = "type.googleapis.com/r.M") -> Any:
    return Any(type_url=type_url, value=text)


def replies(*effects: SideEffect, type_url: str = "type.googleapis.com/r.M") -> Outcome:
    action = ClientAction(reply=Reply(payload=packed(b"reply", type_url)))
    return Outcome(action, effects)


def forwards(service: str, *effects: SideEffect, command: str = "Do", **more) -> Outcome:
    to = Forward(service_name=f"r.{service}", command_name=command, payload=packed(), **more)
    return Outcome(ClientAction(forward=to), effects)


def effect(service: str, *, synchronous: bool = False, command: str = "Do", **more) -> SideEffect:
    return SideEffect(
        service_name=f"r.{service}",
        command_name=command,
        payload=packed(),
        synchronous=synchronous,
        **more,
    )


def gate(handlers: Handlers, service: str) -> asyncio.Event:
    """Hold every command of a service back until the event is set."""
    opened = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await opened.wait()
        return replies()

    handlers.answers[f"r.{service}"] = answer
    return opened


# --- Plain requests ------------------------------------------------------------------


async def test_a_reply_is_returned_as_the_handler_gave_it(
    router: Router, handlers: Handlers
) -> None:
    outcome = replies()
    handlers.answers_with("A", outcome)
    asked = request()

    assert await router.handle(asked) is outcome
    assert handlers.requests == [asked]


async def test_a_failure_that_was_answered_is_an_answer(router: Router, handlers: Handlers) -> None:
    failed = Outcome(ClientAction(failure=Failure(description="no")))
    handlers.answers_with("A", failed)

    assert await router.handle(request()) is failed


async def test_an_unknown_service_is_the_clients_mistake(
    router: Router, reports: list[tuple[str, str]]
) -> None:
    with pytest.raises(UnknownService, match=r"service 'r\.Lost' is not served here"):
        await router.handle(request("Lost"))

    assert reports == []


# --- Side effects --------------------------------------------------------------------


async def test_synchronous_effects_are_done_one_by_one_before_the_answer(
    router: Router, handlers: Handlers
) -> None:
    done: list[str] = []

    async def slowly(request: Request) -> Outcome:
        await settled()
        done.append(request.service)
        return replies()

    handlers.answers |= {"r.B": slowly, "r.C": slowly}
    handlers.answers_with("A", replies(*[effect(s, synchronous=True) for s in "BCB"]))

    await router.handle(request())

    assert done == ["r.B", "r.C", "r.B"]


async def test_effects_come_in_their_order_and_before_the_forward(
    router: Router, handlers: Handlers
) -> None:
    handlers.answers_with(
        "A", forwards("C", effect("B", synchronous=True), effect("C", synchronous=True))
    )

    await router.handle(request())

    assert handlers.order == ["r.A", "r.B", "r.C", "r.C"]


async def test_nobody_waits_for_an_asynchronous_effect(router: Router, handlers: Handlers) -> None:
    opened = gate(handlers, "B")
    handlers.answers_with("A", replies(effect("B")))

    await router.handle(request())
    await settled()
    assert handlers.order == ["r.A", "r.B"]
    opened.set()


async def test_an_effect_of_an_effect_is_done(router: Router, handlers: Handlers) -> None:
    handlers.answers_with("A", replies(effect("B", synchronous=True)))
    handlers.answers_with("B", replies(effect("C", synchronous=True)))

    await router.handle(request())

    assert handlers.order == ["r.A", "r.B", "r.C"]


async def test_an_effect_of_a_failure_is_done(router: Router, handlers: Handlers) -> None:
    action = ClientAction(failure=Failure(description="no"))
    handlers.answers_with("A", Outcome(action, (effect("B", synchronous=True),)))

    assert (await router.handle(request())).action.failure.description == "no"
    assert handlers.order == ["r.A", "r.B"]


async def test_the_answer_of_an_effect_is_passed_over_also_if_it_is_a_failure(
    router: Router, handlers: Handlers
) -> None:
    handlers.answers_with("A", replies(effect("B", synchronous=True)))
    handlers.answers_with("B", Outcome(ClientAction(failure=Failure(description="no"))))

    assert (await router.handle(request())).action.reply.payload.value == b"reply"


async def test_a_synchronous_effect_that_cannot_be_delivered_fails_the_call(
    router: Router, handlers: Handlers
) -> None:
    handlers.answers_with(
        "A", replies(effect("B", synchronous=True), effect("C", synchronous=True))
    )
    handlers.raises("B", StoreUnavailable("gone"))

    with pytest.raises(StoreUnavailable):
        await router.handle(request())

    assert handlers.order == ["r.A", "r.B"]


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), ValueError("a defect")])
async def test_an_asynchronous_effect_that_cannot_be_delivered_is_logged(
    error: Exception, router: Router, handlers: Handlers, logged: list[dict[str, object]]
) -> None:
    handlers.answers_with("A", replies(effect("B")))
    handlers.raises("B", error)

    assert await router.handle(request())
    await settled()

    (entry,) = [each for each in logged if each["event"] == "side_effect_failed"]
    assert (entry["service"], entry["command"]) == ("r.B", "Do")


async def test_who_asks_for_too_many_effects_waits_for_them(
    router: Router, handlers: Handlers
) -> None:
    opened = gate(handlers, "B")
    handlers.answers_with("A", replies(*[effect("B") for _ in range(5)]))

    asking = asyncio.create_task(router.handle(request()))
    await settled()
    assert handlers.order == ["r.A"] + ["r.B"] * 4
    assert not asking.done()

    opened.set()
    await asking
    assert handlers.order == ["r.A"] + ["r.B"] * 5


async def test_an_effect_is_not_bound_by_the_clients_deadline_and_a_forward_is(
    router: Router, handlers: Handlers
) -> None:
    handlers.answers_with("A", forwards("C", effect("B", synchronous=True)))

    await router.handle(request(deadline_s=7.0))

    deadlines = {each.service: each.deadline_s for each in handlers.requests}
    assert deadlines == {"r.A": 7.0, "r.B": None, "r.C": 7.0}


async def test_metadata_of_the_target_is_its_own(router: Router, handlers: Handlers) -> None:
    wire = Metadata([("k", "v")]).to_wire()
    handlers.answers_with(
        "A", forwards("C", effect("B", synchronous=True, metadata=wire), metadata=WireMetadata())
    )

    await router.handle(request(metadata=Metadata([("client", "only")])))

    metadata = {each.service: each.metadata for each in handlers.requests}
    assert metadata["r.B"] == Metadata([("k", "v")])
    assert metadata["r.C"] == EMPTY_METADATA


# --- Forwards ------------------------------------------------------------------------


async def test_the_answer_of_a_forward_is_the_answer(router: Router, handlers: Handlers) -> None:
    answer = replies()
    handlers.answers_with("A", forwards("B"))
    handlers.answers_with("B", forwards("C"))
    handlers.answers_with("C", answer)

    assert await router.handle(request()) is answer
    assert handlers.requests[-1].hops == (
        Hop("r.A", "Do", "forward"),
        Hop("r.B", "Do", "forward"),
    )
    assert handlers.requests[-1].payload == packed()


async def test_the_payload_of_a_forward_outlives_the_answer_it_came_in(
    router: Router, handlers: Handlers
) -> None:
    first = forwards("B")
    handlers.answers_with("A", first)
    await router.handle(request())
    first.action.Clear()

    assert handlers.requests[-1].payload == packed()


@pytest.mark.parametrize("how", ["forward", "effect"])
async def test_sixteen_hops_are_followed_and_no_more(
    how: str, router: Router, handlers: Handlers, reports: list[tuple[str, str]]
) -> None:
    back = forwards("A") if how == "forward" else replies(effect("A", synchronous=True))
    handlers.answers_with("A", back)

    with pytest.raises(RoutingError, match="leads nowhere"):
        await router.handle(request())

    assert len(handlers.requests) == 17
    ((service, text),) = reports
    assert service == "r.A"
    assert text.splitlines()[0] == "more than 16 forwards and side effects in a row"
    assert len(text.splitlines()) == 18


async def test_a_chain_of_sixteen_is_fine(router: Router, handlers: Handlers) -> None:
    async def forward_sixteen_times(request: Request) -> Outcome:
        return forwards("A") if len(request.hops) < 16 else replies()

    handlers.answers["r.A"] = forward_sixteen_times

    assert (await router.handle(request())).action.reply.payload.value == b"reply"
    assert len(handlers.requests) == 17


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


@pytest.fixture(autouse=True)
def _no_effects_left(router: Router) -> Iterator[None]:
    yield
    assert router._running == 0 or router._effects
