"""A node is started on an older copy of its store: nothing it writes then is taken for old news."""

from __future__ import annotations

import asyncio
import copy
from contextlib import AsyncExitStack
from random import Random
from typing import Any as AnyType

import pytest
from puppets import Puppet
from serving_puppets import PuppetKind, RecordingInstrument, ReportedLink, Served

from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import Plugins
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.faulty_store import FaultyStore
from cloudstate_core.transports import InProcessBackend, Network
from cloudstate_runtime.cluster.membership import MembershipMachine
from cloudstate_runtime.runtime import open_runtime
from cloudstate_runtime.settings import RuntimeSettings

#: Longer than between two marks of how far a store has come.
A_WHILE_S = 40.0


class Node:
    """A node that finds the others by itself."""

    served: Served

    def __init__(self, name: str, clock: ManualClock, network: Network) -> None:
        self.store = MemoryStore(clock)
        self._name, self._clock, self._network = name, clock, network
        self._open = AsyncExitStack()
        self._starts = 0

    async def start(self) -> None:
        puppet, seen = Puppet(), RecordingInstrument()
        plugins = Plugins(
            kinds={"crdt": PuppetKind()},
            instruments=(seen,),
            transports={"in-process": InProcessBackend(self._network)},
        )
        self._starts += 1
        store = FaultyStore(self.store, fail_at=None)
        link: AnyType = ReportedLink(LocalLink(UserFunction((puppet,), plugins), self._clock))
        opening = asyncio.ensure_future(
            self._open.enter_async_context(
                open_runtime(
                    RuntimeSettings(node=self._name, transport="in-process://"),
                    plugins,
                    store,
                    {"puppet": link},
                    clock=self._clock,
                    random=Random(f"{self._name} {self._starts}"),
                )
            )
        )
        while not opening.done():
            await self._clock.advance(0.05)
        runtime = opening.result()
        await runtime.wait_until_deployed()
        self.served = Served(runtime, store, self._clock, puppet, seen, link)

    async def stop(self) -> None:
        opened, self._open = self._open, AsyncExitStack()
        await opened.aclose()

    def copy_of_store(self) -> MemoryStore:
        return copy.deepcopy(self.store, {id(self._clock): self._clock})


async def totals_after_putting_back_a_copy() -> list[int]:
    """Add 5 at each of two nodes, 7 after a copy was made of one's store, and 4 on that copy."""
    clock = ManualClock()
    network = Network(clock, Random(1))
    nodes = [Node(name, clock, network) for name in "ab"]
    a = nodes[0]
    async with AsyncExitStack() as stack:
        for node in nodes:
            await node.start()
            stack.push_async_callback(node.stop)
            await node.served.add("e", 5)
        await clock.advance(2.0)
        await a.stop()
        older = a.copy_of_store()
        await a.start()
        await a.served.add("e", 7)
        await clock.advance(A_WHILE_S)
        await a.stop()

        a.store = older
        await a.start()
        await a.served.add("e", 4)
        await clock.advance(A_WHILE_S)
        return [await node.served.total("e") for node in nodes]


async def test_what_a_node_writes_on_an_older_copy_of_its_store_counts() -> None:
    assert await totals_after_putting_back_a_copy() == [21, 21]


async def test_without_a_new_life_it_is_taken_for_what_was_written_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def believes_its_store(machine: MembershipMachine) -> list[object]:
        machine.life = machine.records.of(machine.node.name).life
        return []

    monkeypatch.setattr(MembershipMachine, "_look_at_itself", believes_its_store)

    assert await totals_after_putting_back_a_copy() != [21, 21]
