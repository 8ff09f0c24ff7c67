"""The declaration of a chat, and the user function's end of its stream."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.links import Conversation, Rpc, Write

TALK = Rpc("/test.chat.Chat/talk", StringValue, StringValue)


def files(*packages: str) -> dict[str, FileDescriptor]:
    """Return the descriptors of one file for each package, in a pool of their own.

    Each file has a message `Line` and a service `Room`, and imports the file before it.
    """
    pool = DescriptorPool()
    found = {}
    before = None
    for package in packages:
        file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        if before is not None:
            file.dependency.append(before)
        file.message_type.add(name="Line").field.add(name="text", number=1, type=9, label=1)
        service = file.service.add(name="Room")
        service.method.add(
            name="Say", input_type=f".{package}.Line", output_type=f".{package}.Line"
        )
        pool.Add(file)
        before = file.name
        found[package] = pool.FindFileByName(file.name)
    return found


def room(package: str = "example.chat") -> ServiceDescriptor:
    """Return the service `Room` of one package."""
    return files(package)[package].services_by_name["Room"]


class ChatEntity(EntityDefinition):
    """One chat service."""

    entity_type: ClassVar[str] = "test.chat.Chat"

    def __init__(
        self, service: ServiceDescriptor | None = None, *, mistake: str = "", **options: object
    ) -> None:
        super().__init__(service or room(), **options)  # type: ignore[arg-type]
        self._mistake = mistake

    def validate(self) -> None:
        if self._mistake:
            raise RegistrationError(self._mistake)


class Chat(Conversation):
    """The user function's end of one stream; what happens to all of them is counted."""

    closed: ClassVar[dict[str, int]] = {"count": 0}
    written: ClassVar[dict[str, int]] = {"count": 0}
    waiting: ClassVar[dict[str, asyncio.Event]] = {}

    def __init__(self, write: Write[Message]) -> None:
        self._write = write
        self.ended = False

    async def receive(self, message: Message) -> None:
        assert isinstance(message, StringValue)
        text = message.value
        if text.startswith("tell "):
            text = text.removeprefix("tell ")
            await self._write(StringValue(value="BEGUN"))
        verb, _, rest = text.partition(" ")
        match verb:
            case "raise":
                raise ValueError(f"secret {rest}")
            case "end":
                self.ended = True
            case "silent":
                return
            case "wait":
                self.waiting.setdefault(f"{rest} started", asyncio.Event()).set()
                await self.waiting.setdefault(rest, asyncio.Event()).wait()
            case "sleep":
                await asyncio.sleep(float(rest))
            case "block":
                await asyncio.to_thread(time.sleep, float(rest))
            case "flood":
                for _ in range(int(rest)):
                    await self._write(StringValue(value="x" * 1000))
                    self.written["count"] += 1
        await self._write(StringValue(value=text.upper()))

    async def aclose(self) -> None:
        self.closed["count"] += 1
