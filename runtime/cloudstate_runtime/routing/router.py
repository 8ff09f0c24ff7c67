"""From a service's name to its handler; carries out side effects and follows forwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog
from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Forward, SideEffect
from cloudstate_core.clock import Clock
from cloudstate_core.errors import (
    CloudstateError,
    MalformedRequest,
    RoutingError,
    Stopping,
    UnknownService,
)
from cloudstate_core.handler import CommandHandler, Hop, Outcome, Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.waiting import with_waiting
from cloudstate_runtime.routing.served import ServedNow

__all__ = ["Router"]

log = structlog.get_logger()


class Router:
    """Sends each request to the handler of its service.

    What a command changed is durable before its side effects and its forward begin. An asynchronous
    side effect is begun once and not repeated; its answer and its errors go to the log. A
    synchronous one that cannot be delivered fails the call; one that answers with a failure does
    not.
    """

    def __init__(
        self,
        served: ServedNow,
        report: Callable[[str, str], None],
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
                async for outcome in outcomes:
                    if outcome.side_effects:
                        await self._carry_out(request, outcome.side_effects)
                    if not outcome.action.HasField("forward"):
                        yield outcome
                        continue
                    target = self._passed_on(request, outcome.action.forward, "forward")
                    async with aclosing(self._answers(target)) as answers:
                        async for answer in answers:
                            self._check_type(request, answer)
                            yield answer
        finally:
            self._running -= 1
            if self._draining:
                self._something_ended.set()

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
        target = self._passed_on(request, forward, "forward")
        async with aclosing(self._answers(target)) as answers:
            async for outcome in answers:
                if not request.hops:
                    self._check_type(request, outcome)
                return outcome  # a caller that takes one message gets the first one
        return Outcome(ClientAction())

    async def _carry_out(self, request: Request, side_effects: Sequence[SideEffect]) -> None:
        for side_effect in side_effects:
            if side_effect.synchronous:
                await self._complete(request, side_effect)
            elif len(self._effects) >= self._max_pending_effects:
                await self._try(request, side_effect)  # the one who asks for too much waits
            else:
                task = asyncio.create_task(self._try(request, side_effect))
                self._effects.add(task)
                task.add_done_callback(self._effect_ended)

    def _effect_ended(self, task: asyncio.Task[None]) -> None:
        self._effects.discard(task)
        self._something_ended.set()

    async def _try(self, request: Request, side_effect: SideEffect) -> None:
        about = {"service": side_effect.service_name, "command": side_effect.command_name}
        try:
            await self._complete(request, side_effect)
        except CloudstateError as error:
            log.warning("side_effect_failed", reason=str(error), detail=error.detail, **about)
        except Exception:
            log.exception("side_effect_failed", **about)

    async def _complete(self, request: Request, side_effect: SideEffect) -> None:
        """Have a side effect done; nobody sees what it answers."""
        target = self._passed_on(request, side_effect, "side effect")
        async with aclosing(self._answers(target)) as answers:
            async for _ in answers:
                pass

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
            raise self._misrouted(target, str(error)) from error

    def _passed_on(self, request: Request, target: Forward | SideEffect, how: str) -> Request:
        hops = (*request.hops, Hop(request.service, request.command, how))
        is_awaited = isinstance(target, Forward) or target.synchronous
        waiting = request.waiting if is_awaited else ()
        passed_on = Request(
            service=target.service_name,
            command=target.command_name,
            payload=target.payload,
            metadata=with_waiting(Metadata.from_wire(target.metadata), waiting)
            if waiting or target.HasField("metadata")
            else EMPTY_METADATA,
            # What a client will not wait for can still be an effect that has to happen.
            deadline_s=request.deadline_s if how == "forward" else None,
            hops=hops,
            waiting=waiting,
        )
        if len(hops) > self._max_hops:
            raise self._misrouted(
                passed_on, f"more than {self._max_hops} forwards and side effects in a row"
            )
        entity = self._served.entities.get(passed_on.service)
        if entity is None:
            raise self._unknown(passed_on, f"Service [{passed_on.service}] unknown")
        if passed_on.command not in entity.methods:
            raise self._unknown(
                passed_on,
                f"Service [{passed_on.service}] does not have a command named: "
                f"[{passed_on.command}]",
            )
        return passed_on

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
        return self._misrouted(request, reason)

    def _misrouted(self, request: Request, reason: str) -> RoutingError:
        """Tell everything to the one who passed the request on, and return what a client sees."""
        trace = "\n".join(
            f"  {'forwarded from' if hop.how == 'forward' else 'as side effect of'} "
            f"{hop.service}.{hop.command}"
            for hop in reversed(request.hops)
        )
        last = request.hops[-1]
        self._report(last.service, f"{reason}\n{trace}")
        return RoutingError(
            f"{last.service}.{last.command}: its {last.how} leads nowhere",
            detail=f"{request.service}.{request.command}: {reason}",
        )


async def _one(message: Any) -> AsyncGenerator[Any, None]:
    yield message
