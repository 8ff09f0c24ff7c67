"""All live entities of one service on this node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog

from cloudstate_core.bounded import bounded
from cloudstate_core.clock import Clock
from cloudstate_core.durable.preconditions import Recall
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.entity_key import entity_id_reader
from cloudstate_core.errors import CallCycle, LimitExceeded, Stopping, UnknownService
from cloudstate_core.handler import Outcome, Request, unstreamed
from cloudstate_core.instrument import Instrument
from cloudstate_core.kind import Engine
from cloudstate_core.metadata import EMPTY_METADATA
from cloudstate_core.store import StateStore
from cloudstate_core.waiting import entity_name, with_waiting
from cloudstate_runtime.activation.activation import Activation
from cloudstate_runtime.activation.grace import Grace
from cloudstate_runtime.activation.passivation import IdleEntities

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
        self._passes_metadata = passes_metadata
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
        if self._stopping:
            raise Stopping("the runtime is stopping")
        read_id = self._read_id.get(request.command)
        if read_id is None:
            raise UnknownService(
                f"service {request.service} has no method {request.command!r} with an entity key"
            )
        if request.metadata and not self._passes_metadata:
            request = _without_headers_of_clients(request)
        entity_id = read_id(request.payload.value)
        if request.waiting:
            self._check_nobody_waits_for_himself(request, entity_id)
        activation = self._live.get(entity_id)
        if activation is None:
            activation = self._activate(entity_id)
        self._idle.remove(entity_id)
        return await activation.handle(request)

    def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        """Refuse: an entity that takes one command at a time has no streams."""
        return unstreamed(request)

    def _check_nobody_waits_for_himself(self, request: Request, entity_id: str) -> None:
        name = entity_name(request.service, entity_id)
        if name in request.waiting:
            # It would wait for its turn until the one who has the turn gives up.
            raise CallCycle(
                f"{request.service}.{request.command} was asked by the entity that waits for the "
                "answer",
                detail=" asks ".join((*request.waiting, name)),
            )

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
            wait_s = self._idle.next_due_in_s(self.clock.monotonic_s())
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
            longest_idle = self._idle.take_longest_idle()
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


def _without_headers_of_clients(request: Request) -> Request:
    """Return the request without headers, but for those that say who waits."""
    if request.waiting:
        return replace(request, metadata=with_waiting(EMPTY_METADATA, request.waiting))
    return request.without_metadata()


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
