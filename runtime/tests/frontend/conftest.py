"""A model service in a descriptor pool of its own, and what a front end needs of a runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from google.api import annotations_pb2, http_pb2, httpbody_pb2
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.clock import Clock, SystemClock
from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_core.frontend import Deployment, FrontEnd, Limits
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.interceptor import Interceptor
from cloudstate_runtime.frontend.grpc import GrpcFrontEnd
from cloudstate_runtime.frontend.http import HttpFrontEnd
from cloudstate_runtime.frontend.port import Port, open_port


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The front door serves on either loop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


KNOWN_FILES = (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
    http_pb2,
    annotations_pb2,
    httpbody_pb2,
)

SCALARS = "double float int32 int64 uint32 uint64 sint32 sint64 fixed32 fixed64 sfixed32 sfixed64"

#: Message by name: "type name", a star after the type for repeated, a question mark for optional.
MESSAGES: dict[str, list[str]] = {
    "Inner": ["string text", "int64 number", "Inner inner"],
    "Thing": [
        "string id",
        "string text",
        "bytes data",
        "bool flag",
        *(f"{scalar} a_{scalar}" for scalar in SCALARS.split()),
        "Color color",
        "Inner inner",
        "string* texts",
        "int64* numbers",
        "Inner* inners",
        "string? note",
        "google.protobuf.Timestamp at",
        "google.protobuf.Any anything",
        "google.protobuf.Struct loose",
        "google.protobuf.StringValue wrapped",
        "Color* colors",
        "bytes* pieces",
    ],
    "Labelled": ["string id", "map labels"],
}


def field_proto(number: int, text: str) -> FieldDescriptorProto:
    kind, name = text.split()
    result = FieldDescriptorProto(name=name, number=number, json_name=camel(name))
    result.label = result.LABEL_REPEATED if kind.endswith("*") else result.LABEL_OPTIONAL
    kind = kind.rstrip("*?")
    if kind == "Color":
        result.type, result.type_name = result.TYPE_ENUM, ".test.things.Color"
    elif kind == "map":
        result.label = result.LABEL_REPEATED
        result.type, result.type_name = result.TYPE_MESSAGE, ".test.things.Labelled.LabelsEntry"
    elif kind[0].isupper():
        result.type, result.type_name = result.TYPE_MESSAGE, f".test.things.{kind}"
    elif "." in kind:
        result.type, result.type_name = result.TYPE_MESSAGE, f".{kind}"
    else:
        result.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    return result


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def message_proto(name: str, fields: Sequence[str]) -> DescriptorProto:
    result = DescriptorProto(name=name)
    for number, text in enumerate(fields, start=1):
        added = result.field.add()
        added.CopyFrom(field_proto(number, text))
        if "? " in text:
            added.proto3_optional = True
            added.oneof_index = len(result.oneof_decl)
            result.oneof_decl.add(name=f"_{added.name}")
    if name == "Labelled":
        entry = result.nested_type.add(name="LabelsEntry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=9, label=1, json_name="key")
        entry.field.add(name="value", number=2, type=9, label=1, json_name="value")
    return result


def things_file(methods: Mapping[str, tuple[str, str, dict[str, Any] | None]]) -> Any:
    """A file with the messages above and a service `test.things.Things` of these methods."""
    file = FileDescriptorProto(
        name="test/things.proto",
        package="test.things",
        syntax="proto3",
        dependency=[module.DESCRIPTOR.name for module in KNOWN_FILES],
    )
    color = file.enum_type.add(name="Color")
    for number, name in enumerate(("NO_COLOR", "RED", "GREEN")):
        color.value.add(name=name, number=number)
    for name, fields in MESSAGES.items():
        file.message_type.add().CopyFrom(message_proto(name, fields))
    service = file.service.add(name="Things")
    for name, (request, reply, rule) in methods.items():
        method = service.method.add(name=name, input_type=full(request), output_type=full(reply))
        if request.startswith("stream "):
            method.client_streaming = True
        if reply.startswith("stream "):
            method.server_streaming = True
        if rule is not None:
            method.options.Extensions[annotations_pb2.http].CopyFrom(http_pb2.HttpRule(**rule))
    return file


def full(name: str) -> str:
    name = name.removeprefix("stream ")
    return f".{name}" if "." in name else f".test.things.{name}"


def deployment_of(file: FileDescriptorProto, name: str = "things") -> Deployment:
    """What discovery would make of a user function that announces this file."""
    pool = DescriptorPool()
    files = FileDescriptorSet()
    for module in KNOWN_FILES:
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().CopyFrom(file)
    for each in files.file:
        pool.Add(each)
    entities = tuple(
        DeployedEntity(
            entity_type="test.Kind",
            service_name=f"{file.package}.{service.name}",
            persistence_id=service.name,
            passivation_timeout_s=None,
            methods={
                method.name: deployed_method(
                    pool.FindServiceByName(f"{file.package}.{service.name}").methods_by_name[
                        method.name
                    ],
                    method,
                )
                for method in service.method
            },
            file=file.name,
        )
        for service in file.service
    )
    return Deployment(name, entities, files, pool)


def deployed_method(descriptor: Any, proto: Any) -> DeployedMethod:
    has_rule = proto.options.HasExtension(annotations_pb2.http)
    return DeployedMethod(
        name=descriptor.name,
        descriptor=descriptor,
        input_class=GetMessageClass(descriptor.input_type),
        output_class=GetMessageClass(descriptor.output_type),
        input_type_url=f"type.googleapis.com/{descriptor.input_type.full_name}",
        output_type_url=f"type.googleapis.com/{descriptor.output_type.full_name}",
        client_streaming=proto.client_streaming,
        server_streaming=proto.server_streaming,
        http=proto.options.Extensions[annotations_pb2.http] if has_rule else None,
    )


@dataclass
class FakeServed:
    revision: int = 0
    deployments: tuple[Deployment, ...] = ()
    entities: dict[str, DeployedEntity] = field(default_factory=dict)

    def serve(self, *deployments: Deployment) -> None:
        self.deployments = deployments
        self.entities = {e.service_name: e for d in deployments for e in d.entities}
        self.revision += 1


Answer = Callable[[Request], Awaitable[Outcome]]
Answers = Callable[[Request], AsyncGenerator[Outcome, None]]


class FakeHandler:
    """Keeps every request, and answers it as the test says; without a word, with the request."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: dict[str, Answer] = {}
        self.streams: dict[str, Answers] = {}

    async def handle(self, request: Request) -> Outcome:
        self.requests.append(request)
        answer = self.answers.get(request.command)
        return replied(request.payload.value) if answer is None else await answer(request)

    async def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        self.requests.append(request)
        answers = self.streams.get(request.command, echoed)
        async with aclosing(answers(request)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    def raises(self, command: str, error: BaseException) -> None:
        async def fail(request: Request) -> Outcome:
            raise error

        self.answers[command] = fail

    def answers_with(self, command: str, action: ClientAction) -> None:
        async def answer(request: Request) -> Outcome:
            return Outcome(action)

        self.answers[command] = answer


async def echoed(request: Request) -> AsyncGenerator[Outcome, None]:
    """Answer each message with itself; those of a client that takes one answer, with all."""
    if request.messages is None:
        yield replied(request.payload.value)
    elif request.command == "Collect":
        yield replied(b"".join([message.value async for message in request.messages]))
    else:
        async for message in request.messages:
            yield replied(message.value)


def replied(payload: bytes, *metadata: tuple[str, str | bytes]) -> Outcome:
    action = ClientAction()
    action.reply.payload.CopyFrom(PackedAny(value=payload))
    for key, value in metadata:
        entry = action.reply.metadata.entries.add(key=key)
        setattr(entry, "bytes_value" if isinstance(value, bytes) else "string_value", value)
    return Outcome(action)


@dataclass
class FakeHost:
    handler: CommandHandler
    served: FakeServed
    limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=SystemClock)
    ready: bool = True
    sections: Mapping[str, object] = field(default_factory=dict)

    def is_ready(self) -> bool:
        return self.ready


