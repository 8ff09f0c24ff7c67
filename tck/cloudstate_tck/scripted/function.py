"""Serves sessions of model entities over gRPC, byte by byte as they say."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import grpc.aio
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.empty_pb2 import Empty

from cloudstate.crdt_pb2 import CrdtStreamIn
from cloudstate.entity_pb2 import (
    Entity,
    EntityPassivationStrategy,
    EntitySpec,
    ServiceInfo,
    TimeoutPassivationStrategy,
    UserFunctionError,
)
from cloudstate.event_sourced_pb2 import EventSourcedStreamIn
from cloudstate.value_entity_pb2 import ValueEntityStreamIn
from cloudstate_core.host.descriptors import file_descriptor_set
from cloudstate_core.links import Rpc
from cloudstate_core.status import Status
from cloudstate_tck.event_sourced_messages import CONFIGURED, MODEL, TWO
from cloudstate_tck.model import eventsourced_pb2
from cloudstate_tck.protocol import (
    CRDT,
    DISCOVER,
    EVENT_SOURCED,
    PROTOCOL_VERSION,
    REPORT_ERROR,
    VALUE_ENTITY,
)
from cloudstate_tck.scripted.session import (
    End,
    Flood,
    Hang,
    Instruction,
    Send,
    SendBytes,
    Wait,
)
from cloudstate_tck.servers import StreamHandlers, serving

__all__ = [
    "ScriptedFunction",
    "Session",
    "StreamIn",
    "StreamLog",
    "entity_of",
    "model_spec",
    "spec_of",
]

#: What a proxy sends on the stream of an entity.
StreamIn = EventSourcedStreamIn | ValueEntityStreamIn | CrdtStreamIn

STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Session(Protocol):
    """What the user function's end of one stream does next."""

    def receive(self, message: Any, /) -> Sequence[Instruction]:
        """Take the next message."""
        ...

    def completed(self) -> Sequence[Instruction]:
        """The proxy has half-closed the stream."""
        ...


class StreamLog:
    """What one stream has brought.

    Attributes:
        messages: What the proxy has sent so far.
        ended: Set once the stream is over, on whichever side.
    """

    def __init__(self) -> None:
        self.messages: list[StreamIn] = []
        self.ended = asyncio.Event()


class ScriptedFunction:
    """A user function whose sessions decide on every message.

    Attributes:
        spec: What it announces.
        address: Where it serves, as `HOST:PORT`, once it does.
        streams: Every stream there was, by the id of the entity, oldest first.
        reports: What the proxy has reported as errors.
        discovered: Set once a proxy has asked what it serves.
    """

    def __init__(
        self,
        open_session: Callable[[StreamIn], Session],
        *,
        listen: str = "127.0.0.1:0",
        spec: EntitySpec | None = None,
    ) -> None:
        """Prepare to serve.

        Args:
            open_session: Makes the session for a stream, given its first message.
            listen: `HOST:PORT`; port 0 for any.
            spec: What to announce; the event sourced model services by default.
        """
        self._open_session = open_session
        self._listen = listen
        self.spec = model_spec() if spec is None else spec
        self.address = ""
        self.streams: defaultdict[str, list[StreamLog]] = defaultdict(list)
        self.reports: list[str] = []
        self._reported = asyncio.Condition()
        self._stack = AsyncExitStack()
        self._methods: dict[str, Callable[[AsyncIterator[bytes], Any], Awaitable[None]]] = {
            DISCOVER.path: self._discover,
            REPORT_ERROR.path: self._report_error,
            **{rpc.path: partial(self._handle, rpc) for rpc in (EVENT_SOURCED, VALUE_ENTITY, CRDT)},
        }
        self.discovered = asyncio.Event()

    async def __aenter__(self) -> Self:
        handlers = StreamHandlers(self._serve, serves=self._methods.__contains__)
        self.address = await self._stack.enter_async_context(serving(handlers, self._listen))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def reported_since(self, count: int, within_s: float) -> bool:
        """Return whether there are, or soon will be, more than `count` reports."""
        try:
            async with asyncio.timeout(within_s), self._reported:
                return await self._reported.wait_for(lambda: len(self.reports) > count)
        except TimeoutError:
            return False

    async def _serve(self, path: str, requests: AsyncIterator[bytes], context: Any) -> None:
        await self._methods[path](requests, context)

    async def _discover(self, requests: AsyncIterator[bytes], context: Any) -> None:
        async for _ in requests:
            self.discovered.set()
            await context.write(self.spec.SerializeToString())

    async def _report_error(self, requests: AsyncIterator[bytes], context: Any) -> None:
        async for data in requests:
            async with self._reported:
                self.reports.append(UserFunctionError.FromString(data).message)
                self._reported.notify_all()
            await context.write(Empty().SerializeToString())

    async def _handle(
        self, rpc: Rpc[Any, Any], requests: AsyncIterator[bytes], context: Any
    ) -> None:
        session: Session | None = None
        log = StreamLog()
        try:
            async for data in requests:
                message = rpc.request_class.FromString(data)
                if session is None:
                    session = self._open_session(message)
                    self.streams[message.init.entity_id].append(log)
                log.messages.append(message)
                if await _carried_out(session.receive(message), context):
                    return
            if session is not None:
                await _carried_out(session.completed(), context)
        finally:
            log.ended.set()


async def _carried_out(instructions: Sequence[Instruction], context: Any) -> bool:
    """Carry out instructions; return whether the stream is over."""
    for instruction in instructions:
        match instruction:
            case Send(message):
                await context.write(message.SerializeToString())
            case SendBytes(data):
                await context.write(data)
            case Flood(message):
                data = message.SerializeToString()
                while True:
                    await context.write(data)
            case Wait(duration_s):
                await asyncio.sleep(duration_s)
            case Hang():
                await asyncio.Event().wait()
            case End(Status.OK):
                return True
            case End(status, details):
                await context.abort(STATUS_CODES[status], details)
    return False


def model_spec(*services: str) -> EntitySpec:
    """Return what a user function with the event sourced model entities announces.

    Args:
        services: Full names of the services; all three by default.
    """
    return spec_of(
        eventsourced_pb2.DESCRIPTOR, [_ENTITIES[service] for service in services or _ENTITIES]
    )


def spec_of(file: FileDescriptor, entities: Sequence[Entity]) -> EntitySpec:
    """Return what a user function with some model entities announces."""
    major, minor = PROTOCOL_VERSION
    return EntitySpec(
        proto=file_descriptor_set([], [file]).SerializeToString(),
        entities=entities,
        service_info=ServiceInfo(
            service_name="scripted",
            service_version="0.1.0",
            support_library_name="cloudstate-tck",
            protocol_major_version=major,
            protocol_minor_version=minor,
        ),
    )


def entity_of(
    rpc: Rpc[Any, Any], service: str, persistence_id: str, *, timeout_ms: int = 0
) -> Entity:
    """Return what is announced of one entity; 0 for no passivation timeout of its own."""
    entity = Entity(entity_type=rpc.service, service_name=service, persistence_id=persistence_id)
    if timeout_ms:
        strategy = EntityPassivationStrategy(timeout=TimeoutPassivationStrategy(timeout=timeout_ms))
        entity.passivation_strategy.CopyFrom(strategy)
    return entity


_ENTITIES = {
    MODEL: entity_of(EVENT_SOURCED, MODEL, "event-sourced-tck-model"),
    TWO: entity_of(EVENT_SOURCED, TWO, "event-sourced-tck-model-two"),
    CONFIGURED: entity_of(EVENT_SOURCED, CONFIGURED, "event-sourced-configured", timeout_ms=100),
}
