"""Replicated entities on three nodes: what one answers, the others have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
import structlog
from puppets import DELETE, reply, update
from replicating_nodes import members_of
from three_runtimes import Three, three_runtimes

from cloudstate.crdt_pb2 import CrdtDelta, CrdtWriteConsistency, FlagDelta, VoteDelta
from cloudstate_core.transports import Faults
from cloudstate_crdt import Flag, TooFewReplicas
from cloudstate_crdt.entity_errors import EntityDeleted
from cloudstate_crdt.replicas import DELETED


@pytest.fixture
async def three() -> AsyncIterator[Three]:
    async with three_runtimes() as nodes:
        yield nodes


async def test_what_one_node_answers_the_others_have_in_their_stores(three: Three) -> None:
    a, b, _ = three.nodes.values()
    await a.served.add("e", 2)
    await b.served.add("e", 3)
    await three.clock.advance(0.1)

    assert await three.totals("e") == [5, 5, 5]


async def test_a_user_function_hears_what_other_nodes_have_changed(three: Three) -> None:
    a, b, _ = three.nodes.values()
    await b.served.say("e")
    await a.served.add("e", 2)
    await three.clock.advance(0.1)

    assert b.served.puppet.heard("e") == ["init", "command 1", "delta increment: 2"]


async def test_a_majority_has_it_on_disk_when_it_is_answered(three: Three) -> None:
    three.isolate("c")
    a = three.nodes["a"]

    assert await a.served.say("e", "two", update(2, CrdtWriteConsistency.MAJORITY)) == "two"

    assert await three.totals("e") == [2, 2, None]


async def test_too_few_nodes_are_unavailable_and_the_change_still_spreads(three: Three) -> None:
    three.isolate("c")
    a = three.nodes["a"]
    asking = asyncio.create_task(
        a.served.ask("e", reply("two", update(2, CrdtWriteConsistency.ALL)))
    )
    await three.clock.advance(5.5)

    with pytest.raises(TooFewReplicas, match="kept on this node and still spreads"):
        await asking
    # The entity goes on.
    await a.served.add("e", 1)
    three.network.heal()
    await three.clock.advance(2.0)
    assert await three.totals("e") == [3, 3, 3]


async def test_a_deletion_ends_the_entity_everywhere(three: Three) -> None:
    a, b, _ = three.nodes.values()
    await a.served.add("e", 2)
    await three.clock.advance(0.1)
    three.isolate("c")
    await b.served.say("e", "gone", DELETE)
    await three.nodes["c"].served.add("e", 1)
    three.network.heal()
    await three.clock.advance(2.0)

    for node in three.nodes.values():
        assert await node.served.stored("e") is DELETED
    with pytest.raises(EntityDeleted):
        await a.served.say("e")


async def test_a_full_stop_loses_nothing(three: Three) -> None:
    for number, node in enumerate(three.nodes.values(), start=1):
        three.isolate(node.name)
        await node.served.add("e", number)
    await three.stop_all()
    three.network.heal()
    for name in three.nodes:
        await three.start(name)

    await three.clock.advance(2.0)

    assert await three.totals("e") == [6, 6, 6]


async def test_a_node_without_its_store_comes_back_with_a_new_epoch_and_gets_all(
    three: Three,
) -> None:
    for number in range(30):
        await three.nodes["a"].served.add(f"e{number}", 1)
    await three.nodes["c"].served.add("e0", 10)
    await three.clock.advance(0.1)
    await three.stop("c")
    three.nodes["c"].store.inner = type(three.nodes["c"].store.inner)(three.clock)
    members = members_of(a=1, b=1, c=2)
    for name in "ab":
        three.nodes[name].cluster.change(members)

    await three.start("c", members)
    await three.clock.advance(2.0)
    await three.nodes["c"].served.add("e0", 100)
    await three.clock.advance(0.1)

    assert await three.totals("e0") == [111, 111, 111]
    assert [await three.nodes["c"].total(f"e{number}") for number in range(1, 30)] == [1] * 29


async def test_a_vote_counts_who_is_a_member(three: Three) -> None:
    a = three.nodes["a"]
    await a.served.say("e", "voted", update(CrdtDelta(vote=VoteDelta(self_vote=True))))
    await three.clock.advance(0.1)
    a.cluster.change(members_of(a=1, b=1))
    await three.clock.advance(0.1)

    assert a.served.puppet.heard("e")[-1] == "delta self_vote: true votes_for: 1 total_voters: 2"


async def test_one_entity_of_two_types_stays_usable_and_is_reported(three: Three) -> None:
    three.isolate("c")
    a, b, c = three.nodes.values()
    await a.served.add("e", 2)
    await c.served.say("e", "on", update(CrdtDelta(flag=FlagDelta(value=True))))
    with structlog.testing.capture_logs() as logged:
        three.network.heal()
        await three.clock.advance(5.0)

    assert "change_refused" in {each["event"] for each in logged}
    assert len(logged) < 10
    await b.served.add("e", 3)
    await three.clock.advance(0.1)
    assert await three.totals("e", ["a", "b"]) == [5, 5]
    assert await c.served.stored("e") == Flag(enabled=True)
    await c.served.add("another", 1)
    await three.clock.advance(0.1)
    assert await three.totals("another") == [1, 1, 1]


@pytest.mark.parametrize("seed", range(3))
async def test_commands_at_all_nodes_over_a_bad_network_count_exactly(seed: int) -> None:
    random, expected = Random(seed), dict.fromkeys(("x", "y", "z"), 0)
    async with three_runtimes() as three:
        for _ in range(40):
            faults = Faults(loss=0.3, duplication=0.2, max_delay_s=0.05)
            three.network.set_faults(faults)
            if random.random() < 0.1:
                name = random.choice("abc")
                await three.stop(name)
                await three.start(name)
            if random.random() < 0.1:
                three.isolate(random.choice("abc"))
            if random.random() < 0.1:
                three.network.heal()
            entity_id, by = random.choice(list(expected)), random.randint(1, 9)
            expected[entity_id] += by
            await random.choice(list(three.nodes.values())).served.add(entity_id, by)
            await three.clock.advance(random.random() * 0.1)
        three.network.heal()
        await three.clock.advance(3.0)

        for entity_id, total in expected.items():
            assert await three.totals(entity_id) == [total or None] * 3
