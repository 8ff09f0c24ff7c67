"""A runtime that serves actions, over either link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any as AnyType

from google.protobuf.any_pb2 import Any
from station.station_pb2 import DESCRIPTOR, Word

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate_action.entity import Action
from cloudstate_action.plugin import ActionKind
from cloudstate_core.anys import decode, pack_message
from cloudstate_core.entity import DeployedEntity, EntityDefinition
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.server import HostServer, open_server
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.instrument import Instrument
from cloudstate_core.links import FunctionLink
from cloudstate_core.plugins import Plugins
from cloudstate_core.settings import HostSettings
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.function.grpc_link import open_grpc_link
from cloudstate_runtime.runtime import Runtime, open_runtime
from cloudstate_runtime.settings import RuntimeSettings

LINKS = ("local", "grpc")

STATION = DESCRIPTOR.services_by_name["Station"]
ARCHIVE = DESCRIPTOR.services_by_name["Archive"]

Serve = Callable[..., AbstractAsyncContextManager["Served"]]


def word(text: str) -> Word:
    return Word(text=text)


def packed(text: str) -> Any:
    return pack_message(word(text))


class Recorder(FunctionLink):
    """A link that notes what goes over another one.

    Attributes:
        sent: The commands, in order.
        received: The responses.
        reports: What the user function was told is wrong with it.
    """

    def __init__(self, inner: FunctionLink) -> None:
        self.sent: list[ActionCommand] = []
        self.received: list[ActionResponse] = []
        self.reports: list[str] = []
        self._inner = inner

    def open_stream(self, rpc):
        return self._inner.open_stream(rpc)

    async def call(self, rpc, message):
        self.sent.append(message)
        answer = await self._inner.call(rpc, message)
        self.received.append(answer)
        return answer

    async def stream(self, rpc, messages):
        async def noted():
            async for message in messages:
                self.sent.append(message)
                yield message

        async with aclosing(self._inner.stream(rpc, noted())) as answers:
            async for answer in answers:
                self.received.append(answer)
                yield answer

    async def discover(self, info):
        return await self._inner.discover(info)

    async def report_error(self, message):
        self.reports.append(message)
        await self._inner.report_error(message)

    async def wait_until_lost(self):
        await self._inner.wait_until_lost()


class CountingInstrument(Instrument):
    """Counts the commands that were answered."""

    def __init__(self) -> None:
        self.handled: list[str] = []

    def command_handled(self, entity: DeployedEntity, command: str, duration_s: float) -> None:
        self.handled.append(command)


@dataclass
class Served:
    """What a test has in its hands.

    Attributes:
        server: What the user function is behind, if it is behind gRPC.
    """

    runtime: Runtime
    clock: ManualClock
    link: Recorder
    seen: CountingInstrument
    server: HostServer | None
    got: list[str] = field(default_factory=list)

    async def call(self, command: str, text: str = "", **fields: AnyType) -> Outcome:
        """Call a method with one message and one reply, as a front end would."""
        return await self.runtime.handler.handle(self.request(command, text, **fields))

    async def say(self, command: str, text: str = "", **fields: AnyType) -> str:
        return text_of(await self.call(command, text, **fields))

    def stream(
        self, command: str, *texts: str, messages: AnyType = None, **fields: AnyType
    ) -> AsyncGenerator[Outcome, None]:
        """Call a method that streams; several texts are a stream, one is one message."""
        if command in ("Join", "Echo"):
            fields["messages"] = sending(texts) if messages is None else messages
            return self.runtime.handler.stream(Request(*self._names(command), Any(), **fields))
        return self.runtime.handler.stream(self.request(command, *texts, **fields))

    async def texts(self, command: str, *texts: str, **fields: AnyType) -> list[str]:
        """Return the replies of a streamed method; those before an error are in `got` as well."""
        self.got.clear()
        async with aclosing(self.stream(command, *texts, **fields)) as outcomes:
            async for outcome in outcomes:
                self.got.append(text_of(outcome))
        return list(self.got)

    def request(self, command: str, text: str = "", **fields: AnyType) -> Request:
        return Request(*self._names(command), packed(text), **fields)

    def _names(self, command: str) -> tuple[str, str]:
        service = STATION if command in STATION.methods_by_name else ARCHIVE
        return str(service.full_name), command


async def sending(texts: Iterable[str]) -> AsyncGenerator[Any, None]:
    for text in texts:
        yield packed(text)


def text_of(outcome: Outcome) -> str:
    """Return what an outcome says, in few characters."""
    action = outcome.action
    match action.WhichOneof("action"):
        case "reply":
            message: AnyType = decode(action.reply.payload)
            return str(message.text)
        case "failure":
            return f"!{action.failure.description}"
        case "forward":
            return f">{action.forward.service_name}.{action.forward.command_name}"
        case _:
            return "-"


async def until(condition: Callable[[], object], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def open_link(
    how: str, function: UserFunction, clock: ManualClock
) -> AsyncIterator[tuple[FunctionLink, HostServer | None]]:
    if how == "local":
        yield LocalLink(function, clock), None
        return
    async with (
        open_server(function, HostSettings(port=0)) as server,
        open_grpc_link(
            server.address, clock, max_message_bytes=1 << 20, close_timeout_s=2.0
        ) as link,
    ):
        yield link, server


@asynccontextmanager
async def serve(how: str, *actions: Action, **settings: AnyType) -> AsyncIterator[Served]:
    """Serve actions over a link; keywords are settings of the runtime."""
    clock, seen = ManualClock(), CountingInstrument()
    plugins = Plugins(kinds={"action": ActionKind()}, instruments=(seen,))
    entities: tuple[EntityDefinition, ...] = actions
    function = UserFunction(entities, plugins)
    async with open_link(how, function, clock) as (link, server):
        recorder = Recorder(link)
        async with open_runtime(
            RuntimeSettings(**settings),
            plugins,
            MemoryStore(clock),
            {"station": recorder},
            clock=clock,
            random=Random(1),
        ) as runtime:
            await runtime.wait_until_deployed()
            yield Served(runtime, clock, recorder, seen, server)
