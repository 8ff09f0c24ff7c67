"""Three runtimes in one process that replicate to each other over a network that can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any as AnyType

from puppets import Puppet
from replicating_nodes import FixedCluster, members_of
from serving_puppets import PuppetKind, RecordingInstrument, ReportedLink, Served

from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Members
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import Plugins
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.faulty_store import FaultyStore
from cloudstate_core.transports import Network
from cloudstate_crdt.serving import open_serving
from cloudstate_runtime.runtime import open_runtime
from cloudstate_runtime.settings import RuntimeSettings

NAMES = ("a", "b", "c")


class ClusteredKind(PuppetKind):
    """The kind, as one node of a cluster that a test decides about."""

    def __init__(self, cluster: FixedCluster) -> None:
        self._cluster = cluster

    def open_handler(self, entity: DeployedEntity, host: AnyType) -> AnyType:
        return open_serving(entity, replace(host, cluster=self._cluster))


class Node:
    """One node, which keeps its store while it does not run.

    Attributes:
        served: What it serves while it runs.
        cluster: The cluster as it sees it while it runs.
        store: Its store.
    """

    served: Served
    cluster: FixedCluster

    def __init__(self, name: str, network: Network, clock: ManualClock) -> None:
        self.name = name
        self.store = FaultyStore(MemoryStore(clock), fail_at=None)
        self._network = network
        self._clock = clock

    @asynccontextmanager
    async def running(self, members: Members) -> AsyncIterator[None]:
        async with self._network.connect(self.name) as transport:
            self.cluster = FixedCluster(transport, members)
            async with _open_served(self.cluster, self.store, self._clock) as self.served:
                yield

    async def total(self, entity_id: str) -> int | None:
        stored: AnyType = await self.served.stored(entity_id)
        return None if stored is None else stored.value


@asynccontextmanager
async def _open_served(
    cluster: FixedCluster, store: FaultyStore, clock: ManualClock
) -> AsyncIterator[Served]:
    puppet, seen = Puppet(), RecordingInstrument()
    plugins = Plugins(kinds={"crdt": ClusteredKind(cluster)}, instruments=(seen,))
    link: AnyType = ReportedLink(LocalLink(UserFunction((puppet,), plugins), clock))
    async with open_runtime(
        RuntimeSettings(), plugins, store, {"puppet": link}, clock=clock, random=Random(1)
    ) as runtime:
        await runtime.wait_until_deployed()
        yield Served(runtime, store, clock, puppet, seen, link)


class Three:
    """Nodes a, b and c.

    Attributes:
        clock: The time of all.
        network: What is between them.
        nodes: The nodes, by name.
    """

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.network = Network(clock, Random(1))
        self.nodes = {name: Node(name, self.network, clock) for name in NAMES}
        self._running: dict[str, AsyncExitStack] = {}

    async def start(self, name: str, members: Members | None = None) -> None:
        stack = AsyncExitStack()
        await stack.enter_async_context(
            self.nodes[name].running(members or members_of(a=1, b=1, c=1))
        )
        self._running[name] = stack

    async def stop(self, name: str) -> None:
        await self._running.pop(name).aclose()

    async def stop_all(self) -> None:
        for name in tuple(self._running):
            await self.stop(name)

    def isolate(self, name: str) -> None:
        self.network.partition({name}, set(NAMES) - {name})

    async def totals(self, entity_id: str, names: Sequence[str] = NAMES) -> list[int | None]:
        return [await self.nodes[name].total(entity_id) for name in names]


@asynccontextmanager
async def three_runtimes(clock: Clock | None = None) -> AsyncIterator[Three]:
    three = Three(clock or ManualClock())
    try:
        for name in NAMES:
            await three.start(name)
        await three.clock.advance(2.0)
        yield three
    finally:
        await three.stop_all()
