"""gRPC, reflection and HTTP in front of a `ScriptedProxy`."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToJson, Parse
from grpc_reflection.v1alpha.reflection_pb2 import (
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_tck.event_sourced_messages import MODEL
from cloudstate_tck.function_client import CHANNEL_OPTIONS
from cloudstate_tck.meeting import ProxyAddress
from cloudstate_tck.protocol import DISCOVER
from cloudstate_tck.proxy_client import REFLECTION
from cloudstate_tck.scripted.proxy import FunctionFailed, ScriptedProxy
from cloudstate_tck.servers import StreamHandlers, serving

__all__ = ["BareFront", "Front", "serving_proxy"]


class Behind(Protocol):
    """What stands behind a front: a proxy.

    Attributes:
        spec: What its user function has announced.
    """

    spec: EntitySpec

    def info(self) -> ProxyInfo:
        """Return what the proxy says of itself."""
        ...

    async def aclose(self) -> None:
        """Cut every stream."""
        ...


P = TypeVar("P", bound=Behind)


@dataclass(slots=True)
class BareFront(ABC, Generic[P]):
    """How clients are answered, whatever the kind; each rule to be broken by a subclass.

    Attributes:
        proxy: Who carries out the commands.
    """

    proxy: P

    def listed(self) -> list[str]:
        """Return the names that reflection lists."""
        return [REFLECTION, *sorted(entity.service_name for entity in self.proxy.spec.entities)]

    def reflect(self, question: ServerReflectionRequest) -> ServerReflectionResponse:
        """Answer one question about what is served."""
        answer = ServerReflectionResponse(valid_host=question.host, original_request=question)
        if question.HasField("list_services"):
            services = [ServiceResponse(name=name) for name in self.listed()]
            answer.list_services_response.CopyFrom(ListServiceResponse(service=services))
        else:
            answer.file_descriptor_response.SetInParent()
        return answer

    async def serve(self, path: str, requests: AsyncIterator[bytes], context: Any) -> None:
        """Serve a gRPC call, of reflection or of a client."""
        is_reflection = _service(path) == REFLECTION
        async for data in requests:
            if is_reflection:
                answer = self.reflect(ServerReflectionRequest.FromString(data)).SerializeToString()
            else:
                try:
                    answer = await self.call(path, data)
                except FunctionFailed as failed:
                    await context.abort(grpc.StatusCode.UNKNOWN, str(failed))
            await context.write(answer)

    @abstractmethod
    async def call(self, path: str, data: bytes) -> bytes:
        """Answer a gRPC call."""

    @abstractmethod
    async def post(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        """Answer an HTTP request with status, content type and body."""


class Front(BareFront[ScriptedProxy]):
    """How clients of entities are answered.

    Attributes:
        model: The service of the model entity.
        model_prefix: The path of its command, without the entity's id.
    """

    model: ClassVar[str] = MODEL
    model_prefix: ClassVar[str] = "/tck/model/eventsourced/"

    async def call(self, path: str, data: bytes) -> bytes:
        _, service, method = path.split("/")
        request = self.proxy.request_class.FromString(data)
        answer: bytes = (await self.proxy.handle(service, method, request)).SerializeToString()
        return answer

    async def post(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        request = Parse(body or b"{}", self.proxy.request_class())
        service, method = self.model, "Process"
        if path.startswith(self.model_prefix):
            request.id = path.removeprefix(self.model_prefix)
        else:
            _, service, method = path.split("/")
        try:
            response = await self.proxy.handle(service, method, request)
        except FunctionFailed as failed:
            return 500, "text/plain", str(failed).encode()
        text = MessageToJson(response, always_print_fields_with_no_presence=True)
        return 200, "application/json", json.dumps(json.loads(text)).encode()


def _service(path: str) -> str:
    return path[1:].rpartition("/")[0]


@asynccontextmanager
async def serving_proxy(
    function: str,
    make_proxy: Callable[[grpc.aio.Channel], P],
    make_front: Callable[[P], BareFront[P]],
) -> AsyncIterator[ProxyAddress]:
    """Serve a proxy on two ports of this machine, one for gRPC and one for HTTP."""
    async with grpc.aio.insecure_channel(function, options=CHANNEL_OPTIONS) as channel:
        proxy = make_proxy(channel)
        discover: Callable[..., Any] = channel.unary_unary(
            DISCOVER.path,
            request_serializer=ProxyInfo.SerializeToString,
            response_deserializer=EntitySpec.FromString,
        )
        proxy.spec = await discover(proxy.info(), wait_for_ready=True)
        front = make_front(proxy)
        handlers = StreamHandlers(front.serve, serves=lambda path: _service(path) in front.listed())
        async with (
            serving(handlers, "127.0.0.1:0") as address,
            _serving_http(front) as http_address,
        ):
            yield ProxyAddress(address, http_address)
        await proxy.aclose()


@asynccontextmanager
async def _serving_http(front: BareFront[P]) -> AsyncIterator[str]:
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while head := await _head(reader):
                await _answer(head, reader, writer, front)
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in list(writers):
            writer.close()


async def _head(reader: asyncio.StreamReader) -> list[str]:
    """Return the lines of a request's head; none at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return []
    return head.decode().split("\r\n")


async def _answer(
    head: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter, front: BareFront[P]
) -> None:
    method, path, _ = head[0].split(" ")
    headers = {line.partition(":")[0].lower(): line.partition(":")[2] for line in head[1:]}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    status, content_type, payload = 404, "text/plain", b""
    if method == "POST":
        status, content_type, payload = await front.post(path, body)
    writer.write(
        f"HTTP/1.1 {status} -\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(payload)}\r\n\r\n".encode()
        + payload
    )
    await writer.drain()
