"""What is passed on has a name that is made from the name of what passes it on."""

from __future__ import annotations

import asyncio

import pytest
from runtime_doubles.engines import settled
from runtime_doubles.routes import Handlers, effect, forwards, gate, packed, replies, request

from cloudstate.entity_pb2 import ClientAction, Failure
from cloudstate_core.errors import AlreadyReceived, StoreUnavailable
from cloudstate_core.handler import Conditions, Outcome
from cloudstate_runtime.routing.router import Router

BROUGHT = Conditions(message_id="m", message_hops=3)


def conditions_of(handlers: Handlers) -> list[tuple[str, Conditions | None]]:
    return [(each.service, each.conditions) for each in handlers.requests[1:]]


async def test_a_request_without_a_name_gives_none(router: Router, handlers: Handlers) -> None:
    handlers.answers_with("A", forwards("C", effect("B", synchronous=True)))

    await router.handle(request(conditions=Conditions(expected_version=3)))

    assert conditions_of(handlers) == [("r.B", None), ("r.C", None)]


async def test_what_a_message_causes_is_named_after_it(router: Router, handlers: Handlers) -> None:
    handlers.answers_with("A", forwards("C", effect("B", synchronous=True), effect("B")))

    for _ in range(2):
        await router.handle(request(conditions=BROUGHT))
        assert [(s, c and c.message_id) for s, c in conditions_of(handlers)] == [
            ("r.B", "m.1"),
            ("r.B", "m.2"),
            ("r.C", "m.0"),
        ]
        assert {c.message_hops for _, c in conditions_of(handlers) if c} == {3}
        handlers.requests.clear()


async def test_what_a_derived_message_causes_is_named_after_that(
    router: Router, handlers: Handlers
) -> None:
    handlers.answers_with("A", forwards("B"))
    handlers.answers_with("B", replies(effect("C")))

    await router.handle(request(conditions=BROUGHT))

    names = [conditions and conditions.message_id for _, conditions in conditions_of(handlers)]
    assert names == ["m.0", "m.0.1"]


async def test_what_a_command_with_a_key_causes_has_a_key_of_its_own(
    router: Router, handlers: Handlers
) -> None:
    handlers.answers_with("A", forwards("C", effect("B", synchronous=True)))
    asked = request(conditions=Conditions(command_key="k"))

    keys = []
    for _ in range(2):
        await router.handle(asked)
        keys.append([c.command_key for _, c in conditions_of(handlers) if c])
        handlers.requests.clear()

    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 2


@pytest.mark.parametrize(
    "other",
    [
        request(conditions=Conditions(command_key="other")),
        request("B", conditions=Conditions(command_key="k")),
        type(request())("r.A", "Ask", packed(), conditions=Conditions(command_key="k")),
        type(request())("r.A", "Do", packed(), conditions=Conditions(command_key="k")),
    ],
    ids=["key", "service", "command", "message"],
)
async def test_keys_of_what_different_commands_cause_differ(
    other, router: Router, handlers: Handlers
) -> None:
    for service in "AB":
        handlers.answers_with(service, forwards("C"))

    for each in (request(conditions=Conditions(command_key="k")), other):
        await router.handle(each)

    first, second = [each.conditions for each in handlers.requests if each.service == "r.C"]
    assert first is not None
    assert second is not None
    assert first.command_key != second.command_key


async def test_every_effect_of_a_message_is_waited_for(router: Router, handlers: Handlers) -> None:
    opened = gate(handlers, "B")
    handlers.answers_with("A", replies(effect("B")))

    delivering = asyncio.create_task(router.handle(request(conditions=BROUGHT)))
    await settled()
    assert not delivering.done()

    opened.set()
    await delivering


async def test_an_effect_of_a_message_that_fails_fails_the_message(
    router: Router, handlers: Handlers
) -> None:
    handlers.answers_with("A", replies(effect("B")))
    handlers.raises("B", StoreUnavailable("gone"))

    with pytest.raises(StoreUnavailable):
        await router.handle(request(conditions=BROUGHT))


async def test_an_effect_that_happened_before_is_done(router: Router, handlers: Handlers) -> None:
    answer = replies(effect("B"), effect("C"))
    handlers.answers_with("A", answer)
    handlers.raises("B", AlreadyReceived("x", "m.1"))

    assert await router.handle(request(conditions=BROUGHT)) is answer
    assert handlers.order == ["r.A", "r.B", "r.C"]


async def test_a_failure_is_what_a_delivery_returns(router: Router, handlers: Handlers) -> None:
    assert await router.deliver(request(conditions=BROUGHT)) is None

    handlers.answers_with("A", Outcome(ClientAction(failure=Failure(description="no"))))
    refused = await router.deliver(request(conditions=BROUGHT))
    assert refused is not None
    assert refused.description == "no"
