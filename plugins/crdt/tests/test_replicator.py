"""Replicators over a transport: what the machine decides is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from random import Random

import pytest
import structlog
from replicating_nodes import CountingNetwork, Node, members_of, running
from simulated_changes import item

from cloudstate_core.errors import StoreUnavailable
from cloudstate_core.status import Status
from cloudstate_core.testing import ManualClock
from cloudstate_core.transports import Faults
from cloudstate_crdt import GCounter, GSet, TooFewReplicas, replicator
from cloudstate_crdt.replicas import DELETED, Consistency
from cloudstate_crdt.replicator import topic_of

ABC = members_of(a=1, b=1, c=1)


class Three:
    """Nodes a, b and c."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.network = CountingNetwork(self.clock, Random(1), max_message_bytes=10_000)
        self.nodes = [Node(self.network, name, ABC, self.clock) for name in "abc"]

    def cut_off(self, *names: str) -> None:
        self.network.partition(set("abc") - set(names), set(names))

    def values(self, entity_id: str = "x") -> list[object]:
        return [node.value(entity_id) for node in self.nodes]


@pytest.fixture
async def three() -> AsyncIterator[Three]:
    nodes = Three()
    async with running(*nodes.nodes):
        # Until they know that they are equal.
        await nodes.clock.advance(2.0)
        yield nodes


async def increment(node: Node, consistency: str = Consistency.LOCAL, by: int = 1) -> None:
    await node.change("x", GCounter, consistency, lambda state, me: state.increment(me, by))


async def test_a_change_reaches_all_other_nodes(three: Three) -> None:
    await increment(three.nodes[0])
    await three.clock.advance(0.05)

    assert three.values() == [1, 1, 1]


async def test_changes_of_one_turn_travel_together(three: Three) -> None:
    before = three.network.sent
    for _ in range(100):
        await increment(three.nodes[0])
    await three.clock.advance(0.05)

    assert three.values() == [100, 100, 100]
    assert three.network.sent - before == 1


async def test_a_majority_is_this_node_and_one_more_of_three(three: Three) -> None:
    three.cut_off("c")

    await increment(three.nodes[0], Consistency.MAJORITY)

    assert three.values() == [1, 1, None]


async def test_all_are_all_members_and_too_few_are_told_after_the_timeout(three: Three) -> None:
    three.cut_off("c")
    waiting = asyncio.create_task(increment(three.nodes[0], Consistency.ALL))
    await three.clock.advance(4.9)
    assert not waiting.done()

    await three.clock.advance(0.2)

    with pytest.raises(TooFewReplicas, match=r"by 3 nodes, found 2: .*still spreads") as refused:
        await waiting
    assert refused.value.status is Status.UNAVAILABLE
    assert (refused.value.stored, refused.value.needed) == (2, 3)
    three.network.heal()
    await three.clock.advance(2.0)
    assert three.values() == [1, 1, 1]


async def test_a_wait_ends_when_the_missing_node_is_back(three: Three) -> None:
    three.cut_off("c")
    waiting = asyncio.create_task(increment(three.nodes[0], Consistency.ALL))
    await three.clock.advance(2.0)
    three.network.heal()

    await three.clock.advance(2.0)

    await waiting
    assert three.values() == [1, 1, 1]


async def test_a_change_that_is_not_stored_is_not_confirmed(three: Three) -> None:
    for node in three.nodes[1:]:
        node.replicas.failure = StoreUnavailable("the disk is full")
    waiting = asyncio.create_task(increment(three.nodes[0], Consistency.MAJORITY))
    await three.clock.advance(1.0)
    assert not waiting.done()

    three.nodes[1].replicas.failure = None
    await three.clock.advance(2.0)

    await waiting
    assert three.values() == [1, 1, None]