@dataclass
class Door:
    """An open front door and what stands behind it."""

    port: Port
    host: FakeHost
    handler: FakeHandler
    served: FakeServed
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.port.address)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.port.address)
        self.writers.append(writer)
        return reader, writer

    async def hang_up(self) -> None:
        """Close all connections that were made."""
        for writer in self.writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def exchange(self, data: bytes) -> bytes:
        """Send bytes over a connection of their own, and return all that comes until it ends."""
        reader, writer = await self.connect()
        writer.write(data)
        if writer.can_write_eof():
            writer.write_eof()
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


OpenDoor = Callable[..., AbstractAsyncContextManager[Door]]


@asynccontextmanager
async def _open_door(
    *deployments: Deployment,
    front_ends: Sequence[FrontEnd] | None = None,
    limits: Limits | None = None,
    clock: Clock | None = None,
    interceptor: Interceptor | None = None,
    **sections: object,
) -> AsyncIterator[Door]:
    handler, served = FakeHandler(), FakeServed()
    served.serve(*deployments)
    limits, clock = limits or Limits(), clock or SystemClock()
    first = handler if interceptor is None else interceptor.wrap(handler, clock, limits)
    host = FakeHost(first, served, limits, clock, sections=sections)
    fronts = [GrpcFrontEnd(), HttpFrontEnd()] if front_ends is None else front_ends
    async with open_port(fronts, host, "127.0.0.1", 0) as port:
        door = Door(port, host, handler, served)
        try:
            yield door
        finally:
            await door.hang_up()


