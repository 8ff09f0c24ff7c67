"""A service that keeps nothing between two requests: they run side by side, each by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.durable.preconditions import check_no_version
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import CallerLeft, DeadlineExceeded, Stopping, UserFunctionError
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.instrument import Instrument
from cloudstate_runtime.activation.grace import Grace

__all__ = ["StatelessService", "open_stateless_service"]

T = TypeVar("T")

log = structlog.get_logger()

_CUT_OFF = "the runtime stopped before the command was done"

#: How long requests that are cut off may take to let go.
_FAREWELL_S = 1.0


class _Running:
    """One request.

    Attributes:
        task: What works for it at the moment; None while its caller does something else.
    """

    __slots__ = ("_has_left", "_was_cut", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[object] | None = None
        self._was_cut = self._has_left = False

    def was_cut(self) -> bool:
        """Return whether its time is over."""
        return self._was_cut

    def has_left(self) -> bool:
        """Return whether nobody waits for its answer."""
        return self._has_left

    def cut(self) -> None:
        """End it, at the latest when its caller asks for more."""
        self._was_cut = True
        if self.task is not None:
            self.task.cancel()

    def leave(self) -> None:
        """End it, because its caller has left."""
        self._has_left = True
        if self.task is not None:
            self.task.cancel()


class StatelessService:
    """Lets requests through to a kind's handler, and knows what becomes of them."""

    def __init__(
        self,
        entity: DeployedEntity,
        handler: CommandHandler,
        report: Callable[[str], None],
        clock: Clock,
        instrument: Instrument,
    ) -> None:
        """Start with nothing running; `open_stateless_service` runs it."""
        self._entity = entity
        self._handler = handler
        self._report = report
        self._clock = clock
        self._instrument = instrument
        self._running: set[_Running] = set()
        self._stopping = False
        self._ended = asyncio.Event()

    async def handle(self, request: Request) -> Outcome:
        """Carry out a request with one message and one answer, as long as its deadline allows.

        It is cancelled at the user function when the caller leaves: nothing that it has changed is
        kept here, so nothing can be left half done. What it has answered is carried out to its end.
        """
        running, began_s = self._begin(request)
        departure = request.departure
        if departure is not None:
            departure.when_left(running.leave)
        try:
            outcome = await self._in_time(request, running, partial(self._handler.handle, request))
        finally:
            if departure is not None:
                departure.when_left(None)
            self._end(running)
        self._handled(request, began_s)
        return outcome

    async def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        """Carry out a streamed request, as long as its deadline allows."""
        running, began_s = self._begin(request)
        outcomes = self._handler.stream(request)
        following = partial(anext, outcomes, None)
        try:
            while (outcome := await self._in_time(request, running, following)) is not None:
                yield outcome
        finally:
            try:
                await outcomes.aclose()
            finally:
                self._end(running)
        self._handled(request, began_s)

    async def drain(self, grace_s: float) -> None:
        """Take no more requests and let those that run finish.

        Args:
            grace_s: How long they may take; what runs after that is cut off.
        """
        self._stopping = True
        if await self._have_ended(grace_s):
            return
        log.warning(
            "commands_given_up",
            service=self._entity.service_name,
            running=len(self._running),
            grace_s=grace_s,
        )
        for running in tuple(self._running):
            running.cut()
        await self._have_ended(_FAREWELL_S)

    async def _have_ended(self, within_s: float) -> bool:
        try:
            async with self._clock.timeout(within_s):
                while self._running:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            return False
        return True

    def _begin(self, request: Request) -> tuple[_Running, float]:
        if self._stopping:
            raise Stopping("the runtime is stopping")
        check_no_version(request)
        if request.departure is not None and request.departure.has_left():
            raise CallerLeft("the caller left before the command was begun")
        now_s = self._clock.monotonic_s()
        if request.deadline_s is not None and request.deadline_s <= now_s:
            raise DeadlineExceeded("the deadline passed before the command was begun")
        running = _Running()
        self._running.add(running)
        return running, now_s

    def _end(self, running: _Running) -> None:
        self._running.discard(running)
        if self._stopping:
            self._ended.set()

    async def _in_time(
        self, request: Request, running: _Running, begin: Callable[[], Awaitable[T]]
    ) -> T:
        """Return what comes of a part of a request, or say in our words what kept it."""
        if running.was_cut():
            raise Stopping(_CUT_OFF)
        running.task = task = asyncio.current_task()
        try:
            if request.deadline_s is None:
                return await begin()
            async with self._clock.timeout(request.deadline_s - self._clock.monotonic_s()):
                return await begin()
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before there was an answer") from None
        except asyncio.CancelledError:
            if running.was_cut() and task is not None and task.uncancel() == 0:
                raise Stopping(_CUT_OFF) from None
            if running.has_left() and task is not None and task.uncancel() == 0:
                raise CallerLeft("the caller left before there was an answer") from None
            raise
        except UserFunctionError as error:
            detail = f": {error.detail}" if error.detail else ""
            self._report(f"{self._entity.service_name}.{request.command}: {error}{detail}")
            raise
        finally:
            running.task = None

    def _handled(self, request: Request, began_s: float) -> None:
        duration_s = self._clock.monotonic_s() - began_s
        try:
            self._instrument.command_handled(self._entity, request.command, duration_s)
        except Exception:  # which takes nothing back of what was answered
            log.exception("instrument_raised")


@asynccontextmanager
async def open_stateless_service(
    service: StatelessService, grace: Grace
) -> AsyncIterator[StatelessService]:
    """Run a service, and drain it in the end."""
    try:
        yield service
    finally:
        grace.begin()
        await service.drain(grace.left_s())