async def test_a_node_that_was_cut_off_has_everything_soon_after(three: Three) -> None:
    three.cut_off("c")
    for _ in range(50):
        await increment(three.nodes[0])
        await increment(three.nodes[2], by=10)
        await three.clock.advance(0.1)
    assert three.values() == [50, 50, 500]
    three.network.heal()

    await three.clock.advance(1.5)

    assert three.values() == [550, 550, 550]


async def test_a_deletion_is_for_ever(three: Three) -> None:
    await increment(three.nodes[0])
    await three.clock.advance(0.05)
    three.cut_off("c")
    three.nodes[0].replicas.copies["x"] = DELETED
    await three.nodes[0].replicator.changed("x", DELETED, Consistency.LOCAL)
    await increment(three.nodes[2])
    three.network.heal()

    await three.clock.advance(2.0)

    assert three.values() == [DELETED, DELETED, DELETED]


async def test_a_state_longer_than_a_message_arrives(three: Three) -> None:
    for number in range(3_000):
        element = item(number)
        await three.nodes[0].change(
            "s", GSet, Consistency.LOCAL, lambda state, me, element=element: state.add(element)
        )
    expected = three.nodes[0].replicas.copies["s"]
    assert len(expected.serialize()) > 3 * three.network.max_message_bytes

    await three.clock.advance(0.05)

    assert [node.replicas.copies["s"] for node in three.nodes] == [expected] * 3


async def test_a_node_that_comes_back_with_what_it_had_gets_the_rest() -> None:
    three = Three()
    a, b, c = three.nodes
    async with running(a, b):
        async with running(c):
            await three.clock.advance(2.0)
            await increment(a)
            await three.clock.advance(0.1)
        await increment(a)
        await increment(b)
        # Stored, and nobody has heard of it when the process ends.
        c.replicas.copies["x"].increment(c.me, 10)
        async with running(c):
            await three.clock.advance(2.0)

            assert three.values() == [13, 13, 13]


async def test_a_hint_of_a_gap_leads_to_a_comparison_at_once(three: Three) -> None:
    three.cut_off("c")
    await increment(three.nodes[0])
    await three.clock.advance(0.05)
    three.network.heal()

    three.nodes[2].transport.tell_gap()
    await three.clock.advance(0.25)

    assert three.values() == [1, 1, 1]


async def test_a_transport_that_stands_still_fills_no_memory(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicator, "_MAX_OUTGOING_BYTES", 2_000)
    a, going = three.nodes[0], asyncio.Event()
    broadcast = a.transport.broadcast

    async def waiting(topic: str, message: bytes) -> None:
        await going.wait()
        await broadcast(topic, message)

    monkeypatch.setattr(a.transport, "broadcast", waiting)
    for number in range(200):
        await a.change(
            f"x{number}", GCounter, Consistency.LOCAL, lambda state, me: state.increment(me, 1)
        )
        await three.clock.advance(0.01)
    # Before anything is judged: a node that stops waits for what it still has to send.
    waiting_bytes, values = a.replicator._outgoing_bytes, three.values("x0")
    going.set()
    await three.clock.advance(4.0)

    # The bound, and one message: a comparison begins with about two thousand bytes.
    assert 1_000 < waiting_bytes < 4_500
    assert values == [1, None, None]
    assert [three.values(f"x{number}") for number in range(200)] == [[1, 1, 1]] * 200


async def test_a_change_that_may_be_stored_is_compared(three: Three) -> None:
    # It was stored, but the store had failed to say so.
    three.nodes[1].replicas.copies["x"] = GCounter({three.nodes[1].me: 5})
    await three.clock.advance(3.0)
    assert three.values() == [None, 5, None]

    three.nodes[1].replicator.unsure("x")
    await three.clock.advance(3.0)

    assert three.values() == [5, 5, 5]


