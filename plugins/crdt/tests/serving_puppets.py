"""A runtime that serves puppets from a store, over either link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any as AnyType

from puppet.puppet_pb2 import Word
from puppets import SERVICE, Puppet, cancelled, order, reply, update

from cloudstate.crdt_pb2 import CrdtStateAction, CrdtStreamOut
from cloudstate_core.anys import decode
from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Cluster
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import StoreUnavailable
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.server import open_server
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.instrument import Instrument
from cloudstate_core.kind import EntityKind
from cloudstate_core.links import FunctionLink
from cloudstate_core.plugins import Plugins
from cloudstate_core.settings import HostSettings
from cloudstate_core.store import Commit, EntityKey, StateStore, StoredValue
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.faulty_store import FaultyStore
from cloudstate_crdt import Lattice, standard_types
from cloudstate_crdt.replicas import Deleted
from cloudstate_crdt.serving import open_serving
from cloudstate_crdt.stored_form import StoredForm
from cloudstate_runtime.function.grpc_link import open_grpc_link
from cloudstate_runtime.runtime import Runtime, open_runtime
from cloudstate_runtime.settings import RuntimeSettings

LINKS = ("local", "grpc")

#: Serves a puppet; see `serve`.
Serve = Callable[..., AbstractAsyncContextManager["Served"]]


class _HostIn:
    """What the runtime offers, and a cluster."""

    def __init__(self, host: AnyType, cluster: Cluster) -> None:
        self.cluster = cluster
        self._host = host

    def __getattr__(self, name: str) -> AnyType:
        return getattr(self._host, name)


class PuppetKind(EntityKind):
    """The kind, with a user function's end of its own.

    Args:
        cluster: Where the node belongs; None for that of the runtime.
    """

    name = "crdt"
    entity_type = Puppet.entity_type

    def __init__(self, cluster: Cluster | None = None) -> None:
        self._cluster = cluster

    def protocol_methods(self, entities: Sequence[AnyType], caller: AnyType) -> AnyType:
        (puppet,) = entities
        return [puppet.method()]

    def open_handler(self, entity: DeployedEntity, host: AnyType) -> AnyType:
        if self._cluster is not None:
            host = _HostIn(host, self._cluster)
        return open_serving(entity, host, Random(2))


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


class ReportedLink:
    """A link that notes what its user function is told is wrong."""

    def __init__(self, inner: FunctionLink) -> None:
        self.reports: list[str] = []
        self._inner = inner

    def __getattr__(self, name: str) -> AnyType:
        return getattr(self._inner, name)

    async def report_error(self, message: str) -> None:
        self.reports.append(message)


class FailingStore(FaultyStore):
    """A store of which a test lets the next commit or the next read of a value fail."""

    def __init__(self, inner: StateStore) -> None:
        super().__init__(inner, fail_at=None)
        self._failing: set[str] = set()

    def fail_next_commit(self) -> None:
        self._failing.add("commit")

    def fail_next_read(self) -> None:
        self._failing.add("read")

    def fail_later(self, calls: int, *, after_effect: bool) -> None:
        """Let the call fail that comes after so many others."""
        self._fail_at, self._after_effect = self.calls + calls, after_effect

    async def commit(self, commit: Commit) -> None:
        self._fail("commit")
        await super().commit(commit)

    async def value(self, key: EntityKey) -> StoredValue:
        self._fail("read")
        return await super().value(key)

    def _fail(self, what: str) -> None:
        if what in self._failing:
            self._failing.remove(what)
            raise StoreUnavailable(f"a {what} fails, as the test wants it")


@dataclass
class Served:
    """What a test has in its hands."""

    runtime: Runtime
    store: FailingStore
    clock: ManualClock
    puppet: Puppet
    seen: RecordingInstrument
    link: ReportedLink

    async def ask(self, entity_id: str, *answers: AnyType, **fields: AnyType) -> Outcome:
        """Send a command, and have it answered so."""
        held = fields.pop("held", False)
        return await self.runtime.handler.handle(
            Request(SERVICE, "Do", order(entity_id, *answers, held=held), **fields)
        )

    async def say(
        self, entity_id: str, text: str = "ok", change: CrdtStateAction | None = None
    ) -> str:
        return text_of(await self.ask(entity_id, reply(text, change)))

    async def add(self, entity_id: str, increment: int) -> None:
        """Have the user function count a counter up."""
        await self.say(entity_id, "added", update(increment))

    def watch(
        self,
        entity_id: str,
        *answers: CrdtStreamOut | bytes,
        when_cancelled: Sequence[CrdtStreamOut | bytes] = (cancelled(),),
        held: bool = False,
        **fields: AnyType,
    ) -> AsyncGenerator[Outcome, None]:
        payload = order(entity_id, *answers, when_cancelled=when_cancelled, held=held)
        return self.runtime.handler.stream(Request(SERVICE, "Watch", payload, **fields))

    async def stored(self, entity_id: str) -> Lattice | Deleted | None:
        """Return the copy in the store."""
        stored = await self.store.inner.value(EntityKey(SERVICE, entity_id))
        form = StoredForm(standard_types(), 1 << 20)
        return form.read(entity_id, stored)[0]

    async def total(self, entity_id: str) -> int:
        stored: AnyType = await self.stored(entity_id)
        return int(stored.value)


def text_of(outcome: Outcome) -> str:
    match outcome.action.WhichOneof("action"):
        case "reply":
            answered = decode(outcome.action.reply.payload)
            assert isinstance(answered, Word)
            return answered.text
        case "failure":
            return f"!{outcome.action.failure.description}"
        case _:
            return "-"


async def until(condition: Callable[[], object], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def open_link(how: str, function: UserFunction, clock: Clock) -> AsyncIterator[FunctionLink]:
    """Open a link to a user function in this process: directly, or through a socket."""
    if how == "local":
        yield LocalLink(function, clock)
        return
    async with (
        open_server(function, HostSettings(port=0)) as server,
        open_grpc_link(
            server.address, clock, max_message_bytes=12 * 2**20, close_timeout_s=2.0
        ) as link,
    ):
        yield link


@asynccontextmanager
async def serve(
    how: str,
    *,
    clock: ManualClock | None = None,
    cluster: Cluster | None = None,
    **settings: AnyType,
) -> AsyncIterator[Served]:
    """Serve a puppet over a link; keywords are settings of the runtime."""
    clock, seen, puppet = clock or ManualClock(), RecordingInstrument(), Puppet()
    plugins = Plugins(kinds={"crdt": PuppetKind(cluster)}, instruments=(seen,))
    faulty = FailingStore(MemoryStore(clock))
    function = UserFunction((puppet,), plugins)
    async with open_link(how, function, clock) as link:
        reported: AnyType = ReportedLink(link)
        async with open_runtime(
            RuntimeSettings(**settings),
            plugins,
            faulty,
            {"puppet": reported},
            clock=clock,
            random=Random(1),
        ) as runtime:
            await runtime.wait_until_deployed()
            yield Served(runtime, faulty, clock, puppet, seen, reported)
            puppet.gate.set()
