"""One live entity: one command at a time, in the order of arrival."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, TypeAlias

import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.durable.preconditions import Recall, check_version
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import (
    AlreadyReceived,
    CloudstateError,
    ConditionFailed,
    DeadlineExceeded,
    LimitExceeded,
    RevisionConflict,
    SequenceConflict,
    Stopping,
    UserFunctionError,
    UserFunctionUnavailable,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.instrument import Instrument
from cloudstate_core.kind import Engine

__all__ = ["Activation", "Home"]

log = structlog.get_logger()

#: What a caller is told who finds too many waiting: about the time a few commands take.
_RETRY_AFTER_S = 0.1

_UNKNOWN_OUTCOME = (
    "the runtime stopped before the command was done; whether it was carried out is unknown"
)

#: What a call to a user function may end with although nobody cancelled the one who waits for it.
_TERMINATION = "Unexpected entity termination"
_CANCELLED = "the call to the user function was cancelled"


class Home(Protocol):
    """What an activation needs of the region it lives in.

    Attributes:
        entity: The service.
        clock: The time.
        instrument: Where to say what happens.
        max_waiting_commands: How many commands may wait.
        recall: Finds the answers to commands that were carried out before.
    """

    entity: DeployedEntity
    clock: Clock
    instrument: Instrument
    max_waiting_commands: int
    recall: Recall

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


_Turn: TypeAlias = "tuple[Request, asyncio.Future[Outcome]]"


class Activation:
    """One entity in memory, with the only queue on the request path."""

    __slots__ = ("_engine", "_home", "_waiting", "_worker", "entity_id")

    def __init__(self, entity_id: str, home: Home) -> None:
        """Start without an engine; the first command brings one."""
        self.entity_id = entity_id
        self._home = home
        self._engine: Engine | None = None
        self._waiting: deque[_Turn] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def handle(self, request: Request) -> Outcome:
        """Carry out one command, after those that came before it.

        A caller that stops waiting does not undo its command: once begun, it runs to its end. One
        that was not begun is not begun any more.

        Raises:
            LimitExceeded: Too many wait already; nothing was begun.
            DeadlineExceeded: The request's time was over before its turn came, or the user function
                took too long.
            ConditionFailed: What the caller made the command depend on does not hold; nothing was
                begun.
            CloudstateError: Whatever went wrong with the command.
        """
        waiting = self._waiting
        if len(waiting) >= self._home.max_waiting_commands:
            self._make_room()
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        turn = (request, future)
        waiting.append(turn)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        try:
            return await future
        except asyncio.CancelledError:
            self._forget(turn)
            raise

    def is_busy(self) -> bool:
        """Return whether a command is being carried out or waits."""
        return self._worker is not None

    async def drain(self) -> None:
        """Return when nothing runs or waits any more."""
        while (worker := self._worker) is not None:
            await asyncio.wait((worker,))

    def passivate(self) -> None:
        """Let go of the engine. Nothing may run or wait."""
        try:
            fault = self._engine.fault() if self._engine is not None else None
            if fault is not None:
                self._report_between_commands(fault)
        except Exception:  # a kind's own; the others must leave memory all the same
            log.exception("engine_failed", entity_id=self.entity_id)
        self._drop_engine()

    async def stop(self) -> None:
        """Give up whatever runs and waits, and let go of the engine when it has come to its end."""
        while self._waiting:
            _fail(self._waiting.popleft()[1], Stopping("the runtime is stopping"))
        worker = self._worker
        if worker is not None:
            worker.cancel()
            await asyncio.wait((worker,))
        self._drop_engine()

    async def _work(self) -> None:
        """Take turns until nobody waits."""
        try:
            while self._waiting:
                request, future = self._waiting.popleft()
                if future.done():
                    continue  # the caller is gone, and nothing was begun
                try:
                    await self._take_turn(request, future)
                except Exception:  # an instrument's, say; those who wait still have their turns
                    log.exception("turn_ended_badly", entity_id=self.entity_id)
        finally:
            self._worker = None
            self._home.became_idle(self.entity_id)

    async def _take_turn(self, request: Request, future: asyncio.Future[Outcome]) -> None:
        began_s = self._home.clock.monotonic_s()
        if request.deadline_s is not None and request.deadline_s <= began_s:
            _fail(future, DeadlineExceeded("the deadline passed before the command was begun"))
            return
        try:
            outcome = await self._carry_out(request)
        except ConditionFailed as failed:
            _fail(future, failed)  # nothing was begun, so the entity is what it was
            return
        except AlreadyReceived as received:
            # A message came once more, and nobody is to blame. But what the handler did with it is
            # in the entity's memory, and not in the store.
            self._drop_engine()
            _fail(future, received)
            return
        except Exception as error:
            self._crash(error, future)
            return
        except asyncio.CancelledError:
            if _is_cancelled():
                _fail(future, Stopping(_UNKNOWN_OUTCOME))
                raise
            self._crash(UserFunctionUnavailable(_TERMINATION, detail=_CANCELLED), future)
            return
        if not future.done():
            future.set_result(outcome)
        self._home.instrument.command_handled(
            self._home.entity, request.command, self._home.clock.monotonic_s() - began_s
        )
        if outcome.restart:
            await self._restart()

    async def _carry_out(self, request: Request) -> Outcome:
        try:
            return await self._attempt(request)
        except (SequenceConflict, RevisionConflict) as conflict:
            # Somebody else wrote first, so this engine's memory is old. Once more, from the store;
            # a second lost race is the caller's to know.
            log.info("lost_write_race", entity_id=self.entity_id, reason=str(conflict))
            self._drop_engine()
            return await self._attempt(request)

    async def _attempt(self, request: Request) -> Outcome:
        if request.conditions is None:
            return await (await self._usable_engine()).handle(request)
        # Before the version: who sends a command again that has changed it meets another one.
        before = await self._home.recall.outcome(self.entity_id, request)
        if before is not None:
            return before
        engine = await self._usable_engine()
        check_version(self.entity_id, request, engine)
        return await engine.handle(request)

    async def _usable_engine(self) -> Engine:
        engine = self._engine
        if engine is not None:
            fault = engine.fault()
            if fault is None:
                return engine
            # Its stream ended, or the user function said something unasked, between two commands.
            # Nothing is lost by starting again: the store is the truth.
            log.debug("entity_reopened", entity_id=self.entity_id, reason=str(fault))
            self._report_between_commands(fault)
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
        except Exception as error:
            self._crash(error)
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            self._crash(UserFunctionUnavailable(_TERMINATION, detail=_CANCELLED))

    def _crash(self, error: Exception, future: asyncio.Future[Outcome] | None = None) -> None:
        self._drop_engine()
        if future is not None:
            _fail(future, error)
        home = self._home
        home.instrument.entity_crashed(home.entity, self.entity_id, error)
        # A relay timeout is the user function's fault; no other deadline ends a command that runs.
        if isinstance(error, UserFunctionError | DeadlineExceeded):
            self._report(error)

    def _report_between_commands(self, fault: CloudstateError) -> None:
        # Whoever stops ends the streams of idle entities, and does nothing wrong.
        if isinstance(fault, UserFunctionError) and not isinstance(fault, UserFunctionUnavailable):
            self._report(fault, "between two commands: ")

    def _report(self, error: CloudstateError, when: str = "") -> None:
        detail = f": {error.detail}" if error.detail else ""
        self._home.report(f"{self._home.entity.service_name}: {when}{error}{detail}")

    def _make_room(self) -> None:
        """Send away those at the head of the queue whose time is over, or refuse the newcomer."""
        now_s = self._home.clock.monotonic_s()
        while self._waiting:
            request, future = self._waiting[0]
            if request.deadline_s is None or request.deadline_s > now_s:
                break
            self._waiting.popleft()
            _fail(future, DeadlineExceeded("the deadline passed before the command was begun"))
        if len(self._waiting) >= self._home.max_waiting_commands:
            raise LimitExceeded(
                f"too many commands wait for this entity: at most "
                f"{self._home.max_waiting_commands} may",
                retry_after_s=_RETRY_AFTER_S,
            )

    def _forget(self, turn: _Turn) -> None:
        """Free the place of a caller that does not wait any more."""
        for index, waiting in enumerate(self._waiting):
            if waiting is turn:
                del self._waiting[index]
                return

    def _drop_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            self._home.retire(engine)


def _is_cancelled() -> bool:
    """Return whether this task was cancelled, and not only something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _fail(future: asyncio.Future[Outcome], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