async def test_garbage_is_reported_and_harms_nothing(three: Three) -> None:
    topic = topic_of("counters")
    with structlog.testing.capture_logs() as logged:
        async with three.network.connect("stranger") as stranger:
            for garbage in (b"", b"\xff" * 100, b"garbage"):
                await stranger.send("b", topic, garbage)
                await three.nodes[0].transport.send("b", topic, garbage)
            await three.clock.advance(0.05)
    await increment(three.nodes[0])
    await three.clock.advance(0.05)

    assert three.values() == [1, 1, 1]
    # Once for each sender, with what was left out the next time.
    assert {each["event"] for each in logged} == {"message_refused"}
    assert len(logged) == 2
    assert {each["node"] for each in logged} == {"a", "stranger"}


async def test_who_waits_is_told_when_the_node_stops() -> None:
    three = Three()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(three.nodes[0]))
        waiting = asyncio.create_task(increment(three.nodes[0], Consistency.MAJORITY))
        await three.clock.advance(0.1)

    with pytest.raises(TooFewReplicas, match="stopping"):
        await waiting
    with pytest.raises(TooFewReplicas, match="stopping"):
        await increment(three.nodes[0], Consistency.MAJORITY)
    # A change that waits for nobody is stored, and is compared when the node is back.
    await increment(three.nodes[0], Consistency.LOCAL)


async def test_a_node_that_is_alone_does_nothing_until_there_is_another() -> None:
    three = Three()
    a = Node(three.network, "a", members_of(a=1), three.clock)
    b = Node(three.network, "b", members_of(a=1, b=1), three.clock)
    async with running(a, b):
        await increment(a, Consistency.ALL)
        await three.clock.advance(1.0)
        assert three.clock.waiting <= 2
        assert b.value("x") is None

        a.cluster.change(members_of(a=1, b=1))
        await three.clock.advance(2.0)

        assert (a.value("x"), b.value("x")) == (1, 1)


async def test_a_node_of_another_epoch_is_not_heard_until_it_is_a_member() -> None:
    three = Three()
    a, b, _ = three.nodes
    c = Node(three.network, "c", members_of(a=1, b=1, c=2), three.clock)
    async with running(a, b, c):
        await increment(c)
        await three.clock.advance(1.0)
        assert three.values()[:2] == [None, None]

        for node in (a, b):
            node.cluster.change(members_of(a=1, b=1, c=2))
        await three.clock.advance(2.0)
        assert three.values()[:2] == [1, 1]


@pytest.mark.parametrize("seed", range(5))
async def test_nodes_over_a_bad_network_converge_and_count_exactly(seed: int) -> None:
    three = Three()
    random = Random(seed)
    expected = dict.fromkeys("uvwxyz", 0)
    async with running(*three.nodes):
        faults = Faults(loss=0.2, duplication=0.1, max_delay_s=0.1, late=0.05, late_by_s=1.0)
        three.network.set_faults(faults)
        for _ in range(60):
            entity_id, by = random.choice("uvwxyz"), random.randint(1, 9)
            expected[entity_id] += by
            await random.choice(three.nodes).change(
                entity_id,
                GCounter,
                Consistency.LOCAL,
                lambda state, me, by=by: state.increment(me, by),
            )
            if random.random() < 0.1:
                three.cut_off(random.choice("abc"))
            if random.random() < 0.1:
                three.network.heal()
                three.network.set_faults(faults)
            await three.clock.advance(random.random() * 0.2)
        three.network.heal()
        await three.clock.advance(3.0)

        for entity_id, total in expected.items():
            assert three.values(entity_id) == ([total] * 3 if total else [None] * 3)


@pytest.mark.parametrize(
    "persistence_id", ["presence", "Ein Wagen/für alle", "x" * 500, "a b", "crdt/x"]
)
def test_every_persistence_id_has_a_topic_of_its_own(persistence_id: str) -> None:
    topic = topic_of(persistence_id)

    assert len(topic) <= 200
    assert all(each.isascii() and (each.isalnum() or each in "._-/") for each in topic)
    assert topic != topic_of(persistence_id + "!")
