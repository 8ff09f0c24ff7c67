"""From a service's name to its handler; carries out side effects and follows forwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog
from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Failure, Forward, SideEffect
from cloudstate_core.clock import Clock
from cloudstate_core.durable.derived import FORWARD, derived_conditions
from cloudstate_core.errors import (
    AlreadyReceived,
    CloudstateError,
    MalformedRequest,
    RoutingError,
    Stopping,
    UnknownService,
)
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.passing_on import Report, Targets
from cloudstate_runtime.routing.served import ServedNow

__all__ = ["Router"]

log = structlog.get_logger()


class Router:
    """Sends each request to the handler of its service.

    What a command changed is durable before its side effects and its forward begin. An entity's
    asynchronous side effects do not come here: they are messages, which were stored with what it
    changed. Any other asynchronous one is begun once and not repeated; its answer and its errors go
    to the log. A synchronous one that cannot be delivered fails the call; one that answers with a
    failure does not.

    For what a durable message brings, nobody waits but the one who delivers it, so all side effects
    are waited for: if one of them cannot be done, the message comes again and brings them all.
    """

    def __init__(
        self,
        served: ServedNow,
        report: Report,
        clock: Clock,
        *,
        max_hops: int,
        max_pending_effects: int,
    ) -> None:
        """Keep the collaborators.

        Args:
            served: Where the handlers are.
            report: Tells the author of a service's user function what is wrong: service, message.
            clock: The time.
            max_hops: How often a request may be passed on.
            max_pending_effects: How many asynchronous side effects may run at once.
        """
        self._served = served
        self._report = report
        self._clock = clock
        self._max_hops = max_hops
        self._targets = Targets(served, report, max_hops=max_hops)
        self._max_pending_effects = max_pending_effects
        self._running = 0
        self._effects: set[asyncio.Task[None]] = set()
        self._draining = False
        self._something_ended = asyncio.Event()

    async def handle(self, request: Request) -> Outcome:
        """Carry out a request, and everything its answer asks for."""
        handler = self._handler_of(request)
        self._running += 1
        try:
            outcome = await handler.handle(request)
            if outcome.side_effects:
                await self._carry_out(request, outcome.side_effects)
            answer = outcome.action.WhichOneof("action")
            if answer == "forward":
                return await self._follow(request, outcome.action.forward)
            if answer is None:
                self._check_answered(request)
            return outcome
        finally:
            self._running -= 1
            if self._draining:
                self._something_ended.set()

    async def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        """Carry out a request of a streamed method, and everything each of its answers asks for."""
        handler = self._handler_of(request)
        self._running += 1
        try:
            async with aclosing(handler.stream(request)) as outcomes:
                passed_on = 0
                async for outcome in outcomes:
                    if outcome.side_effects:
                        await self._carry_out(request, outcome.side_effects, after=passed_on)
                        passed_on += len(outcome.side_effects)
                    if not outcome.action.HasField("forward"):
                        yield outcome
                        continue
                    passed_on += 1  # a stream may forward more than once
                    conditions = derived_conditions(request, passed_on)
                    target = self._targets.passed_on(request, outcome.action.forward, conditions)
                    async with aclosing(self._answers(target)) as answers:
                        async for answer in answers:
                            self._check_type(request, answer)
                            yield answer
        finally:
            self._running -= 1
            if self._draining:
                self._something_ended.set()

    async def deliver(self, request: Request) -> Failure | None:
        """Have what a message brings done, of whatever shape its method is.

        Returns:
            The failure that it was answered with; None if it was not.

        Raises:
            CloudstateError: Whatever went wrong on the way.
        """
        async with aclosing(self._answers(request)) as answers:
            async for answer in answers:
                if answer.action.HasField("failure"):
                    return answer.action.failure
        return None

    def _handler_of(self, request: Request) -> CommandHandler:
        if self._draining and not request.hops:
            raise Stopping("the runtime is stopping")
        if len(request.waiting) > self._max_hops:
            raise RoutingError(
                f"more than {self._max_hops} handlers wait for one another",
                detail=" asks ".join((*request.waiting, request.service)),
            )
        handler = self._served.handlers.get(request.service)
        if handler is None:
            raise self._unknown(request, f"Service [{request.service}] unknown")
        return handler

    async def drain(self, grace_s: float) -> None:
        """Take no new requests, and wait until those that run and their side effects have ended.

        Args:
            grace_s: How long that may take; side effects that have not ended then are cut off.
        """
        self._draining = True
        try:
            async with self._clock.timeout(grace_s):
                while self._running or self._effects:
                    self._something_ended.clear()
                    await self._something_ended.wait()
        except TimeoutError:
            effects = tuple(self._effects)
            log.warning("requests_given_up", running=self._running, side_effects=len(effects))
            for task in effects:
                task.cancel()
            if effects:
                await asyncio.wait(effects)

    async def _follow(self, request: Request, forward: Forward) -> Outcome:
        conditions = derived_conditions(request, FORWARD)
        target = self._targets.passed_on(request, forward, conditions)
        async with aclosing(self._answers(target)) as answers:
            async for outcome in answers:
                if not request.hops:
                    self._check_type(request, outcome)
                # A caller that takes one message gets the first one; and no version, since that
                # would be another entity's than the one it called.
                return outcome if outcome.version is None else replace(outcome, version=None)
        return Outcome(ClientAction())

    async def _carry_out(
        self, request: Request, side_effects: Sequence[SideEffect], *, after: int = 0
    ) -> None:
        conditions = request.conditions
        all_awaited = conditions is not None and bool(conditions.message_id)
        for number, side_effect in enumerate(side_effects, after + 1):
            if side_effect.synchronous or all_awaited:
                await self._complete(request, side_effect, number)
            elif len(self._effects) >= self._max_pending_effects:
                await self._try(request, side_effect, number)  # who asks for too much waits
            else:
                task = asyncio.create_task(self._try(request, side_effect, number))
                self._effects.add(task)
                task.add_done_callback(self._effect_ended)

    def _effect_ended(self, task: asyncio.Task[None]) -> None:
        self._effects.discard(task)
        self._something_ended.set()

    async def _try(self, request: Request, side_effect: SideEffect, number: int) -> None:
        about = {"service": side_effect.service_name, "command": side_effect.command_name}
        try:
            await self._complete(request, side_effect, number)
        except CloudstateError as error:
            log.warning("side_effect_failed", reason=str(error), detail=error.detail, **about)
        except Exception:
            log.exception("side_effect_failed", **about)

    async def _complete(self, request: Request, side_effect: SideEffect, number: int) -> None:
        """Have a side effect done; nobody sees what it answers."""
        conditions = derived_conditions(request, number)
        target = self._targets.passed_on(request, side_effect, conditions)
        try:
            async with aclosing(self._answers(target)) as answers:
                async for _ in answers:
                    pass
        except AlreadyReceived:
            log.debug("side_effect_was_done_before", service=target.service)

    async def _answers(self, target: Request) -> AsyncGenerator[Outcome, None]:
        """Yield what a command that was passed on answers, of whatever shape its method is."""
        method = self._served.entities[target.service].methods[target.command]
        try:
            if not (method.client_streaming or method.server_streaming):
                yield await self.handle(target)
                return
            if method.client_streaming:
                target = replace(target, messages=_one(target.payload), payload=Any())
            async with aclosing(self.stream(target)) as answers:
                async for answer in answers:
                    yield answer
        except (MalformedRequest, UnknownService) as error:
            # The client's request was right; what the user function made of it is not.
            raise self._targets.misrouted(target, str(error)) from error

    def _check_answered(self, request: Request) -> None:
        """Report an answer that is none, if somebody waits for it."""
        if not request.hops or request.hops[-1].how == "forward":
            self._report(
                request.service,
                f"{request.service}.{request.command}: expected a reply, a forward or a failure, "
                "found none of them",
            )

    def _check_type(self, request: Request, outcome: Outcome) -> None:
        """Report a reply that is not what the method the client called promises."""
        entity = self._served.entities.get(request.service)
        if entity is None:
            return  # it was replaced meanwhile
        method = entity.methods[request.command]
        found = outcome.action.reply.payload.type_url
        if outcome.action.HasField("reply") and found != method.output_type_url:
            self._report(
                request.service,
                f"Warning: {request.service}.{request.command} forwarded to a command that "
                f"answered {found!r}, expected {method.output_type_url!r}",
            )

    def _unknown(self, request: Request, reason: str) -> CloudstateError:
        if not request.hops:
            return UnknownService(f"service {request.service!r} is not served here")
        return self._targets.misrouted(request, reason)


async def _one(message: Any) -> AsyncGenerator[Any, None]:
    yield message
