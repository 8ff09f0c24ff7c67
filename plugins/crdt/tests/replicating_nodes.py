"""A few replicators in one loop, over a network that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from random import Random

from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_core.transport import Transport
from cloudstate_core.transports import Network
from cloudstate_core.transports.in_process import InProcessTransport
from cloudstate_crdt import Lattice, Replica, standard_types
from cloudstate_crdt.departed import Departed, Retired, Trace
from cloudstate_crdt.replicas import Change, Deleted, digest_of
from cloudstate_crdt.replication.limits import Limits
from cloudstate_crdt.replicator import Replicator

REGISTRY = standard_types()


class CountingNetwork(Network):
    """Counts what nodes send."""

    sent = 0

    def carry(self, *message: object) -> None:
        self.sent += 1
        super().carry(*message)


class FixedCluster:
    """Members that a test sets."""

    def __init__(self, transport: Transport, members: Members) -> None:
        self.node = NodeIdentity(transport.node, members.epochs[transport.node])
        self.transport = transport
        self.members = members
        self._listeners: list[Callable[[Members], None]] = []

    @contextmanager
    def on_change(self, changed: Callable[[Members], None]) -> Iterator[None]:
        self._listeners.append(changed)
        try:
            yield
        finally:
            self._listeners.remove(changed)

    def change(self, members: Members) -> None:
        self.members = members
        for changed in self._listeners:
            changed(members)


class MemoryReplicas:
    """Copies that are nowhere but in memory."""

    def __init__(self, me: Replica) -> None:
        self.me = me
        self.copies: dict[str, Change] = {}
        self.failure: Exception | None = None
        self.retired = Retired()

    async def join(self, entity_id: str, change: Change) -> bool:
        await asyncio.sleep(0)
        if isinstance(change, Lattice):
            change = change.copy()
            self.retired.strip(change)
        if self.failure is not None:
            raise self.failure
        copy = self.copies.get(entity_id)
        if isinstance(copy, Deleted):
            return False
        if copy is None or isinstance(change, Deleted):
            self.copies[entity_id] = change if isinstance(change, Deleted) else change.copy()
            return True
        return copy.join(change)

    async def state(self, entity_id: str) -> Change | None:
        copy = self.copies.get(entity_id)
        return copy.copy() if isinstance(copy, Lattice) else copy

    async def digests(self) -> AsyncIterator[tuple[str, bytes]]:
        for entity_id, copy in list(self.copies.items()):
            yield entity_id, digest_of(copy)

    async def keep_retired(self, retired: Retired) -> None:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure

    def use_retired(self, retired: Retired) -> None:
        self.retired = retired
        for copy in self.copies.values():
            if isinstance(copy, Lattice):
                retired.apply(copy)

    async def trace(self, entity_id: str, departed: Departed) -> Trace:
        if self.failure is not None:
            raise self.failure
        copy = self.copies.get(entity_id)
        return Trace.of(copy, departed) if isinstance(copy, Lattice) else Trace()

    async def traces(self, departed: Departed) -> AsyncIterator[tuple[str, Trace]]:
        for entity_id in list(self.copies):
            yield entity_id, await self.trace(entity_id, departed)

    async def adopt(self, entity_id: str, departed: Departed) -> Change | None:
        copy = self.copies.get(entity_id)
        if not isinstance(copy, Lattice) or not copy.must_adopt(departed):
            return None
        return copy.adopt(self.me, departed)


class Node:
    """A node with its copies, and a replicator while it runs."""

    transport: InProcessTransport
    cluster: FixedCluster
    replicator: Replicator

    def __init__(self, network: Network, name: str, members: Members, clock: Clock) -> None:
        self.name = name
        self.me = Replica(name, members.epochs[name])
        self.replicas = MemoryReplicas(self.me)
        self._network = network
        self._members = members
        self._clock = clock
        self._random = Random(name)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self._network.connect(self.name) as self.transport:
            self.cluster = FixedCluster(self.transport, self._members)
            self.replicator = Replicator(
                "counters",
                self.replicas,
                self.cluster,
                self._clock,
                REGISTRY,
                random=self._random,
                limits=Limits(),
            )
            async with self.replicator:
                yield

    async def change(
        self,
        entity_id: str,
        type_: type[Lattice],
        consistency: str,
        mutation: Callable[[Lattice, Replica], Lattice],
    ) -> None:
        copy = self.replicas.copies.setdefault(entity_id, type_.bottom(REGISTRY))
        assert isinstance(copy, Lattice)
        await self.replicator.changed(entity_id, mutation(copy, self.me), consistency)

    def value(self, entity_id: str) -> object:
        copy = self.replicas.copies.get(entity_id)
        return copy if copy is None or isinstance(copy, Deleted) else copy.value


def members_of(given_up: dict[str, int] | None = None, **epochs: int) -> Members:
    """Members, and who was expelled and given up."""
    gone = given_up or {}
    return Members(epochs=epochs, reachable=frozenset(epochs), expelled=gone, forgotten=gone)


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.running())
        yield
