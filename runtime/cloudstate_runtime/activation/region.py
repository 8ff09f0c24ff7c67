"""All live entities of one service on this node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cloudstate_core.clock import Clock
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import Stopping, UnknownService
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.instrument import Instrument
from cloudstate_core.kind import Engine
from cloudstate_runtime.activation.activation import Activation
from cloudstate_runtime.activation.passivation import IdleEntities
from cloudstate_runtime.routing.entity_key import entity_id_reader

__all__ = ["Region", "open_region"]


class Region:
    """Finds the live entity for a request, or brings it to life.

    Attributes:
        entity: The service.
        clock: The time.
        instrument: Where to say what happens.
        max_waiting_commands: How many commands may wait at one entity.
        start: Makes an engine for an entity id.
        report: Tells the user function's author what is wrong.
    """

    def __init__(
        self,
        entity: DeployedEntity,
        start: Callable[[str], Engine],
        report: Callable[[str], None],
        clock: Clock,
        instrument: Instrument,
        *,
        passivation_timeout_s: float,
        max_waiting_commands: int,
        max_active_entities: int,
    ) -> None:
        """Start empty; `open_region` runs it."""
        self.entity = entity
        self.clock = clock
        self.instrument = instrument
        self.max_waiting_commands = max_waiting_commands
        self.start = start
        self.report = report
        self._max_active_entities = max_active_entities
        self._read_id = {
            name: entity_id_reader(method)
            for name, method in entity.methods.items()
            if method.key_fields
        }
        self._live: dict[str, Activation] = {}
        self._idle = IdleEntities(entity.passivation_timeout_s or passivation_timeout_s)
        self._retiring: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def handle(self, request: Request) -> Outcome:
        """Carry out one command at the entity it is for."""
        read_id = self._read_id.get(request.command)
        if read_id is None:
            raise UnknownService(
                f"service {request.service} has no method {request.command!r} with an entity key"
            )
        entity_id = read_id(request.payload.value)
        activation = self._live.get(entity_id)
        if activation is None:
            activation = self._activate(entity_id)
        self._idle.remove(entity_id)
        return await activation.handle(request)

    def became_idle(self, entity_id: str) -> None:
        """Note that an entity has nothing to do."""
        if entity_id in self._live:
            self._idle.add(entity_id, self.clock.monotonic_s())

    def retire(self, engine: Engine) -> None:
        """Close an engine, without waiting for it."""
        task = asyncio.create_task(engine.aclose())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def passivate_idle(self) -> None:
        """Let entities leave memory when they are due; runs until cancelled."""
        while True:
            await self.clock.sleep(self._idle.next_due_in_s(self.clock.monotonic_s()))
            self._passivate(self._idle.take_due(self.clock.monotonic_s()))

    async def drain(self, grace_s: float) -> None:
        """Take no more commands, let running ones finish, and let go of every entity.

        Args:
            grace_s: How long they may take; what runs after that is given up.
        """
        self._stopping = True
        busy = [a.drain() for a in self._live.values() if a.is_busy()]
        try:
            async with self.clock.timeout(grace_s):
                await asyncio.gather(*busy)
        except TimeoutError:
            pass  # given up below
        for activation in self._live.values():
            activation.stop()
        self._live.clear()
        if self._retiring:
            await asyncio.wait(self._retiring)

    def _activate(self, entity_id: str) -> Activation:
        if self._stopping:
            raise Stopping("the runtime is stopping")
        surplus = len(self._live) + 1 - self._max_active_entities
        if surplus > 0:
            self._passivate(self._idle.take_due(self.clock.monotonic_s(), surplus))
        activation = self._live[entity_id] = Activation(entity_id, self)
        return activation

    def _passivate(self, entity_ids: list[str]) -> None:
        for entity_id in entity_ids:
            activation = self._live[entity_id]
            if activation.is_busy():
                continue  # a command came in the meantime; it becomes idle again by itself
            del self._live[entity_id]
            activation.stop()
            self.instrument.entity_passivated(self.entity, entity_id)


@asynccontextmanager
async def open_region(region: Region, *, drain_grace_s: float) -> AsyncIterator[Region]:
    """Run a region: passivate idle entities meanwhile, and drain in the end."""
    sweeping = asyncio.create_task(region.passivate_idle())
    try:
        yield region
    finally:
        sweeping.cancel()
        await region.drain(drain_grace_s)