@pytest.fixture
def open_door() -> OpenDoor:
    return _open_door


#: Every method that the tests of the front ends call.
METHODS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "Get": ("Thing", "Thing", {"get": "/things/{id}"}),
    "Put": ("Thing", "Thing", {"put": "/things/{id}", "body": "*"}),
    "Delete": ("Thing", "google.protobuf.Empty", {"delete": "/things/{id}"}),
    "Patch": ("Thing", "Thing", {"patch": "/things/{id}/inner", "body": "inner"}),
    "Post": ("Thing", "Thing", {"post": "/things", "body": "*"}),
    "Plain": ("Thing", "Thing", None),
    "Label": ("Labelled", "Labelled", {"post": "/labelled", "body": "*"}),
    "Texts": ("Thing", "Thing", {"get": "/things/{id}/texts", "response_body": "texts"}),
    "Archive": ("Thing", "Thing", {"post": "/things/{id}:archive"}),
    "File": ("Thing", "google.api.HttpBody", {"get": "/files/{id=**}"}),
    "Watch": ("Thing", "stream Thing", {"get": "/watch/{id}"}),
    "Collect": ("stream Thing", "Thing", {"post": "/collect", "body": "*"}),
    "Chat": ("stream Thing", "stream Thing", None),
    "Download": ("Thing", "stream google.api.HttpBody", {"get": "/downloads/{id}"}),
}


@pytest.fixture(scope="session")
def things() -> Deployment:
    return deployment_of(things_file(METHODS))


@pytest.fixture(scope="session")
def model() -> SimpleNamespace:
    """What tests need to describe services of their own."""
    return SimpleNamespace(
        things_file=things_file,
        deployment_of=deployment_of,
        replied=replied,
        FakeHandler=FakeHandler,
        FakeHost=FakeHost,
        FakeServed=FakeServed,
    )


@pytest.fixture(scope="session")
def thing(things: Deployment) -> Any:
    """The class of the messages that most methods take and give."""
    return GetMessageClass(things.pool.FindMessageTypeByName("test.things.Thing"))
