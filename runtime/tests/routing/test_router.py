from __future__ import annotations

import asyncio

import pytest
from runtime_doubles.engines import settled
from runtime_doubles.routes import Handlers, effect, forwards, gate, packed, replies, request

from cloudstate.entity_pb2 import ClientAction, Failure
from cloudstate.entity_pb2 import Metadata as WireMetadata
from cloudstate_core.errors import (
    RoutingError,
    StoreUnavailable,
    UnknownService,
)
from cloudstate_core.handler import Hop, Outcome, Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_runtime.routing.router import Router

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
