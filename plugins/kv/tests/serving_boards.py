"""A runtime that serves the boards from a store, over either link."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any as AnyType

from boards import ARCHIVE, PINBOARD, Boards
from google.protobuf.message import Message
from pinboard.pinboard_pb2 import Board, Note, Text, Texts

from cloudstate_core.anys import decode, pack_message
from cloudstate_core.clock import Clock
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.host.local_link import LocalLink
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
from cloudstate_kv.entity import ValueEntity
from cloudstate_kv.plugin import ValueKind
from cloudstate_runtime.function.grpc_link import open_grpc_link
from cloudstate_runtime.runtime import Runtime, open_runtime
from cloudstate_runtime.settings import RuntimeSettings

LINKS = ("local", "grpc")

#: Serves the boards; see `serve`.
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
    boards: Boards
    link: FunctionLink
    seen: RecordingInstrument
    opens_the_gate_at_the_end: bool = True

    async def ask(
        self, command: str, message: Message, service: str = PINBOARD, **fields: AnyType
    ) -> Outcome:
        """Send a command as a front end would."""
        return await self.runtime.handler.handle(
            Request(service, command, pack_message(message), **fields)
        )

    async def pin(self, entity_id: str, *texts: str, command: str = "Pin", to: str = "") -> str:
        """Send texts, and return the text that came back."""
        return text_of(await self.ask(command, Texts(id=entity_id, texts=texts, to=to)))

    async def read(self, entity_id: str) -> str:
        return text_of(await self.ask("Read", Board(id=entity_id)))

    async def look(self, entity_id: str) -> str:
        return text_of(await self.ask("Look", Board(id=entity_id), ARCHIVE))

    async def stored(self, entity_id: str, service: str = PINBOARD) -> tuple[int, str | None]:
        """Return revision and text of what is stored."""
        stored = await self.store.inner.value(EntityKey(service, entity_id))
        if stored.value is None:
            return stored.revision, None
        note = decode(stored.value)
        assert isinstance(note, Note)
        return stored.revision, " ".join([*note.earlier, note.text])

    async def passivate(self) -> None:
        """Let time go by until every entity has left memory."""
        await self.clock.advance(31)
        assert sorted(self.seen.passivated) == sorted(self.seen.activated)


def text_of(outcome: Outcome) -> str:
    answered = decode(outcome.action.reply.payload)
    assert isinstance(answered, Text), outcome
    return answered.text


@asynccontextmanager
async def serve(
    how: str,
    *,
    boards: Boards | None = None,
    entities: Sequence[ValueEntity] = (),
    **settings: AnyType,
) -> AsyncIterator[Served]:
    """Serve boards, or other entities, over a link; keywords are settings of the runtime."""
    clock, seen, boards = ManualClock(), RecordingInstrument(), boards or Boards()
    plugins = Plugins(kinds={"kv": ValueKind()}, instruments=(seen,))
    meddled = MeddledStore(MemoryStore(clock))
    function = UserFunction(entities or boards.entities, plugins)
    async with (
        open_link(how, function, clock) as link,
        open_runtime(
            RuntimeSettings(**settings),
            plugins,
            meddled,
            {"boards": link},
            clock=clock,
            random=Random(1),
        ) as runtime,
    ):
        await runtime.wait_until_deployed()
        served = Served(runtime, meddled, clock, boards, link, seen)
        yield served
        if served.opens_the_gate_at_the_end:
            boards.gate.set()
