"""From a service's name to its handler; carries out side effects and follows forwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import Forward, SideEffect
from cloudstate.entity_pb2 import Metadata as WireMetadata
from cloudstate_core.errors import CloudstateError, RoutingError, UnknownService
from cloudstate_core.handler import Hop, Outcome, Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
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
        *,
        max_hops: int,
        max_pending_effects: int,
    ) -> None:
        """Keep the collaborators.

        Args:
            served: Where the handlers are.
            report: Tells the author of a service's user function what is wrong: service, message.
            max_hops: How often a request may be passed on.
            max_pending_effects: How many asynchronous side effects may run at once.
        """
        self._served = served
        self._report = report
        self._max_hops = max_hops
        self._max_pending_effects = max_pending_effects
        self._effects: set[asyncio.Task[None]] = set()

    async def handle(self, request: Request) -> Outcome:
        """Carry out a request, and everything its answer asks for."""
        handler = self._served.handlers.get(request.service)
        if handler is None:
            raise self._unknown(request, f"Service [{request.service}] unknown")
        outcome = await handler.handle(request)
        if outcome.side_effects:
            await self._carry_out(request, outcome.side_effects)
        if outcome.action.HasField("forward"):
            return await self._follow(request, outcome.action.forward)
        return outcome

    async def drain(self, grace_s: float) -> None:
        """Wait for asynchronous side effects that are under way, at most `grace_s` seconds."""
        if self._effects:
            _, pending = await asyncio.wait(self._effects, timeout=grace_s)
            for task in pending:
                task.cancel()

    async def _follow(self, request: Request, forward: Forward) -> Outcome:
        target = self._passed_on(request, forward, "forward")
        outcome = await self.handle(target)
        self._check_type(request, outcome)
        return outcome

    async def _carry_out(self, request: Request, side_effects: Sequence[SideEffect]) -> None:
        for side_effect in side_effects:
            target = self._passed_on(request, side_effect, "side effect")
            if side_effect.synchronous:
                await self.handle(target)
            elif len(self._effects) >= self._max_pending_effects:
                await self._try(target)  # the one who asks for too much waits
            else:
                task = asyncio.create_task(self._try(target))
                self._effects.add(task)
                task.add_done_callback(self._effects.discard)

    async def _try(self, target: Request) -> None:
        try:
            await self.handle(target)
        except CloudstateError as error:
            log.warning(
                "side_effect_failed",
                service=target.service,
                command=target.command,
                reason=str(error),
            )
        except Exception:
            log.exception("side_effect_failed", service=target.service, command=target.command)

    def _passed_on(self, request: Request, target: Forward | SideEffect, how: str) -> Request:
        hops = (*request.hops, Hop(request.service, request.command, how))
        passed_on = Request(
            service=target.service_name,
            command=target.command_name,
            payload=_copied(target.payload),
            metadata=_metadata(target.metadata) if target.HasField("metadata") else EMPTY_METADATA,
            # What a client will not wait for can still be an effect that has to happen.
            deadline_s=request.deadline_s if how == "forward" else None,
            hops=hops,
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

    def _check_type(self, request: Request, outcome: Outcome) -> None:
        method = self._served.entities[request.service].methods[request.command]
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
        trace = "\n".join(
            f"  {'forwarded from' if hop.how == 'forward' else 'as side effect of'} "
            f"{hop.service}.{hop.command}"
            for hop in reversed(request.hops)
        )
        self._report(request.hops[-1].service, f"{reason}\n{trace}")
        log.error("misrouted", reason=reason, service=request.service, command=request.command)
        return RoutingError(
            f"{request.hops[-1].service}.{request.hops[-1].command}: its {request.hops[-1].how} "
            "leads nowhere"
        )


def _copied(payload: Any) -> Any:
    copy = Any()
    copy.CopyFrom(payload)
    return copy


def _metadata(wire: WireMetadata) -> Metadata:
    return Metadata.from_wire(wire)
