"""Messages are delivered, retried, parked and reported."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise

import pytest
from runtime_doubles.engines import settled
from runtime_doubles.post import (
    DELIVERY_TIMEOUT_S,
    LIMITS,
    Office,
    delivered,
    letters,
    open_office,
    serve_letters,
    waiting_in,
)

from cloudstate.entity_pb2 import ClientAction, Failure
from cloudstate_core.errors import LimitExceeded, MalformedRequest, Stopping, StoreUnavailable
from cloudstate_core.handler import Outcome, Request, unstreamed
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock

pytestmark = pytest.mark.usefixtures("logged")


class Receiver:
    """Answers the requests of a service as a test says, and keeps them."""

    def __init__(self, *answers: Exception | Outcome | None) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    async def handle(self, request: Request) -> Outcome:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Outcome)
        return answer

    stream = staticmethod(unstreamed)


OK = Outcome(ClientAction())
NO = Outcome(ClientAction(failure=Failure(description="not today")))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock)


def receives(office: Office, receiver: Receiver) -> Receiver:
    """Let a receiver take the place of the service of receivers."""
    office.served.handlers = {**office.served.handlers, "r.B": receiver}
    return receiver


async def parked_in(store: MemoryStore) -> list[str]:
    return [each.reason for each in await store.parked(limit=100)]


# --- Delivered -----------------------------------------------------------------------


async def test_a_message_is_delivered_at_once_and_the_outbox_is_empty(
    store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock) as office:
        outcome = await office.send("s0")
        await settled()
        await settled()

        assert outcome.side_effects == ()
        assert await letters(store, "B", "r0") == ["s0-1"]
        assert await waiting_in(store) == []


async def test_what_a_message_brings_says_where_it_comes_from(
    store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock) as office:
        receiver = receives(office, Receiver(OK))
        await office.send("s0")
        await settled()

        (request,) = receiver.requests
        (hop,) = request.hops
        assert (hop.service, hop.command, hop.how) == ("r.A", "Do", "side effect")
        assert request.conditions is not None
        assert request.conditions.message_id
        assert request.conditions.message_hops == 1
        assert request.metadata.get("letter") == "s0-1"
        assert request.deadline_s == clock.monotonic_s() + DELIVERY_TIMEOUT_S


async def test_nobody_waits_for_a_message(store: MemoryStore, clock: ManualClock) -> None:
    async with open_office(store, clock) as office:
        receives(office, Receiver(None))

        await office.send("s0")
        await settled()
        assert len(await waiting_in(store)) == 1


# --- Tried again ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("gone"),
        Stopping("being replaced"),
        LimitExceeded("full", retry_after_s=0.1),
        ValueError("a defect"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_message_comes_again_under_the_same_name(
    error: Exception, store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock) as office:
        receiver = receives(office, Receiver(error, error, OK))
        await office.send("s0")
        await delivered(office)

    assert len(receiver.requests) == 3
    assert len({request.conditions for request in receiver.requests}) == 1
    assert await parked_in(store) == []


async def test_waits_between_attempts_grow_to_the_longest(
    store: MemoryStore, clock: ManualClock
) -> None:
    limits = replace(LIMITS, backoff_min_s=1.0, backoff_max_s=4.0)
    times_s: list[float] = []

    class Failing(Receiver):
        async def handle(self, request: Request) -> Outcome:
            times_s.append(clock.monotonic_s())
            raise ValueError("a defect")

    async with open_office(store, clock, limits=limits) as office:
        receives(office, Failing())
        await office.send("s0")
        for _ in range(20):
            await clock.advance(1.0)

    waits_s = [later - earlier for earlier, later in pairwise(times_s)]
    for wait_s, least_s in zip(waits_s, (1.0, 2.0, 4.0, 4.0), strict=False):
        assert least_s <= wait_s <= least_s * 1.2
    assert len(waits_s) >= 4


async def test_an_attempt_without_an_end_is_given_up(
    store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock) as office:
        receiver = receives(office, Receiver(None, OK))
        await office.send("s0")
        await clock.advance(DELIVERY_TIMEOUT_S - 0.1)
        assert len(receiver.requests) == 1

        await delivered(office)
        assert len(receiver.requests) == 2


# --- Parked --------------------------------------------------------------------------


async def test_a_message_that_is_refused_is_parked_and_reported(
    store: MemoryStore, clock: ManualClock, logged: list[dict[str, object]]
) -> None:
    async with open_office(store, clock) as office:
        receiver = receives(office, Receiver(NO, OK))
        await office.send("s0")
        await settled()
        await settled()

        assert await parked_in(store) == ["refused: not today"]
        assert office.reports == [
            ("r.A", "r.A.Do: its message to r.B/Do is parked: refused: not today")
        ]
        assert [e["reason"] for e in logged if e["event"] == "message_parked"]
        # The one after the next goes to the same receiver, and does not wait.
        await office.send("s0")
        await office.send("s0")
        await delivered(office)
        assert len(receiver.requests) == 3


async def test_a_message_that_failed_too_often_is_parked_with_the_last_reason(
    store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock, limits=replace(LIMITS, max_attempts=3)) as office:
        receiver = receives(office, Receiver(ValueError("x"), StoreUnavailable("y"), ValueError()))
        await office.send("s0")
        for _ in range(20):
            await clock.advance(1.0)

        assert len(receiver.requests) == 4  # that the store was gone did not count
        (reason,) = await parked_in(store)
        assert "ValueError" in reason


@pytest.mark.parametrize("error", [LimitExceeded("too large")], ids=["too large"])
async def test_what_can_never_arrive_is_parked_at_once(
    error: Exception, store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock) as office:
        receiver = receives(office, Receiver(error))
        await office.send("s0")
        await settled()
        await settled()

    assert len(receiver.requests) == 1
    assert await parked_in(store) == ["too large"]


async def test_a_message_that_its_receiver_cannot_read_is_the_senders_fault(
    store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock, limits=replace(LIMITS, max_attempts=1)) as office:
        receives(office, Receiver(MalformedRequest("no such thing")))
        await office.send("s0")
        await settled()
        await settled()

        (reason,) = await parked_in(store)
        assert "no such thing" in reason
        assert office.reports[0] == ("r.A", "no such thing\n  as side effect of r.A.Do")


async def test_a_message_that_waits_again_is_delivered(
    store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock) as office:
        receiver = receives(office, Receiver(NO, OK))
        await office.send("s0")
        await settled()
        await settled()
        (parked,) = await store.parked(limit=1)

        await store.unpark([parked.message.message_id])
        office.delivery.unparked()
        await delivered(office)

    assert len(receiver.requests) == 2
    assert receiver.requests[0].conditions == receiver.requests[1].conditions


# --- Services that come and go -------------------------------------------------------


async def test_what_is_left_waits_until_its_service_is_there(
    store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock) as office:
        receives(office, Receiver(None))
        await office.send("s0")
        await settled()
    assert len(await waiting_in(store)) == 1

    limits = replace(LIMITS, max_attempts=1, backoff_min_s=100.0, backoff_max_s=1000.0)
    async with (
        AsyncExitStack() as stack,
        open_office(
            store, clock, limits=limits, services=("r.A",), is_complete=lambda: False
        ) as office,
    ):
        await clock.advance(3000.0)
        assert len(await waiting_in(store)) == 1

        await serve_letters(office, stack)  # and not only after the next wait
        await settled()
        await settled()
        assert await letters(store, "B", "r0") == ["s0-1"]
        await stack.aclose()


async def test_a_service_that_is_gone_for_good_does_not_hold_up_its_messages(
    store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock) as office:
        receives(office, Receiver(None))
        await office.send("s0")

    limits = replace(LIMITS, max_attempts=3)
    async with open_office(store, clock, limits=limits, services=("r.A",)) as office:
        for _ in range(10):
            await clock.advance(1.0)

    assert await parked_in(store) == ["service 'r.B' is not served here"]


# --- The end -------------------------------------------------------------------------


async def test_what_is_on_its_way_in_the_end_may_arrive_and_nothing_new_is_begun(
    store: MemoryStore, clock: ManualClock
) -> None:
    gate = asyncio.Event()

    class Slow(Receiver):
        async def handle(self, request: Request) -> Outcome:
            self.requests.append(request)
            await gate.wait()
            return OK

    async with open_office(store, clock) as office:
        receiver = receives(office, Slow())
        for _ in range(3):
            await office.send("s0")
        await settled()
        office.delivery.begin_drain()
        closing = asyncio.create_task(office.delivery.aclose(5.0))
        await settled()
        assert not closing.done()
        gate.set()
        await closing

    # The first two are for two receivers; the third is for the first one again, by another way.
    assert len(receiver.requests) in (2, 3)
    assert len(await waiting_in(store)) == 3 - len(receiver.requests)


async def test_more_than_memory_holds_is_delivered_all_the_same(
    store: MemoryStore, clock: ManualClock
) -> None:
    async with open_office(store, clock, limits=replace(LIMITS, max_held=2)) as office:
        receiver = receives(office, Receiver(StoreUnavailable("not yet"), OK))
        for _ in range(10):
            for sender in ("s0", "s1", "s2"):
                await office.send(sender)
        assert office.delivery._machine.held <= 2
        await delivered(office)

    assert len({request.conditions for request in receiver.requests}) == 30
