"""One live entity: one command at a time, in the order of arrival."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import (
    CloudstateError,
    DeadlineExceeded,
    LimitExceeded,
    RevisionConflict,
    SequenceConflict,
    Stopping,
    UserFunctionError,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.instrument import Instrument
from cloudstate_core.kind import Engine

__all__ = ["Activation", "Home"]

log = structlog.get_logger()

#: What a caller is told who finds too many waiting: about the time a few commands take.
_RETRY_AFTER_S = 0.1


class Home(Protocol):
    """What an activation needs of the region it lives in.

    Attributes:
        entity: The service.
        clock: The time.
        instrument: Where to say what happens.
        max_waiting_commands: How many commands may wait.
    """

    entity: DeployedEntity
    clock: Clock
    instrument: Instrument
    max_waiting_commands: int

    def start(self, entity_id: str) -> Engine:
        """Make an engine."""
        ...

    def retire(self, engine: Engine) -> None:
        """Close an engine, without waiting for it."""
        ...

    def became_idle(self, entity_id: str) -> None:
        """Nothing is left to do for an entity."""
        ...

    def report(self, message: str) -> None:
        """Tell the user function's author."""
        ...


class Activation:
    """One entity in memory, with the only queue on the request path."""

    __slots__ = ("_engine", "_home", "_waiting", "_worker", "entity_id")

    def __init__(self, entity_id: str, home: Home) -> None:
        """Start without an engine; the first command brings one."""
        self.entity_id = entity_id
        self._home = home
        self._engine: Engine | None = None
        self._waiting: deque[tuple[Request, asyncio.Future[Outcome]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def handle(self, request: Request) -> Outcome:
        """Carry out one command, after those that came before it.

        A caller that stops waiting does not undo its command: once begun, it runs to its end.

        Raises:
            LimitExceeded: Too many wait already; nothing was begun.
            DeadlineExceeded: The caller's time is over.
            CloudstateError: Whatever went wrong with the command.
        """
        if len(self._waiting) >= self._home.max_waiting_commands:
            raise LimitExceeded(
                f"too many commands wait for this entity: at most "
                f"{self._home.max_waiting_commands} may",
                retry_after_s=_RETRY_AFTER_S,
            )
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        if request.deadline_s is None:
            return await future
        try:
            async with self._home.clock.timeout(
                max(request.deadline_s - self._home.clock.monotonic_s(), 0.0)
            ):
                return await future
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the command was done") from None

    def is_busy(self) -> bool:
        """Return whether a command is being carried out or waits."""
        return self._worker is not None

    async def drain(self) -> None:
        """Return when nothing runs or waits any more."""
        while (worker := self._worker) is not None:
            await asyncio.wait((worker,))

    def stop(self) -> None:
        """Give up whatever runs and waits, and let go of the engine."""
        if self._worker is not None:
            self._worker.cancel()
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(Stopping("the runtime is stopping"))
        self._drop_engine()

    async def _work(self) -> None:
        """Take turns until nobody waits."""
        try:
            while self._waiting:
                request, future = self._waiting.popleft()
                if not future.done():  # else the caller is gone, and nothing was begun
                    await self._take_turn(request, future)
        finally:
            self._worker = None
            self._home.became_idle(self.entity_id)

    async def _take_turn(self, request: Request, future: asyncio.Future[Outcome]) -> None:
        began_s = self._home.clock.monotonic_s()
        try:
            outcome = await self._carry_out(request)
        except Exception as error:
            self._crash(error)
            if not future.done():
                future.set_exception(error)
            return
        except asyncio.CancelledError:
            if not future.done():
                future.set_exception(Stopping("the runtime is stopping"))
            raise
        if not future.done():
            future.set_result(outcome)
        self._home.instrument.command_handled(
            self._home.entity, request.command, self._home.clock.monotonic_s() - began_s
        )
        if outcome.restart:
            await self._restart()

    async def _carry_out(self, request: Request) -> Outcome:
        engine = await self._usable_engine()
        try:
            return await engine.handle(request)
        except (SequenceConflict, RevisionConflict) as conflict:
            # Somebody else wrote first, so this engine's memory is old. Once more, from the store;
            # a second lost race is the caller's to know.
            log.info("lost_write_race", entity_id=self.entity_id, reason=str(conflict))
            self._drop_engine()
            engine = await self._usable_engine()
            return await engine.handle(request)

    async def _usable_engine(self) -> Engine:
        engine = self._engine
        if engine is not None:
            if engine.is_usable():
                return engine
            # Its stream ended, or the user function said something unasked, between two commands.
            # Nothing is lost by starting again: the store is the truth.
            self._drop_engine()
        engine = self._engine = self._home.start(self.entity_id)
        await engine.open()
        self._home.instrument.entity_activated(self._home.entity, self.entity_id)
        return engine

    async def _restart(self) -> None:
        """Start again from the store at once, so that the next command finds the entity ready."""
        self._drop_engine()
        try:
            await self._usable_engine()
        except CloudstateError as error:
            self._crash(error)

    def _crash(self, error: Exception) -> None:
        self._drop_engine()
        home = self._home
        home.instrument.entity_crashed(home.entity, self.entity_id, error)
        if isinstance(error, UserFunctionError):
            home.report(f"{home.entity.service_name}: {error}: {error.detail}")

    def _drop_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            self._home.retire(engine)


StartEngine = Callable[[str], Engine]
