"""Entities that send each other letters, in a runtime of their own, with every fault a test wants.

A sender (`r.A`) notes each letter and sends it to a receiver (`r.B`), every third one through a
handler that keeps nothing (`r.C`) and forwards it. A receiver notes the letter and sends it to the
one who files all letters, an entity of `r.B` as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Forward, Reply, SideEffect
from cloudstate_core.clock import Clock
from cloudstate_core.durable.commit import Committer
from cloudstate_core.durable.remembered import Memory
from cloudstate_core.errors import (
    CloudstateError,
    DeadlineExceeded,
    StoreError,
    UserFunctionUnavailable,
)
from cloudstate_core.handler import Outcome, Request, unstreamed
from cloudstate_core.instrument import Instrument
from cloudstate_core.metadata import Metadata
from cloudstate_core.passing_on import Targets
from cloudstate_core.store import AppendEvents, EntityKey, StateStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.grace import Grace
from cloudstate_runtime.activation.region import Region, open_region
from cloudstate_runtime.durable.delivery import Delivery, DeliveryLimits, open_delivery
from cloudstate_runtime.routing.router import Router
from cloudstate_runtime.routing.served import ServedNow
from runtime_doubles.deployed import deploy
from runtime_doubles.routes import ROUTES

SENDERS, RECEIVERS, FILED = ("s0", "s1", "s2"), ("r0", "r1"), "filed"

#: How long an entity may take for one command, and an attempt to deliver, in seconds.
RELAY_TIMEOUT_S, DELIVERY_TIMEOUT_S = 5.0, 3.0

LIMITS = DeliveryLimits(
    max_attempts=1000,
    backoff_min_s=0.1,
    backoff_max_s=1.0,
    timeout_s=DELIVERY_TIMEOUT_S,
    max_at_once=4,
    max_held=6,
)

#: What a receiver does wrong with a command: "before" its commit, "after" it, or it "never" comes
#: that far; nothing if "".
Fault = Callable[[Request], str]


def message(entity_id: str) -> Any:
    name = entity_id.encode()
    return Any(type_url="type.googleapis.com/r.M", value=b"\x0a" + bytes([len(name)]) + name)


def letter_of(request: Request) -> str:
    return str(request.metadata.get("letter"))


def effect(service: str, entity_id: str, letter: str, **more) -> SideEffect:
    return SideEffect(
        service_name=f"r.{service}",
        command_name="Do",
        payload=message(entity_id),
        metadata=Metadata([("letter", letter)]).to_wire(),
        **more,
    )


@dataclass
class Office:
    """A runtime that is open."""

    store: StateStore
    clock: Clock
    router: Router
    delivery: Delivery
    committer: Committer
    served: ServedNow
    fault: Fault
    reports: list[tuple[str, str]] = field(default_factory=list)

    async def send(self, sender: str) -> Outcome:
        return await self.router.handle(Request("r.A", "Do", message(sender)))


class PostEngine:
    """An entity that notes letters and sends them on."""

    def __init__(self, office: Callable[[], Office], service: str, entity_id: str) -> None:
        self._office = office
        self._service = service
        self._id = entity_id
        self._key = EntityKey(service, entity_id)
        self.version = 0

    async def open(self) -> None:
        self.version = await self._office().store.last_sequence(self._key)

    async def handle(self, request: Request) -> Outcome:
        office = self._office()
        fault = office.fault(request) if request.service == "r.B" else ""
        if fault == "before":
            raise UserFunctionUnavailable("it is gone")
        if fault == "never":
            try:
                async with office.clock.timeout(RELAY_TIMEOUT_S):
                    await asyncio.Event().wait()
            except TimeoutError:
                raise DeadlineExceeded("it did not answer") from None
        outcome = self._outcome(request)
        note = Any(type_url="t/letter", value=self._letter(request).encode())
        writes = (AppendEvents(self.version, [note]),)
        outcome = await office.committer.commit(request, self._key, writes, outcome)
        self.version += 1
        if fault == "after":
            raise UserFunctionUnavailable("it is gone after all was stored")
        return outcome

    def _letter(self, request: Request) -> str:
        return f"{self._id}-{self.version + 1}" if self._service == "r.A" else letter_of(request)

    def _outcome(self, request: Request) -> Outcome:
        effects: tuple[SideEffect, ...] = ()
        if self._service == "r.A":
            receiver = RECEIVERS[self.version % 2]
            via = "C" if self.version % 3 == 2 else "B"
            effects = (effect(via, receiver, self._letter(request)),)
        elif self._id != FILED:
            effects = (effect("B", FILED, letter_of(request), synchronous=True),)
        return Outcome(ClientAction(reply=Reply(payload=message("x"))), effects)

    def fault(self) -> CloudstateError | None:
        return None

    async def aclose(self) -> None: ...


class Forwarding:
    """Keeps nothing, and passes letters on."""

    async def handle(self, request: Request) -> Outcome:
        to = Forward(
            service_name="r.B",
            command_name="Do",
            payload=request.payload,
            metadata=request.metadata.to_wire(),
        )
        return Outcome(ClientAction(forward=to))

    def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        return unstreamed(request)


@asynccontextmanager
async def open_office(
    store: StateStore,
    clock: Clock,
    *,
    fault: Fault = lambda _: "",
    limits: DeliveryLimits = LIMITS,
    random: Random | None = None,
    services: Sequence[str] = ("r.A", "r.B", "r.C"),
    is_complete: Callable[[], bool] = lambda: True,
    max_message_hops: int = 100,
) -> AsyncIterator[Office]:
    """Open a runtime of letters over a store."""
    served, reports = ServedNow(), []

    def report(service: str, text: str) -> None:
        reports.append((service, text))

    epoch = await store.claim(range(1024))
    random = random or Random(epoch)  # another one after each opening, or names would be repeated
    router = Router(served, report, clock, max_hops=16, max_pending_effects=10)
    delivery = Delivery(store, router, served, report, is_complete, clock, random, limits)
    targets = Targets(served, report, max_hops=16)
    committer = Committer(
        store,
        epoch,
        targets,
        delivery,
        Memory(60.0, 100),
        random,
        max_message_hops=max_message_hops,
    )
    office = Office(store, clock, router, delivery, committer, served, fault, reports)
    grace = Grace(clock, 0.0)
    async with AsyncExitStack() as stack:
        await serve_letters(office, stack, services)
        await stack.enter_async_context(open_delivery(delivery, grace))
        yield office


async def serve_letters(
    office: Office, stack: AsyncExitStack, services: Sequence[str] = ("r.A", "r.B", "r.C")
) -> None:
    """Serve the services of letters."""
    deployment = deploy(ROUTES, services=tuple(services))
    handlers = {}
    for entity in deployment.entities:
        if entity.service_name == "r.C":
            handlers[entity.service_name] = Forwarding()
            continue

        def start(entity_id: str, service: str = entity.service_name) -> PostEngine:
            return PostEngine(lambda: office, service, entity_id)

        region = Region(
            replace(entity, persistence_id=entity.service_name),
            start,
            lambda _: None,
            office.store,
            office.clock,
            Instrument(),
            passes_metadata=True,
            passivation_timeout_s=10_000.0,
            max_waiting_commands=100,
            max_active_entities=100,
        )
        handlers[entity.service_name] = await stack.enter_async_context(
            open_region(region, Grace(office.clock, 0.0))
        )
    office.served.deploy(deployment, handlers)


async def send_letters(office: Office, count: int) -> list[str]:
    """Let each sender send letters, one after another; return the senders that were answered."""

    async def client(sender: str) -> list[str]:
        answered = []
        for _ in range(count):
            try:
                await office.send(sender)
            except StoreError:
                continue  # nobody knows whether it was sent
            answered.append(sender)
        return answered

    sending = [asyncio.create_task(client(sender)) for sender in SENDERS]
    assert isinstance(office.clock, ManualClock)
    while not all(task.done() for task in sending):
        await office.clock.advance(0.05)
    return [sender for task in sending for sender in task.result()]


async def delivered(office: Office, *, within_s: int = 600) -> None:
    """Let time go by until nothing waits in the outbox any more."""
    assert isinstance(office.clock, ManualClock)
    for _ in range(within_s):
        await office.clock.advance(1.0)
        if office.delivery._machine.held == 0 and not await waiting_in(office.store):
            return
    raise AssertionError(f"not delivered: {await waiting_in(office.store)}")


async def waiting_in(store: StateStore) -> list[str]:
    for _ in range(3):  # a store may fail once, as a test wants it
        try:
            return [each.message_id for each in await store.outbox(range(1024), limit=1000)]
        except StoreError:
            continue
    raise AssertionError("the store fails for ever")


async def letters(store: StateStore, service: str, entity_id: str) -> list[str]:
    """Return the letters that an entity has noted, in their order."""
    key = EntityKey(f"r.{service}", entity_id)
    return [event.payload.value.decode() for event in await store.events(key, after=0, limit=9999)]


async def check(store: StateStore, answered: Sequence[str]) -> int:
    """Check that every letter had its effects once and in order; return how many there were."""
    sent = {sender: await letters(store, "A", sender) for sender in SENDERS}
    for sender in SENDERS:
        assert len(sent[sender]) >= answered.count(sender), "an acknowledged letter is lost"
    received = {receiver: await letters(store, "B", receiver) for receiver in RECEIVERS}
    for number, receiver in enumerate(RECEIVERS):
        expected = [name for names in sent.values() for name in names[number::2]]
        assert sorted(received[receiver]) == sorted(expected), "a letter is lost or doubled"
        for names in sent.values():
            # Through another one's hands a letter takes another way, with an order of its own.
            for way in (_straight, _by_another):
                mine = [name for name in names[number::2] if way(name)]
                theirs = [name for name in received[receiver] if name in mine]
                assert theirs == mine, "letters are out of order"
    filed = await letters(store, "B", FILED)
    for names in received.values():
        assert [name for name in filed if name in names] == names, "files are out of order"
    assert len(filed) == sum(map(len, received.values())), "a file is lost or doubled"
    return len(filed)


def _by_another(name: str) -> bool:
    return int(name.partition("-")[2]) % 3 == 0


def _straight(name: str) -> bool:
    return not _by_another(name)
