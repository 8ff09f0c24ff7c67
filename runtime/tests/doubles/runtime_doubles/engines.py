"""Engines that do what a test says, and a home for an activation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.clock import Clock
from cloudstate_core.durable.preconditions import Recall
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import CloudstateError
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.instrument import Instrument
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing import FaultyStore
from cloudstate_runtime.activation.activation import Activation
from runtime_doubles.deployed import orders_entity

ORDERS = orders_entity()

Answer = Callable[["FakeEngine", Request], Awaitable[Outcome]]


def order(entity_id: str = "joe", amount: int = 0, **more) -> Request:
    """A command for the entity `entity_id` of `shop.Orders`."""
    message = ORDERS.methods["Place"].input_class(id=entity_id, amount=amount)
    payload = Any(type_url="type.googleapis.com/shop.Order", value=message.SerializeToString())
    return Request("shop.Orders", "Place", payload, **more)


def amount_of(payload: Any) -> int:
    return ORDERS.methods["Place"].input_class.FromString(payload.value).amount


def replied(payload: Any, **more) -> Outcome:
    action = ClientAction()
    action.reply.payload.CopyFrom(payload)
    return Outcome(action, **more)


class FakeEngine:
    """Notes what it is asked to do, and answers with the request unless the test says otherwise.

    Attributes:
        handled: The amounts of the orders it was given, in order.
        is_open: Between `open` and `aclose`.
        found: What `fault` returns.
    """

    def __init__(self, entity_id: str, engines: Engines) -> None:
        self.entity_id = entity_id
        self.handled: list[int] = []
        self.is_open = False
        self.closed = False
        self.found: CloudstateError | None = None
        self._engines = engines

    async def open(self) -> None:
        if self._engines.when_opened is not None:
            await self._engines.when_opened(self)
        self.is_open = True

    async def handle(self, request: Request) -> Outcome:
        assert self.is_open
        assert not self._engines.busy & {self.entity_id}, "two turns at once"
        self._engines.busy.add(self.entity_id)
        try:
            self.handled.append(amount_of(request.payload))
            if self._engines.answer is not None:
                return await self._engines.answer(self, request)
            return replied(request.payload)
        finally:
            self._engines.busy.discard(self.entity_id)

    def fault(self) -> CloudstateError | None:
        return self.found

    async def aclose(self) -> None:
        self.is_open = False
        if self._engines.when_closed is not None:
            await self._engines.when_closed(self)
        self.closed = True


class Engines:
    """All engines of a test.

    Attributes:
        made: Every engine, in the order in which they were made.
        answer: What answers commands; None for the request itself.
        when_opened: Called while an engine opens.
        when_closed: Called while an engine closes.
        start_error: What `start` raises next, once.
        busy: The entities whose command is being carried out.
    """

    def __init__(self) -> None:
        self.made: list[FakeEngine] = []
        self.answer: Answer | None = None
        self.when_opened: Callable[[FakeEngine], Awaitable[None]] | None = None
        self.when_closed: Callable[[FakeEngine], Awaitable[None]] | None = None
        self.start_error: Exception | None = None
        self.busy: set[str] = set()

    def start(self, entity_id: str) -> FakeEngine:
        error, self.start_error = self.start_error, None
        if error is not None:
            raise error
        engine = FakeEngine(entity_id, self)
        self.made.append(engine)
        return engine

    def of(self, entity_id: str) -> list[FakeEngine]:
        return [engine for engine in self.made if engine.entity_id == entity_id]


class Gate:
    """Holds commands back until the test opens it.

    Attributes:
        reached: How many commands came to it.
    """

    def __init__(self) -> None:
        self.reached = 0
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, engine: FakeEngine, request: Request) -> Outcome:
        self.reached += 1
        await self._open.wait()
        return replied(request.payload)


class Notes(Instrument):
    """Keeps what an instrument is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def entity_activated(self, entity: DeployedEntity, entity_id: str) -> None:
        self.told.append(("activated", entity_id))

    def entity_passivated(self, entity: DeployedEntity, entity_id: str) -> None:
        self.told.append(("passivated", entity_id))

    def entity_crashed(self, entity: DeployedEntity, entity_id: str, error: BaseException) -> None:
        self.told.append(("crashed", entity_id, type(error).__name__))

    def command_handled(self, entity: DeployedEntity, command: str, duration_s: float) -> None:
        self.told.append(("handled", command, round(duration_s, 6)))


class FakeHome:
    """The home of one activation."""

    def __init__(self, clock: Clock, *, max_waiting_commands: int = 3) -> None:
        self.entity = ORDERS
        self.clock = clock
        self.instrument = Notes()
        self.max_waiting_commands = max_waiting_commands
        self.engines = Engines()
        self.retired: list[FakeEngine] = []
        self.idle: list[str] = []
        self.reports: list[str] = []
        self.store = FaultyStore(MemoryStore(clock), fail_at=None)
        self.recall = Recall(self.store, ORDERS.persistence_id)

    def start(self, entity_id: str) -> FakeEngine:
        return self.engines.start(entity_id)

    def retire(self, engine: FakeEngine) -> None:
        self.retired.append(engine)

    def became_idle(self, entity_id: str) -> None:
        self.idle.append(entity_id)

    def report(self, message: str) -> None:
        self.reports.append(message)


async def settled() -> None:
    """Let everything run that can run without time going by."""
    for _ in range(20):
        await asyncio.sleep(0)


def started(activation: Activation, *amounts: int, **more) -> list[asyncio.Task[Outcome]]:
    """Give an activation commands with these amounts, at once."""
    return [asyncio.create_task(activation.handle(order(amount=a, **more))) for a in amounts]


def first_then_well(*errors: BaseException) -> Callable[[FakeEngine, Request], object]:
    """Raise each of these once, and answer well after that."""
    left = list(errors)

    async def answer(engine: FakeEngine, request: Request) -> Outcome:
        if left:
            raise left.pop(0)
        return replied(request.payload)

    return answer
