"""Replicators over a transport agree to forget who has departed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from random import Random

import pytest
import structlog
from replicating_nodes import REGISTRY, Node, members_of, running
from simulated_changes import item

from cloudstate_core.errors import StoreUnavailable
from cloudstate_core.testing import ManualClock
from cloudstate_core.transports import Network
from cloudstate_crdt import GCounter, ORSet, Replica
from cloudstate_crdt.departed import RETIRED
from cloudstate_crdt.replicas import Consistency

ABC = members_of(a=1, b=1, c=1)
GIVEN_UP = members_of({"d": 3}, a=1, b=1, c=1)
D = Replica("d", 3)


class Three:
    """Nodes a, b and c, which have what d has left: 7 in a counter, an element in a set."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.network = Network(self.clock, Random(1), max_message_bytes=10_000)
        self.nodes = [Node(self.network, name, ABC, self.clock) for name in "abc"]
        for node in self.nodes:
            node.replicas.copies["set"] = elements = ORSet.bottom(REGISTRY)
            elements.add(D, item(1))
            node.replicas.copies["x"] = GCounter({D: 7})
            node.replicas.copies["y"] = GCounter({node.me: 1})

    def give_up(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            node.cluster.change(GIVEN_UP)


@pytest.fixture
async def three() -> AsyncIterator[Three]:
    nodes = Three()
    async with running(*nodes.nodes):
        await nodes.clock.advance(2.0)
        yield nodes


def traces(node: Node) -> list[str]:
    copies = node.replicas.copies.items()
    return [each for each, copy in copies if copy.trace_of(node.replicas.retired.departed)]


def has_forgotten(node: Node) -> bool:
    return bool(node.replicas.retired) and not traces(node)


async def test_all_forget_and_values_stay(three: Three) -> None:
    three.give_up(three.nodes)
    await three.clock.advance(5.0)

    for node in three.nodes:
        assert has_forgotten(node)
        assert node.replicas.copies["x"] == GCounter({RETIRED: 7})
        assert node.value("y") == 3
        assert list(node.replicas.copies["set"]) == [item(1)]


async def test_nothing_is_forgotten_until_all_have_heard_of_it(three: Three) -> None:
    three.give_up(three.nodes[:2])
    await three.clock.advance(10.0)
    assert not any(node.replicas.retired for node in three.nodes)

    three.give_up(three.nodes[2:])
    await three.clock.advance(5.0)

    assert all(map(has_forgotten, three.nodes))


async def test_whom_it_waits_for_is_told(three: Three) -> None:
    three.network.partition({"a", "b"}, {"c"})
    with structlog.testing.capture_logs() as logs:
        three.give_up(three.nodes)
        await three.clock.advance(30.0)

    told = {(each["node"], each["why"]) for each in logs if each["event"] == "forgetting_waits"}
    assert ("c", "it has not said what it has of them") in told
    assert not any(node.replicas.retired for node in three.nodes)


async def test_changes_go_on_meanwhile_and_are_counted_once(three: Three) -> None:
    async def count(node: Node) -> None:
        for _ in range(60):
            await node.change("x", GCounter, Consistency.LOCAL, lambda s, me: s.increment(me))
            await three.clock.sleep(0.05)

    counting = [asyncio.create_task(count(node)) for node in three.nodes]
    await three.clock.advance(0.5)
    three.give_up(three.nodes)
    await three.clock.advance(8.0)
    await asyncio.gather(*counting)

    assert all(map(has_forgotten, three.nodes))
    assert [node.value("x") for node in three.nodes] == [187, 187, 187]


async def test_what_cannot_be_kept_is_kept_later(three: Three) -> None:
    store = three.nodes[1].replicas
    three.give_up(three.nodes)
    store.failure = StoreUnavailable("the disk is full")
    with structlog.testing.capture_logs() as logs:
        await three.clock.advance(3.0)
        assert not store.retired
        store.failure = None
        await three.clock.advance(5.0)

    assert all(map(has_forgotten, three.nodes))
    assert {"traces_not_read", "departed_forgotten"} <= {each["event"] for each in logs}


async def test_a_node_alone_forgets_alone() -> None:
    clock = ManualClock()
    alone = members_of({"d": 3}, a=1)
    node = Node(Network(clock, Random(1), max_message_bytes=10_000), "a", alone, clock)
    node.replicas.copies["x"] = GCounter({D: 7})

    async with running(node):
        await clock.advance(2.0)

        assert node.replicas.copies["x"] == GCounter({RETIRED: 7})
        assert has_forgotten(node)


async def test_a_node_that_joins_later_strips(three: Three) -> None:
    three.give_up(three.nodes)
    await three.clock.advance(5.0)
    everybody = members_of({"d": 3}, a=1, b=1, c=1, e=1)
    late = Node(three.network, "e", everybody, three.clock)
    late.replicas.copies["x"] = GCounter({D: 5, late.me: 2})
    async with running(late):
        for node in three.nodes:
            node.cluster.change(everybody)
        await three.clock.advance(5.0)

        for node in [*three.nodes, late]:
            assert has_forgotten(node)
            assert node.replicas.copies["x"] == GCounter({RETIRED: 7, late.me: 2})
