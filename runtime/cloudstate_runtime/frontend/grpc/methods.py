"""The methods that the gRPC server serves, at the moment of each call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, TypeAlias, cast

import grpc
import structlog
from google.protobuf.any_pb2 import Any as PackedAny

from cloudstate.entity_pb2 import Metadata as WireMetadata
from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_core.errors import DeadlineExceeded
from cloudstate_core.frontend import FrontEndHost
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Calls, Refusal
from cloudstate_runtime.frontend.grpc.status import ServicerContext, abort, failure_refusal
from cloudstate_runtime.frontend.headers import grpc_headers, is_passed_on

__all__ = ["Method", "MethodTable"]

log = structlog.get_logger()

Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[[Any, ServicerContext], Awaitable[Any]]

#: Longer paths are cut in the text that a client gets back.
_MAX_SHOWN_CHARACTERS = 200


class MethodTable(grpc.GenericRpcHandler):
    """Finds the method for a path; what is served may change between two calls.

    Args:
        host: What is served, and the limits.
        calls: Runs the requests.
        own: Methods of the front end itself, by path.
    """

    def __init__(self, host: FrontEndHost, calls: Calls, own: Mapping[str, Method]) -> None:
        self._host = host
        self._calls = calls
        self._own = own
        self._revision: int | None = None
        self._methods: dict[str, Method] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Method:
        served = self._host.served
        if served.revision != self._revision:
            self._methods = {
                f"/{entity.service_name}/{method.name}": self._method(entity, method)
                for entity in served.entities.values()
                for method in entity.methods.values()
            }
            self._methods.update(self._own)
            self._revision = served.revision
        path = handler_call_details.method
        return self._methods.get(path) or self._unknown(path)

    def _method(self, entity: DeployedEntity, method: DeployedMethod) -> Method:
        if method.client_streaming or method.server_streaming:
            return _refusing(
                Refusal(
                    Status.UNIMPLEMENTED,
                    f"method {method.name!r} of {entity.service_name!r} is streamed; "
                    "streamed methods are not served here",
                )
            )
        return grpc.unary_unary_rpc_method_handler(self._unary(entity, method))

    def _unknown(self, path: str) -> Method:
        service, _, command = path[1:].partition("/")
        served = service in self._host.served.entities
        what = f"method {command!r} of {service!r}" if served else f"service {service!r}"
        if len(what) > _MAX_SHOWN_CHARACTERS:
            what = what[:_MAX_SHOWN_CHARACTERS] + "…"
        return _refusing(Refusal(Status.UNIMPLEMENTED, f"{what} is not served here"))

    def _unary(self, entity: DeployedEntity, method: DeployedMethod) -> Behaviour:
        # Everything that is the same for every call is looked up here, once.
        service, command, type_url = entity.service_name, method.name, method.input_type_url
        run, deadline_s = self._calls.run, self._deadline_s

        async def call(payload: bytes, context: ServicerContext) -> bytes:
            try:
                outcome = await run(
                    Request(
                        service,
                        command,
                        PackedAny(type_url=type_url, value=payload),
                        _metadata(context),
                        deadline_s(context),
                    )
                )
            except Exception as error:
                await abort(context, self._calls.refusal(error, service, command))
            action = outcome.action
            if not action.HasField("reply"):
                await self._abort_without_reply(context, outcome, service, command)
            reply = action.reply
            if reply.HasField("metadata"):
                await _send_headers(context, reply.metadata)
            return reply.payload.value

        return call

    async def _abort_without_reply(
        self, context: ServicerContext, outcome: Outcome, service: str, command: str
    ) -> NoReturn:
        action = outcome.action
        if action.HasField("failure"):
            await abort(context, failure_refusal(action.failure))
        await abort(context, self._calls.no_reply(action, service, command))

    def _deadline_s(self, context: ServicerContext) -> float:
        limits = self._host.limits
        left_s = cast("float | None", context.time_remaining())
        if left_s is None:
            left_s = limits.default_deadline_s
        elif left_s <= 0:
            raise DeadlineExceeded("the deadline passed before the call was begun")
        return self._host.clock.monotonic_s() + min(left_s, limits.max_deadline_s)


def _metadata(context: ServicerContext) -> Metadata:
    entries = context.invocation_metadata()
    return Metadata([e for e in entries if is_passed_on(e[0])]) if entries else EMPTY_METADATA


async def _send_headers(context: ServicerContext, metadata: WireMetadata) -> None:
    headers = []
    for name, value in grpc_headers(metadata):
        if value is None:
            log.warning("reply_header_dropped", name=name)
        else:
            headers.append((name, value))
    if headers:
        await context.send_initial_metadata(headers)


def _refusing(refusal: Refusal) -> Method:
    """Return a method that is refused before its message is read, however it is called."""

    async def refuse(requests: object, context: ServicerContext) -> None:
        await abort(context, refusal)

    return grpc.stream_stream_rpc_method_handler(refuse)
