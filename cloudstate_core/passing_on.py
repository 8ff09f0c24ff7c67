"""Where forwards and side effects lead: to a request for another command, or nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from cloudstate.entity_pb2 import Forward, SideEffect
from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_core.entity_key import EntityIdReader, entity_id_reader
from cloudstate_core.errors import MalformedRequest, RoutingError
from cloudstate_core.handler import Conditions, Hop, Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.waiting import with_waiting

__all__ = ["Report", "ServedEntities", "Targets"]

_FORWARD, _SIDE_EFFECT = "forward", "side effect"

#: How a line of a trace begins, by how the request was passed on.
_TRACE = {_FORWARD: "forwarded from", _SIDE_EFFECT: "as side effect of", "ask": "asked by"}

#: Tells the author of a service's user function what is wrong: service, message.
Report = Callable[[str, str], None]


class ServedEntities(Protocol):
    """What is served at the moment.

    Attributes:
        entities: Every service by its full name.
    """

    entities: Mapping[str, DeployedEntity]


class Targets:
    """Finds what a command passes on to, and tells its author if there is no such thing."""

    def __init__(self, served: ServedEntities, report: Report, *, max_hops: int) -> None:
        """Keep the collaborators.

        Args:
            served: What is served.
            report: Tells an author what is wrong.
            max_hops: How often a request may be passed on.
        """
        self._served = served
        self._report = report
        self._max_hops = max_hops
        self._read_id: dict[int, tuple[DeployedMethod, EntityIdReader]] = {}

    def passed_on(
        self, request: Request, target: Forward | SideEffect, conditions: Conditions | None = None
    ) -> Request:
        """Return the request that a forward or a side effect makes.

        Args:
            request: The request that passes it on.
            target: What it passes on.
            conditions: Under what it is carried out.

        Raises:
            RoutingError: It leads nowhere; the author was told.
        """
        is_forward = isinstance(target, Forward)
        hops = (
            *request.hops,
            Hop(request.service, request.command, _FORWARD if is_forward else _SIDE_EFFECT),
        )
        # Nobody waits for what is done asynchronously.
        waiting = request.waiting if isinstance(target, Forward) or target.synchronous else ()
        passed_on = Request(
            service=target.service_name,
            command=target.command_name,
            payload=target.payload,
            metadata=with_waiting(Metadata.from_wire(target.metadata), waiting)
            if waiting or target.HasField("metadata")
            else EMPTY_METADATA,
            # What a client will not wait for can still be an effect that has to happen.
            deadline_s=request.deadline_s if is_forward else None,
            hops=hops,
            conditions=conditions,
            waiting=waiting,
            departure=request.departure if is_forward else None,
        )
        if len(hops) > self._max_hops:
            raise self.misrouted(
                passed_on, f"more than {self._max_hops} forwards and side effects in a row"
            )
        self._check_type(passed_on, self._method_of(passed_on))
        return passed_on

    def entity_id(self, passed_on: Request) -> str:
        """Return for which entity a request is that was passed on; empty if it names none.

        Raises:
            RoutingError: Its message cannot be read or misses its key; the author was told.
        """
        method = self._method_of(passed_on)
        if not method.key_fields:
            return ""
        # By identity, since looking up a method by what it is would compare descriptors. Keeping
        # the method keeps its number its own.
        known = self._read_id.get(id(method))
        if known is None:
            self._forget_what_was_replaced()
            known = self._read_id[id(method)] = (method, entity_id_reader(method))
        try:
            return known[1](passed_on.payload.value)
        except MalformedRequest as error:
            raise self.misrouted(passed_on, str(error)) from error

    def misrouted(self, request: Request, reason: str) -> RoutingError:
        """Tell everything to the one who passed the request on, and return what a client sees."""
        trace = "\n".join(
            f"  {_TRACE[hop.how]} {hop.service}.{hop.command}" for hop in reversed(request.hops)
        )
        last = request.hops[-1]
        self._report(last.service, f"{reason}\n{trace}")
        return RoutingError(
            f"{last.service}.{last.command}: its {last.how} leads nowhere",
            detail=f"{request.service}.{request.command}: {reason}",
        )

    def _method_of(self, passed_on: Request) -> DeployedMethod:
        entity = self._served.entities.get(passed_on.service)
        if entity is None:
            raise self.misrouted(passed_on, f"Service [{passed_on.service}] unknown")
        method = entity.methods.get(passed_on.command)
        if method is None:
            raise self.misrouted(
                passed_on,
                f"Service [{passed_on.service}] does not have a command named: "
                f"[{passed_on.command}]",
            )
        return method

    def _check_type(self, passed_on: Request, method: DeployedMethod) -> None:
        # The part before the slash only says where a type's definition might be had.
        found = passed_on.payload.type_url.rpartition("/")[2]
        expected = method.input_type_url.rpartition("/")[2]
        if found != expected:
            raise self.misrouted(
                passed_on, f"expected a message of type {expected!r}, found {found!r}"
            )

    def _forget_what_was_replaced(self) -> None:
        current = {
            id(method)
            for entity in self._served.entities.values()
            for method in _methods_of(entity)
        }
        self._read_id = {n: known for n, known in self._read_id.items() if n in current}


def _methods_of(entity: DeployedEntity) -> list[DeployedMethod]:
    return list(entity.methods.values())
