"""A runtime that serves the services of a desk from a store, over either link."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any as AnyType

from desk import ARCHIVE, NOTEBOOK, Desk
from google.protobuf.message import Message
from notebook.notebook_pb2 import LineAdded, Lines, Page, Text

from cloudstate_core.anys import decode, pack_message
from cloudstate_core.clock import Clock
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.proxy_caller import open_proxy_caller
from cloudstate_core.host.server import open_server
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.instrument import Instrument
from cloudstate_core.links import FunctionLink
from cloudstate_core.plugins import Plugins
from cloudstate_core.settings import HostSettings
from cloudstate_core.store import Commit, EntityKey, StateStore
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.faulty_store import FaultyStore
from cloudstate_eventsourced.entity import EventSourcedEntity
from cloudstate_eventsourced.plugin import EventSourcedKind
from cloudstate_runtime.frontend.grpc import GrpcFrontEnd
from cloudstate_runtime.frontend.port import open_port
from cloudstate_runtime.function.grpc_link import open_grpc_link
from cloudstate_runtime.runtime import Runtime, open_runtime
from cloudstate_runtime.settings import RuntimeSettings

LINKS = ("local", "grpc")

#: Serves a desk; see `serve`.
Serve = Callable[..., AbstractAsyncContextManager["Served"]]


@asynccontextmanager
async def open_link(how: str, function: UserFunction, clock: Clock) -> AsyncIterator[FunctionLink]:
    """Open a link to a user function in this process: directly, or through a socket."""
    if how == "local":
        yield LocalLink(function, clock)
        return
    async with (
        open_server(function, HostSettings(port=0)) as server,
        open_grpc_link(
            server.address, clock, max_message_bytes=12 * 1024 * 1024, close_timeout_s=2.0
        ) as link,
    ):
        yield link


class RecordingInstrument(Instrument):
    """Remembers what happened to which entity."""

    def __init__(self) -> None:
        self.activated: list[str] = []
        self.passivated: list[str] = []
        self.crashed: list[tuple[str, str]] = []

    def entity_activated(self, entity: DeployedEntity, entity_id: str) -> None:
        self.activated.append(entity_id)

    def entity_passivated(self, entity: DeployedEntity, entity_id: str) -> None:
        self.passivated.append(entity_id)

    def entity_crashed(self, entity: DeployedEntity, entity_id: str, error: BaseException) -> None:
        self.crashed.append((entity_id, str(error)))


class MeddledStore(FaultyStore):
    """A store in which a test does something just before a commit; each thing once."""

    def __init__(self, inner: StateStore) -> None:
        super().__init__(inner, fail_at=None)
        self.before_commits: list[Callable[[Commit], Awaitable[None]]] = []

    async def commit(self, commit: Commit) -> None:
        if self.before_commits:
            await self.before_commits.pop(0)(commit)
        await super().commit(commit)


@dataclass
class Served:
    """What a test has in its hands."""

    runtime: Runtime
    store: MeddledStore
    clock: ManualClock
    desk: Desk
    link: FunctionLink
    seen: RecordingInstrument
    opens_the_gate_at_the_end: bool = True

    async def ask(
        self, command: str, message: Message, service: str = NOTEBOOK, **fields: AnyType
    ) -> Outcome:
        """Send a command as a front end would."""
        return await self.runtime.handler.handle(
            Request(service, command, pack_message(message), **fields)
        )

    async def write(self, entity_id: str, *lines: str, command: str = "Write", to: str = "") -> str:
        """Send lines, and return the text that came back."""
        return _text(await self.ask(command, Lines(id=entity_id, lines=lines, to=to)))

    async def read(self, entity_id: str) -> str:
        return _text(await self.ask("Read", Page(id=entity_id)))

    async def look(self, entity_id: str) -> str:
        return _text(await self.ask("Look", Page(id=entity_id), ARCHIVE))

    async def stored(self, entity_id: str, service: str = NOTEBOOK) -> list[str]:
        """Return the lines of the events that are stored, which are numbered without a gap."""
        events = await self.store.inner.events(EntityKey(service, entity_id), after=0, limit=99_999)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        return [_line(decode(event.payload)) for event in events]

    async def snapshot(self, entity_id: str) -> tuple[int, list[str]] | None:
        stored = await self.store.inner.snapshot(EntityKey(NOTEBOOK, entity_id))
        if stored is None:
            return None
        lines: AnyType = decode(stored.state)
        return stored.sequence, list(lines.lines)

    async def passivate(self) -> None:
        """Let time go by until every entity has left memory."""
        await self.clock.advance(31)
        assert sorted(self.seen.passivated) == sorted(self.seen.activated)


def _text(outcome: Outcome) -> str:
    answered = decode(outcome.action.reply.payload)
    assert isinstance(answered, Text), outcome
    return answered.text


def _line(event: object) -> str:
    assert isinstance(event, LineAdded)
    return event.line


@asynccontextmanager
async def _asking_through(runtime: Runtime, function: UserFunction) -> AsyncIterator[None]:
    """Open a front door, and let the handlers of a user function ask through it."""
    async with (
        open_port([GrpcFrontEnd()], runtime, "127.0.0.1", 0) as port,
        open_proxy_caller("{}:{}".format(*port.address), 1024 * 1024) as caller,
    ):
        function.caller.connect(caller)
        yield


@asynccontextmanager
async def serve(
    how: str,
    *,
    desk: Desk | None = None,
    entities: Sequence[EventSourcedEntity] = (),
    asks: bool = False,
    **settings: AnyType,
) -> AsyncIterator[Served]:
    """Serve a desk, or other entities, over a link; keywords are settings of the runtime.

    With `asks`, a user function behind a socket finds the front door of the runtime.
    """
    clock, seen, desk = ManualClock(), RecordingInstrument(), desk or Desk()
    kinds = {"eventsourced": EventSourcedKind()}
    plugins = Plugins(kinds=kinds, instruments=(seen,))
    meddled = MeddledStore(MemoryStore(clock))
    function = UserFunction(entities or desk.entities, plugins)
    async with (
        AsyncExitStack() as opened,
        open_link(how, function, clock) as link,
        open_runtime(
            RuntimeSettings(**settings),
            plugins,
            meddled,
            {"desk": link},
            clock=clock,
            random=Random(1),
        ) as runtime,
    ):
        await runtime.wait_until_deployed()
        if how == "grpc" and asks:
            await opened.enter_async_context(_asking_through(runtime, function))
        served = Served(runtime, meddled, clock, desk, link, seen)
        yield served
        if served.opens_the_gate_at_the_end:
            desk.gate.set()
