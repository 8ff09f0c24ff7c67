"""A service without entities: side by side, in time, and to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import pytest
from runtime_doubles.engines import ORDERS, order, replied, settled

from cloudstate_core.errors import (
    CallerLeft,
    DeadlineExceeded,
    MalformedRequest,
    Stopping,
    UserFunctionError,
)
from cloudstate_core.instrument import Instrument
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.stateless import StatelessService


class Seen(Instrument):
    def __init__(self) -> None:
        self.handled: list[str] = []

    def command_handled(self, entity, command, duration_s) -> None:
        self.handled.append(f"{entity.service_name}.{command} {duration_s:g}")


class Broken(Instrument):
    def command_handled(self, entity, command, duration_s) -> None:
        raise RuntimeError("no")


class Handler:
    """Answers when it may, or raises."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.running = 0
        self.error: Exception | None = None

    async def handle(self, request):
        self.running += 1
        try:
            await self.go_on.wait()
            if self.error is not None:
                raise self.error
            return replied(request.payload)
        finally:
            self.running -= 1

    async def stream(self, request):
        yield replied(request.payload)
        yield await self.handle(request)


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def service(handler, clock, reports, seen) -> StatelessService:
    return StatelessService(ORDERS, handler, reports.append, clock, seen)


async def taken(service: StatelessService, **fields) -> list[object]:
    async with aclosing(service.stream(order(**fields))) as outcomes:
        return [outcome async for outcome in outcomes]


async def test_requests_run_side_by_side(service, handler, clock, seen) -> None:
    calls = [asyncio.ensure_future(service.handle(order())) for _ in range(3)]
    stream = asyncio.ensure_future(taken(service))
    await settled()
    assert handler.running == 4

    await clock.advance(2.0)
    handler.go_on.set()

    assert await asyncio.gather(*calls) == 3 * [replied(order().payload)]
    assert len(await stream) == 2
    assert seen.handled == 4 * ["shop.Orders.Place 2"]


async def test_an_instrument_that_raises_takes_nothing_back(handler, clock, reports) -> None:
    service = StatelessService(ORDERS, handler, reports.append, clock, Broken())
    handler.go_on.set()

    assert await service.handle(order()) == replied(order().payload)
    assert len(await taken(service)) == 2


async def test_a_deadline_ends_what_runs_and_prevents_what_has_not_begun(
    service, handler, clock, reports
) -> None:
    deadline_s = clock.monotonic_s() + 1.0
    calls = [
        asyncio.ensure_future(service.handle(order(deadline_s=deadline_s))),
        asyncio.ensure_future(taken(service, deadline_s=deadline_s)),
    ]
    await settled()
    await clock.advance(1.0)

    for call in calls:
        with pytest.raises(DeadlineExceeded, match="before there was an answer"):
            await call
    assert handler.running == 0
    with pytest.raises(DeadlineExceeded, match="before the command was begun"):
        await service.handle(order(deadline_s=deadline_s))
    with pytest.raises(DeadlineExceeded, match="before the command was begun"):
        await taken(service, deadline_s=deadline_s)
    assert reports == []


async def test_what_the_user_function_does_wrong_is_reported(service, handler, reports) -> None:
    handler.error = UserFunctionError("it failed", detail="badly")
    handler.go_on.set()

    with pytest.raises(UserFunctionError):
        await service.handle(order())
    with pytest.raises(UserFunctionError):
        await taken(service)

    assert reports == 2 * ["shop.Orders.Place: it failed: badly"]


async def test_what_a_caller_does_wrong_is_not(service, handler, reports, seen) -> None:
    handler.error = MalformedRequest("what?")
    handler.go_on.set()

    with pytest.raises(MalformedRequest):
        await service.handle(order())
    assert (reports, seen.handled) == ([], [])


async def test_a_drain_waits_and_refuses(service, handler) -> None:
    call = asyncio.ensure_future(service.handle(order()))
    stream = asyncio.ensure_future(taken(service))
    await settled()
    draining = asyncio.ensure_future(service.drain(10.0))
    await settled()
    assert not draining.done()

    with pytest.raises(Stopping):
        await service.handle(order())
    with pytest.raises(Stopping):
        await taken(service)

    handler.go_on.set()
    await asyncio.gather(call, stream, draining)


async def test_a_drain_cuts_off_what_takes_too_long(service, handler, clock) -> None:
    call = asyncio.ensure_future(service.handle(order()))
    stream = asyncio.ensure_future(taken(service))
    left = service.stream(order())
    await anext(left)  # and nobody asks for more
    await settled()
    draining = asyncio.ensure_future(service.drain(10.0))
    await settled()
    await clock.advance(10.0)
    await settled()

    for each in (call, stream):
        with pytest.raises(Stopping, match="before the command was done"):
            await each
    with pytest.raises(Stopping, match="before the command was done"):
        await anext(left)
    await draining
    assert handler.running == 0


async def test_a_caller_that_is_cancelled_as_well_stays_cancelled(service, handler, clock) -> None:
    call = asyncio.ensure_future(service.handle(order()))
    await settled()
    draining = asyncio.ensure_future(service.drain(1.0))
    await settled()
    call.cancel()
    await clock.advance(1.0)
    await draining

    assert call.cancelled() or isinstance(call.exception(), asyncio.CancelledError)


# --- Callers that leave --------------------------------------------------------------


class Client:
    """A caller that may leave."""

    def __init__(self, *, has_left: bool = False) -> None:
        self.listener: Callable[[], object] | None = None
        self._has_left = has_left

    def has_left(self) -> bool:
        return self._has_left

    def when_left(self, listener: Callable[[], object] | None) -> None:
        self.listener = listener

    def leave(self) -> None:
        self._has_left = True
        if self.listener is not None:
            self.listener()


async def test_a_request_is_cancelled_when_its_caller_leaves(
    service: StatelessService, handler: Handler
) -> None:
    client = Client()
    leaving = asyncio.create_task(service.handle(replace(order(), departure=client)))
    staying = asyncio.create_task(service.handle(replace(order(), departure=Client())))
    await settled()
    assert handler.running == 2

    client.leave()

    with pytest.raises(CallerLeft):
        await leaving
    assert handler.running == 1
    handler.go_on.set()
    await staying


async def test_what_comes_after_the_answer_is_not_cancelled(
    service: StatelessService, handler: Handler
) -> None:
    client = Client()
    handler.go_on.set()

    async def answered_and_followed_up() -> str:
        await service.handle(replace(order(), departure=client))
        client.leave()
        await asyncio.sleep(0)
        return "followed up"

    assert await asyncio.create_task(answered_and_followed_up()) == "followed up"


async def test_a_request_whose_caller_has_left_is_not_begun(
    service: StatelessService, handler: Handler
) -> None:
    with pytest.raises(CallerLeft):
        await service.handle(replace(order(), departure=Client(has_left=True)))
    assert handler.running == 0


async def test_a_caller_that_is_cancelled_is_not_one_that_left(service: StatelessService) -> None:
    call = asyncio.create_task(service.handle(replace(order(), departure=Client())))
    await settled()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
