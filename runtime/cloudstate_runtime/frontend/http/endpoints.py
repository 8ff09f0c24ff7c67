"""Everything that is known about a method before it is called over HTTP, with no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_core.frontend import Deployment, Limits, Served
from cloudstate_runtime.frontend.conditions import may_have_versions
from cloudstate_runtime.frontend.http.codec import JsonCodec, MessageCodec
from cloudstate_runtime.frontend.http.request import RequestReader
from cloudstate_runtime.frontend.http.response import ReplyWriter
from cloudstate_runtime.frontend.http.routes import RouteTable
from cloudstate_runtime.frontend.http.rules import WHOLE_BODY, Binding, bindings_of

__all__ = ["Endpoint", "endpoints_of"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One binding of one method, ready to be called.

    Attributes:
        service: Full name of the service.
        command: Name of the method.
        type_url: What an `Any` with a request message says.
        reader: Makes the request message.
        writer: Writes the reply.
        streams: Whether the method is streamed in any direction.
        client_streaming: Whether the client sends a stream.
        server_streaming: Whether the client receives a stream.
        may_have_versions: Whether a version can be expected of what answers.
    """

    service: str
    command: str
    type_url: str
    reader: RequestReader
    writer: ReplyWriter
    streams: bool
    client_streaming: bool
    server_streaming: bool
    may_have_versions: bool


def endpoints_of(served: Served, codec: JsonCodec, limits: Limits) -> RouteTable[Endpoint]:
    """Return the endpoints of everything that is served at the moment."""
    return RouteTable(
        bound
        for deployment in served.deployments
        for entity in deployment.entities
        for method in entity.methods.values()
        for bound in _endpoints(deployment, entity, method, codec, limits)
    )


def _endpoints(
    deployment: Deployment,
    entity: DeployedEntity,
    method: DeployedMethod,
    codec: JsonCodec,
    limits: Limits,
) -> Iterator[tuple[Binding, Endpoint]]:
    for binding in bindings_of(entity, method):
        yield (
            binding,
            Endpoint(
                entity.service_name,
                method.name,
                method.input_type_url,
                RequestReader(
                    binding, method, _body_codec(binding, method, codec, deployment), limits
                ),
                ReplyWriter(
                    binding, method.output_class, codec.bind(method.output_class, deployment.pool)
                ),
                method.client_streaming or method.server_streaming,
                method.client_streaming,
                method.server_streaming,
                may_have_versions(method),
            ),
        )


def _body_codec(
    binding: Binding, method: DeployedMethod, codec: JsonCodec, deployment: Deployment
) -> MessageCodec | None:
    if binding.body == WHOLE_BODY:
        return codec.bind(method.input_class, deployment.pool)
    if binding.body_field is not None:
        part = getattr(method.input_class(), binding.body_field.name)
        return codec.bind(type(part), deployment.pool)
    return None
