"""The gRPC health service, from whether the runtime is ready."""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

from cloudstate_core.frontend import FrontEndHost
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.conversation import STOPPING, unless_set
from cloudstate_runtime.frontend.grpc.methods import Method
from cloudstate_runtime.frontend.grpc.status import ServicerContext, abort

__all__ = ["Health"]

_SERVICE = "grpc.health.v1.Health"

#: How often a watcher's service is looked at, in seconds.
_WATCH_INTERVAL_S = 0.5

_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """Answers for the whole server under the name "", and for each service under its own.

    Args:
        host: Knows what is served and whether it is ready.
        stopping: Set when the server stops; whoever watches is told and sent away.
    """

    def __init__(self, host: FrontEndHost, stopping: asyncio.Event) -> None:
        self._host = host
        self._stopping = stopping

    def methods(self) -> dict[str, Method]:
        """Return the methods by path."""
        return {
            f"/{_SERVICE}/Check": grpc.unary_unary_rpc_method_handler(
                self._check,
                request_deserializer=HealthCheckRequest.FromString,
                response_serializer=HealthCheckResponse.SerializeToString,
            ),
            f"/{_SERVICE}/List": grpc.unary_unary_rpc_method_handler(
                self._list,
                request_deserializer=HealthListRequest.FromString,
                response_serializer=HealthListResponse.SerializeToString,
            ),
            f"/{_SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(
                self._watch,
                request_deserializer=HealthCheckRequest.FromString,
                response_serializer=HealthCheckResponse.SerializeToString,
            ),
        }

    async def _check(
        self, request: HealthCheckRequest, context: ServicerContext
    ) -> HealthCheckResponse:
        status = self._status(request.service)
        if status == _UNKNOWN:
            name = request.service[:200]
            await abort(context, Refusal(Status.NOT_FOUND, f"service {name!r} is not served here"))
        return HealthCheckResponse(status=status)

    async def _list(
        self, request: HealthListRequest, context: ServicerContext
    ) -> HealthListResponse:
        names = ("", *self._host.served.entities)
        return HealthListResponse(
            statuses={name: HealthCheckResponse(status=self._status(name)) for name in names}
        )

    async def _watch(self, request: HealthCheckRequest, context: ServicerContext) -> None:
        told = None
        while not self._stopping.is_set():
            status = self._status(request.service)
            if status != told:
                await context.write(HealthCheckResponse(status=status))
                told = status
            await unless_set(self._stopping, self._host.clock.sleep(_WATCH_INTERVAL_S))
        await context.write(HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING))
        await abort(context, STOPPING)

    def _status(self, service: str) -> HealthCheckResponse.ServingStatus:
        if service and service not in self._host.served.entities:
            return _UNKNOWN
        ready = self._host.is_ready() and not self._stopping.is_set()
        return HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
