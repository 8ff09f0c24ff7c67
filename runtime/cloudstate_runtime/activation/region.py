"""All live entities of one service on this node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from cloudstate_core.addressing import Addressing
from cloudstate_core.bounded import bounded
from cloudstate_core.clock import Clock
from cloudstate_core.due_order import DueOrder
from cloudstate_core.durable.preconditions import Recall
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import LimitExceeded, Stopping
from cloudstate_core.handler import Outcome, Request, unstreamed
from cloudstate_core.instrument import Instrument
from cloudstate_core.kind import Engine
from cloudstate_core.store import StateStore
from cloudstate_runtime.activation.activation import Activation
from cloudstate_runtime.activation.grace import Grace

__all__ = ["Region", "open_region"]

log = structlog.get_logger()

#: What a caller is told who finds memory full of busy entities.
_RETRY_AFTER_S = 0.5

#: How often to look for entities that are due. A very short timeout is kept a little later; a very
#: long one is more than an event loop can wait for.
_MIN_SWEEP_S = 0.01
_MAX_SWEEP_S = 3600.0

#: Entities that leave memory between two chances for commands to run.
_SWEPT_AT_ONCE = 100

#: How long an engine may take to close. Links have their own limit, which is shorter.
_CLOSE_TIMEOUT_S = 5.0


class Region:
    """Finds the live entity for a request, or brings it to life.

    Attributes:
        entity: The service.
        clock: The time.
        instrument: Where to say what happens.
        max_waiting_commands: How many commands may wait at one entity.
        start: Makes an engine for an entity id.
        report: Tells the user function's author what is wrong.
        recall: Finds the answers to commands that were carried out before.
    """

    def __init__(
        self,
        entity: DeployedEntity,
        start: Callable[[str], Engine],
        report: Callable[[str], None],
        store: StateStore,
        clock: Clock,
        instrument: Instrument,
        *,
        passes_metadata: bool,
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
        self.recall = Recall(store, entity.persistence_id)
        self._max_active_entities = max_active_entities
        self._addressing = Addressing(entity, passes_metadata=passes_metadata)
        self._live: dict[str, Activation] = {}
        self._idle = DueOrder[str](entity.passivation_timeout_s or passivation_timeout_s)
        self._retiring: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def handle(self, request: Request) -> Outcome:
        """Carry out one command at the entity it is for."""
        if self._stopping:
            raise Stopping("the runtime is stopping")
        entity_id, request = self._addressing.read(request)
        activation = self._live.get(entity_id)
        if activation is None:
            activation = self._activate(entity_id)
        self._idle.remove(entity_id)
        return await activation.handle(request)

    def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        """Refuse: an entity that takes one command at a time has no streams."""
        return unstreamed(request)

    def became_idle(self, entity_id: str) -> None:
        """Note that an entity has nothing to do."""
        if entity_id in self._live:
            self._idle.add(entity_id, self.clock.monotonic_s())

    def retire(self, engine: Engine) -> None:
        """Close an engine, without waiting for it."""
        task = asyncio.create_task(self._close(engine))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def passivate_idle(self) -> None:
        """Let entities leave memory when they are due; runs until cancelled."""
        while True:
            wait_s = self._idle.next_in_s(self.clock.monotonic_s())
            await self.clock.sleep(min(max(wait_s, _MIN_SWEEP_S), _MAX_SWEEP_S))
            while due := self._idle.take_due(self.clock.monotonic_s(), at_most=_SWEPT_AT_ONCE):
                for entity_id in due:
                    self._passivate(entity_id)
                await asyncio.sleep(0)  # commands go before

    async def drain(self, grace_s: float) -> None:
        """Take no more commands, let running ones finish, and let go of every entity.

        Args:
            grace_s: How long they may take; what runs after that is given up.
        """
        self._stopping = True
        busy = [each.drain() for each in self._live.values() if each.is_busy()]
        try:
            async with self.clock.timeout(grace_s):
                await asyncio.gather(*busy)
        except TimeoutError:
            log.warning("commands_given_up", service=self.entity.service_name, grace_s=grace_s)
        try:
            async with self.clock.timeout(_CLOSE_TIMEOUT_S):
                await asyncio.gather(*[each.stop() for each in self._live.values()])
                if self._retiring:
                    await asyncio.wait(self._retiring)
        except TimeoutError:
            log.warning("entities_do_not_stop", service=self.entity.service_name)
        self._live.clear()

    async def _close(self, engine: Engine) -> None:
        try:
            await bounded(engine.aclose(), self.clock, _CLOSE_TIMEOUT_S)
        except TimeoutError:
            log.warning("engine_does_not_close", service=self.entity.service_name)
        except Exception:
            log.exception("engine_failed_to_close", service=self.entity.service_name)

    def _activate(self, entity_id: str) -> Activation:
        while len(self._live) >= self._max_active_entities:
            longest_idle = self._idle.take_first()
            if longest_idle is None:
                raise LimitExceeded(
                    f"too many entities are busy: at most {self._max_active_entities} of one "
                    "service may be in memory",
                    retry_after_s=_RETRY_AFTER_S,
                )
            self._passivate(longest_idle)
        activation = self._live[entity_id] = Activation(entity_id, self)
        return activation

    def _passivate(self, entity_id: str) -> None:
        self._live.pop(entity_id).passivate()
        try:
            self.instrument.entity_passivated(self.entity, entity_id)
        except Exception:  # which is no reason to keep the others in memory
            log.exception("instrument_raised")


@asynccontextmanager
async def open_region(region: Region, grace: Grace) -> AsyncIterator[Region]:
    """Run a region: passivate idle entities meanwhile, and drain in the end."""
    sweeping = asyncio.create_task(region.passivate_idle())
    try:
        yield region
    finally:
        grace.begin()
        await region.drain(grace.left_s())
        sweeping.cancel()
        await asyncio.wait((sweeping,))
