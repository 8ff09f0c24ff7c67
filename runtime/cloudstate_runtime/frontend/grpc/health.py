"""The gRPC health service, from whether the runtime is ready."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListResponse,
)

from cloudstate_core.frontend import FrontEndHost
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.call import Call, Conversation, Method, Unary
from cloudstate_runtime.frontend.grpc.status import Aborted

__all__ = ["Health"]

_SERVICE = "grpc.health.v1.Health"

#: How often a watcher's service is looked at, in seconds.
_WATCH_INTERVAL_S = 0.5

_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """Answers for the whole server under the name "", and for each service under its own.

    Args:
        host: Knows what is served and whether it is ready.
    """

    def __init__(self, host: FrontEndHost) -> None:
        self._host = host

    def methods(self) -> dict[str, Method]:
        """Return the methods by path."""
        return {
            f"/{_SERVICE}/Check": Unary(self._check),
            f"/{_SERVICE}/List": Unary(self._list),
            f"/{_SERVICE}/Watch": Conversation(self._watch),
        }

    async def _check(self, call: Call, payload: bytes) -> bytes:
        service = _service(payload)
        status = self._status(service)
        if status == _UNKNOWN:
            reason = f"service {service[:200]!r} is not served here"
            raise Aborted(Refusal(Status.NOT_FOUND, reason))
        return _response(status)

    async def _list(self, call: Call, payload: bytes) -> bytes:
        names = ("", *self._host.served.entities)
        statuses = {name: HealthCheckResponse(status=self._status(name)) for name in names}
        return bytes(HealthListResponse(statuses=statuses).SerializeToString())

    async def _watch(self, call: Call) -> None:
        payload = await call.read()
        service = _service(payload or b"")
        told = None
        while True:
            status = self._status(service)
            if status != told:
                await call.write(_response(status))
                told = status
            await self._host.clock.sleep(_WATCH_INTERVAL_S)

    def _status(self, service: str) -> HealthCheckResponse.ServingStatus:
        if service and service not in self._host.served.entities:
            return _UNKNOWN
        is_ready = self._host.is_ready()
        return HealthCheckResponse.SERVING if is_ready else HealthCheckResponse.NOT_SERVING


def _service(payload: bytes) -> str:
    try:
        return str(HealthCheckRequest.FromString(payload).service)
    except DecodeError as error:
        raise Aborted(Refusal(Status.INVALID_ARGUMENT, f"not a request: {error}")) from error


def _response(status: HealthCheckResponse.ServingStatus) -> bytes:
    return bytes(HealthCheckResponse(status=status).SerializeToString())
