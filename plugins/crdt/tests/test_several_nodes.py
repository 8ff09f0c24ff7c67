"""Replicated entities that several nodes serve at once, each with its own user function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from random import Random

import pytest
from google.protobuf.any_pb2 import Any
from puppets import DELETE, cancelled, reply, streamed, update
from replicating_nodes import FixedCluster, members_of
from serving_puppets import Served, serve, text_of, until

from cloudstate.crdt_pb2 import (
    CrdtClock,
    CrdtDelta,
    CrdtStateAction,
    CrdtWriteConsistency,
    FlagDelta,
    LWWRegisterDelta,
    VoteDelta,
)
from cloudstate_core.cluster import Members
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.transports import Network
from cloudstate_crdt import Flag, TooFewReplicas, Vote
from cloudstate_crdt.entity_errors import EntityDeleted
from cloudstate_crdt.replicas import DELETED

pytestmark = pytest.mark.usefixtures("logged")

MAJORITY, ALL = CrdtWriteConsistency.MAJORITY, CrdtWriteConsistency.ALL


@dataclass
class Nodes:
    """Nodes, what is between them, and the time."""

    a: Served
    b: Served
    network: Network
    clock: ManualClock
    clusters: list[FixedCluster]

    async def until(self, condition: Callable[[], object]) -> None:
        """Let time go by until something is so."""
        for _ in range(200):
            if condition():
                return
            await self.clock.advance(0.1)
            await asyncio.sleep(0.001)
        raise AssertionError("it does not come about")


@asynccontextmanager
async def two_nodes() -> AsyncIterator[Nodes]:
    clock = ManualClock()
    network = Network(clock, Random(5))
    async with AsyncExitStack() as stack:
        clusters = [
            FixedCluster(
                await stack.enter_async_context(network.connect(name)), members_of(a=1, b=1)
            )
            for name in ("a", "b")
        ]
        a, b = [
            await stack.enter_async_context(
                serve("local", clock=clock, cluster=cluster, passivation_timeout_s=1000.0)
            )
            for cluster in clusters
        ]
        nodes = Nodes(a, b, network, clock, clusters)
        yield nodes
        network.heal()


async def test_a_change_reaches_the_user_function_of_another_node() -> None:
    async with two_nodes() as nodes:
        await nodes.b.say("e")
        await nodes.a.add("e", 2)
        await nodes.until(lambda: nodes.b.puppet.heard("e")[-1] == "delta increment: 2")
        await nodes.b.add("e", 3)
        await nodes.until(lambda: nodes.a.puppet.heard("e")[-1] == "delta increment: 3")

        assert (await nodes.a.total("e"), await nodes.b.total("e")) == (5, 5)
        # Where nobody had asked for the entity, it begins with all of it.
        await nodes.a.add("other", 7)
        for _ in range(20):
            await nodes.clock.advance(0.1)
        await nodes.b.say("other")
        assert nodes.b.puppet.heard("other")[0] == "init increment: 7"


async def test_changes_from_elsewhere_wait_for_the_end_of_a_command() -> None:
    async with two_nodes() as nodes:
        held = asyncio.create_task(nodes.b.ask("e", reply("x", update(1)), held=True))
        await until(lambda: nodes.b.puppet.got["e"] and len(nodes.b.puppet.received("e")) == 2)
        await nodes.a.add("e", 2)
        await nodes.a.add("e", 2)
        for _ in range(30):
            await nodes.clock.advance(0.1)
        assert await nodes.b.total("e") == 4
        assert nodes.b.puppet.heard("e") == ["init", "command 1"]
        nodes.b.puppet.gate.set()

        assert text_of(await held) == "x"
        await until(lambda: nodes.b.puppet.heard("e")[-1] == "delta increment: 4")


async def test_both_nodes_may_create_an_entity_at_once() -> None:
    async with two_nodes() as nodes:
        nodes.network.cut("a", "b")
        nodes.network.cut("b", "a")
        await nodes.a.add("e", 2)
        await nodes.b.add("e", 3)
        nodes.network.heal()

        await nodes.until(lambda: nodes.a.puppet.heard("e")[-1] == "delta increment: 3")
        await nodes.until(lambda: nodes.b.puppet.heard("e")[-1] == "delta increment: 2")


async def test_two_types_for_one_entity_fail_the_later_command_and_never_mix() -> None:
    async with two_nodes() as nodes:
        await nodes.a.add("e", 2)
        await nodes.until(lambda: nodes.b.store.inner is not None)
        for _ in range(20):
            await nodes.clock.advance(0.1)
        flag = CrdtStateAction(update=CrdtDelta(flag=FlagDelta(value=True)))
        with pytest.raises(Exception, match="terminating"):
            await nodes.b.ask("e", reply(change=flag))
        assert not isinstance(await nodes.b.stored("e"), Flag)
        assert await nodes.b.total("e") == 2


async def test_a_write_that_loses_is_told_to_its_user_function() -> None:
    def writes(value: bytes, clock: int, number: int) -> CrdtStateAction:
        delta = LWWRegisterDelta(value=Any(value=value), clock=clock, custom_clock_value=number)
        return CrdtStateAction(update=CrdtDelta(lwwregister=delta))

    async with two_nodes() as nodes:
        await nodes.a.ask("e", reply(change=writes(b"late", CrdtClock.CUSTOM, 9)))
        for _ in range(20):
            await nodes.clock.advance(0.1)
        await nodes.b.ask("e", reply(change=writes(b"early", CrdtClock.CUSTOM, 3)))

        await until(lambda: "late" in nodes.b.puppet.heard("e")[-1])
        assert nodes.b.puppet.heard("e")[-1].startswith("delta")


@pytest.mark.parametrize("consistency", [MAJORITY, ALL])
async def test_a_write_is_answered_when_as_many_nodes_as_asked_for_have_it(
    consistency: int,
) -> None:
    async with two_nodes() as nodes:
        nodes.network.cut("a", "b")
        asking = asyncio.create_task(nodes.a.ask("e", reply("x", update(2, consistency))))
        await until(lambda: nodes.a.puppet.got["e"] and len(nodes.a.puppet.received("e")) == 2)
        for _ in range(10):
            await nodes.clock.advance(0.1)
        assert not asking.done()
        # Others need not wait for it.
        assert await nodes.a.say("e", "meanwhile") == "meanwhile"
        nodes.network.heal()
        await nodes.until(asking.done)

        assert text_of(await asking) == "x"
        assert await nodes.b.total("e") == 2


async def test_a_write_that_too_few_nodes_have_is_an_error_and_still_spreads() -> None:
    async with two_nodes() as nodes:
        nodes.network.cut("a", "b")
        asking = asyncio.create_task(nodes.a.ask("e", reply("x", update(2, ALL))))
        await nodes.until(asking.done)

        with pytest.raises(TooFewReplicas, match="still spreads"):
            await asking
        assert nodes.a.seen.crashed == []
        assert await nodes.a.say("e") == "ok"
        nodes.network.heal()
        await nodes.b.say("e")
        await nodes.until(lambda: nodes.b.puppet.heard("e")[-1] != "command 1")
        assert await nodes.b.total("e") == 2


async def test_a_stream_whose_first_write_too_few_nodes_have_ends_and_is_cancelled() -> None:
    async with two_nodes() as nodes:
        nodes.network.cut("a", "b")
        first = reply("first", update(2, ALL), streamed=True)
        outcomes = nodes.a.watch("e", first, streamed("second"), when_cancelled=[cancelled()])
        asking = asyncio.create_task(anext(outcomes))
        await nodes.until(asking.done)

        with pytest.raises(TooFewReplicas):
            await asking
        await until(lambda: nodes.a.puppet.heard("e")[-1] == "cancelled 1")


async def test_the_elements_of_a_stream_come_after_its_first_however_long_that_takes() -> None:
    async with two_nodes() as nodes:
        nodes.network.cut("a", "b")
        first = reply("first", update(2, ALL), streamed=True)
        async with aclosing(nodes.a.watch("e", first, streamed("second"))) as outcomes:
            asking = asyncio.create_task(anext(outcomes))
            for _ in range(10):
                await nodes.clock.advance(0.1)
            assert not asking.done()
            nodes.network.heal()
            await nodes.until(asking.done)
            assert text_of(await asking) == "first"
            assert text_of(await anext(outcomes)) == "second"


async def test_a_deletion_elsewhere_ends_the_entity_here() -> None:
    async with two_nodes() as nodes:
        await nodes.b.add("e", 1)
        async with aclosing(nodes.b.watch("e", reply("first", streamed=True))) as outcomes:
            await anext(outcomes)
            await nodes.a.ask("e", reply("gone", DELETE))
            await nodes.until(lambda: nodes.b.puppet.heard("e")[-1] == "delete")
            assert [each async for each in outcomes] == []
        with pytest.raises(EntityDeleted):
            await nodes.b.say("e")
        assert await nodes.b.stored("e") is DELETED
        await until(lambda: nodes.b.puppet.ended == ["e"])


async def test_a_change_of_an_entity_that_was_deleted_elsewhere_is_refused() -> None:
    async with two_nodes() as nodes:
        held = asyncio.create_task(nodes.b.ask("e", reply("x", update(1)), held=True))
        await until(lambda: nodes.b.puppet.got["e"] and len(nodes.b.puppet.received("e")) == 2)
        await nodes.a.ask("e", reply("gone", DELETE))
        for _ in range(30):
            await nodes.clock.advance(0.1)
        assert await nodes.b.stored("e") is DELETED
        nodes.b.puppet.gate.set()

        with pytest.raises(EntityDeleted):
            await held
        assert nodes.b.puppet.heard("e") == ["init", "command 1", "delete"]
        assert nodes.b.seen.crashed == []


async def test_votes_are_those_of_the_members() -> None:
    def votes(*, is_for: bool) -> CrdtStateAction:
        return CrdtStateAction(update=CrdtDelta(vote=VoteDelta(self_vote=is_for)))

    async with two_nodes() as nodes:
        await nodes.a.ask("e", reply(change=votes(is_for=True)))
        # Who has begun the vote learns how many there are.
        told = "delta self_vote: true votes_for: 1 total_voters: 2"
        await until(lambda: nodes.a.puppet.heard("e")[-1] == told)
        await nodes.b.ask("e", reply(change=votes(is_for=True)))
        told = "delta self_vote: true votes_for: 2 total_voters: 2"
        await nodes.until(lambda: nodes.a.puppet.heard("e")[-1] == told)
        assert isinstance(await nodes.a.stored("e"), Vote)

        # Whether a member can be reached is no news. One that leaves takes its voice along, and
        # that is told without another change.
        both = members_of(a=1, b=1)
        nodes.clusters[0].change(Members(both.epochs, frozenset({"a"}), {}))
        await asyncio.sleep(0.01)
        assert nodes.a.puppet.heard("e")[-1] == told
        nodes.clusters[0].change(members_of(a=1))
        told = "delta self_vote: true votes_for: 1 total_voters: 1"
        await nodes.until(lambda: nodes.a.puppet.heard("e")[-1] == told)


async def test_changes_that_come_while_the_user_function_is_busy_are_told_in_one_delta() -> None:
    async with two_nodes() as nodes:
        held = asyncio.create_task(nodes.b.ask("e", reply(), held=True))
        await until(lambda: nodes.b.puppet.got["e"] and len(nodes.b.puppet.received("e")) == 2)
        for _ in range(50):
            await nodes.a.add("e", 1)
            await nodes.clock.advance(0.1)
        nodes.b.puppet.gate.set()
        await held

        await until(lambda: nodes.b.puppet.heard("e")[-1] == "delta increment: 50")
        assert len(nodes.b.puppet.received("e")) == 3
