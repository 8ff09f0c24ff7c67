"""The live entities of one service in a test."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from cloudstate_core.addressing import Addressing
from cloudstate_core.clock import Clock
from cloudstate_core.durable.preconditions import Recall, check_version
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import RevisionConflict, SequenceConflict
from cloudstate_core.handler import Outcome, Request, unstreamed
from cloudstate_core.kind import Engine
from cloudstate_core.links import Conversation

__all__ = ["KitRegion"]


class _Host(Protocol):
    clock: Clock

    def report(self, message: str) -> None: ...


@dataclass(slots=True)
class _Live:
    """An entity in memory: both ends of its stream, and since when nobody has needed it."""

    engine: Engine
    conversation: Conversation | None
    idle_since_s: float


class KitRegion:
    """Keeps engines and drops them as a runtime does, without queues, limits and deadlines.

    Entities that have been idle for long leave memory when they are next looked at, which nobody
    can tell from leaving at once.
    """

    def __init__(
        self,
        entity: DeployedEntity,
        start: Callable[[str], Engine],
        host: _Host,
        recall: Recall,
        opened: ContextVar[list[Conversation]],
        passivation_timeout_s: float,
    ) -> None:
        """Start empty.

        Args:
            entity: The service.
            start: Makes an engine.
            host: The time, and where to report.
            recall: Finds the answers to commands that were carried out before.
            opened: Where the link notes what is opened.
            passivation_timeout_s: Idle time, unless the entity says otherwise.
        """
        self._entity = entity
        self._start = start
        self._host = host
        self._recall = recall
        self._opened = opened
        self._timeout_s = entity.passivation_timeout_s or passivation_timeout_s
        self._addressing = Addressing(entity, passes_metadata=True)
        self._live: dict[str, _Live] = {}
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.drop_all()

    def entity_id_of(self, request: Request) -> str:
        """Return which entity a request is for.

        Raises:
            UnknownService: There is no such method.
            MalformedRequest: It does not say.
        """
        return self._addressing.read(request)[0]

    async def handle(self, request: Request) -> Outcome:
        """Carry out one command, after those of the same entity that came before it."""
        entity_id, request = self._addressing.read(request)
        async with self._turns[entity_id]:
            try:
                return await self._attempt(entity_id, request)
            except (SequenceConflict, RevisionConflict):
                # Somebody wrote first, the test perhaps. Once more, from the store.
                return await self._attempt(entity_id, request)

    def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        """Refuse: an entity that takes one command at a time has no streams."""
        return unstreamed(request)

    async def conversation(self, entity_id: str) -> Conversation | None:
        """Return the user function's end of an entity, brought into memory if it is not there."""
        async with self._turns[entity_id]:
            return (await self._usable(entity_id)).conversation

    def is_live(self, entity_id: str) -> bool:
        """Return whether an entity is in memory."""
        live = self._live.get(entity_id)
        return live is not None and not self._is_due(live)

    async def drop_all(self) -> None:
        """Forget every entity."""
        for entity_id in [*self._live]:
            await self._drop(entity_id)

    async def _attempt(self, entity_id: str, request: Request) -> Outcome:
        before = await self._recall.outcome(entity_id, request)
        if before is not None:
            return before
        live = await self._usable(entity_id)
        check_version(entity_id, request, live.engine)
        try:
            outcome = await live.engine.handle(request)
        except BaseException:
            await self._drop(entity_id)
            raise
        live.idle_since_s = self._host.clock.monotonic_s()
        if outcome.restart:
            await self._drop(entity_id)
        return outcome

    async def _usable(self, entity_id: str) -> _Live:
        live = self._live.get(entity_id)
        if live is not None:
            fault = live.engine.fault()
            if fault is not None:
                self._host.report(f"{self._entity.service_name}: between two commands: {fault}")
            if fault is not None or self._is_due(live):
                await self._drop(entity_id)
                live = None
        return live or await self._open(entity_id)

    async def _open(self, entity_id: str) -> _Live:
        opened: list[Conversation] = []
        token = self._opened.set(opened)
        try:
            engine = self._start(entity_id)
            try:
                await engine.open()
            except BaseException:
                await engine.aclose()
                raise
        finally:
            self._opened.reset(token)
        conversation = opened[-1] if opened else None
        live = _Live(engine, conversation, self._host.clock.monotonic_s())
        self._live[entity_id] = live
        return live

    async def _drop(self, entity_id: str) -> None:
        live = self._live.pop(entity_id, None)
        if live is not None:
            await live.engine.aclose()

    def _is_due(self, live: _Live) -> bool:
        return self._host.clock.monotonic_s() - live.idle_since_s >= self._timeout_s
