"""Nodes over a network within this process, each with a store of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from random import Random

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.cluster import Members
from cloudstate_core.errors import (
    CloudstateError,
    ConfigurationError,
    CorruptState,
    SettingsError,
    StoreUnavailable,
)
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import SLICES, Commit, PutValue, StateStore
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing import ManualClock
from cloudstate_core.transports import InProcessBackend, Network
from cloudstate_runtime.cluster.desk import entries_of, node_commands
from cloudstate_runtime.cluster.kept import KEY
from cloudstate_runtime.cluster.members import TOPIC, ClusterMembers
from cloudstate_runtime.cluster.opening import open_cluster
from cloudstate_runtime.settings import RuntimeSettings


class World:
    """A network, a store for each node, and the nodes that are open."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.network = Network(self.clock, Random(1))
        self.stores: dict[str, MemoryStore] = {}
        self._open: list[AsyncExitStack] = []
        self._process = 0

    async def start(
        self, name: str, *, store: StateStore | None = None, transport: str = "in-process://"
    ) -> tuple[ClusterMembers, AsyncExitStack]:
        store = store or self.stores.setdefault(name, MemoryStore(self.clock))
        self._process += 1
        stack = AsyncExitStack()
        self._open.append(stack)
        opening = asyncio.ensure_future(
            stack.enter_async_context(
                open_cluster(
                    RuntimeSettings(node=name, transport=transport),
                    Plugins(transports={"in-process": InProcessBackend(self.network)}),
                    {},
                    store,
                    await store.claim(range(SLICES)),
                    clock=self.clock,
                    random=Random(self._process),
                )
            )
        )
        await self.until(opening.done)
        return opening.result(), stack

    async def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(1000):
            if holds():
                return
            await self.clock.advance(0.05)
        raise AssertionError("it never came to that")

    async def aclose(self) -> None:
        for stack in self._open:
            await stack.aclose()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.aclose()
    assert world.clock.waiting == 0


# --- Alone ---------------------------------------------------------------------------


async def test_a_node_without_a_transport_is_alone_and_keeps_its_epoch(world: World) -> None:
    first, stack = await world.start("local", transport="")
    await stack.aclose()
    await world.clock.advance(1000)
    second, _ = await world.start("local", transport="")

    assert first.node.epoch == 1_700_000_000_000
    assert second.node == first.node
    assert second.members == Members({"local": second.node.epoch}, frozenset({"local"}), {})
    assert world.clock.waiting == 0  # nothing runs by itself


async def test_a_start_that_changes_nothing_writes_nothing(world: World) -> None:
    _, stack = await world.start("local", transport="")
    await stack.aclose()
    revision = (await world.stores["local"].value(KEY)).revision
    await world.start("local", transport="")

    assert (await world.stores["local"].value(KEY)).revision == revision


async def test_a_node_that_was_alone_may_get_another_name(world: World) -> None:
    store = MemoryStore(world.clock)
    _, stack = await world.start("local", store=store, transport="")
    await stack.aclose()
    named, _ = await world.start("a", store=store)

    assert set(named.members.epochs) == {"a"}


async def test_a_member_that_is_started_alone_still_counts_the_others(world: World) -> None:
    await world.start("b")
    _, stack = await world.start("a")
    await stack.aclose()
    alone, _ = await world.start("a", transport="")

    assert set(alone.members.epochs) == {"a", "b"}
    assert alone.members.reachable == {"a"}


# --- Together ------------------------------------------------------------------------


async def test_nodes_know_each_other_and_tell_of_changes(world: World) -> None:
    a, _ = await world.start("a")
    changes: list[Members] = []
    with a.on_change(lambda members: 1 / 0), a.on_change(changes.append):
        b, stack = await world.start("b")
        await world.until(lambda: bool(changes))
        assert changes[-1] == a.members
        assert a.members.epochs == b.members.epochs == {"a": a.node.epoch, "b": b.node.epoch}

        await stack.aclose()
        await world.until(lambda: a.members.reachable == {"a"})
        assert changes[-1] == a.members

    assert entries_of(a) == [
        {"name": "a", "epoch": a.node.epoch, "state": "here", "forgotten": 0},
        {"name": "b", "epoch": b.node.epoch, "state": "unreachable", "forgotten": 0},
    ]


async def test_what_a_node_knows_is_in_its_store(world: World) -> None:
    _, a_stack = await world.start("a")
    b, b_stack = await world.start("b")
    await a_stack.aclose()
    await b_stack.aclose()
    again, _ = await world.start("b")

    assert again.node == b.node
    assert again.members.epochs == b.members.epochs


async def test_a_second_process_of_a_name_is_refused_and_the_first_goes_on(world: World) -> None:
    first, _ = await world.start("a")
    with pytest.raises(ConfigurationError, match="--node"):
        await world.start("a", store=MemoryStore(world.clock))

    await world.clock.advance(5)
    assert not first.left_out.is_set()


async def test_an_expelled_node_says_that_it_is_left_out_and_knows_it_when_it_comes_back(
    world: World,
) -> None:
    a, _ = await world.start("a")
    b, stack = await world.start("b")
    ask = node_commands(a)
    await world.until(lambda: "b" in a.members.epochs)

    told = await ask["nodes.expel"]({"name": "b"})
    await world.until(b.left_out.is_set)

    assert b.reason == "it was expelled from the cluster"
    assert told == await ask["nodes.list"]({})
    assert [(each["name"], each["state"]) for each in told] == [("a", "here"), ("b", "expelled")]
    await stack.aclose()
    # Even if there is nobody who could tell it.
    world.network.disconnect("a")
    back, _ = await world.start("b")
    assert back.node.epoch > b.node.epoch


@pytest.mark.parametrize("name", ["a", "nobody", 1, None])
async def test_who_is_no_other_member_cannot_be_expelled(world: World, name: object) -> None:
    a, _ = await world.start("a")

    with pytest.raises(CloudstateError):
        await node_commands(a)["nodes.expel"]({"name": name})

    assert set(a.members.epochs) == {"a"}


async def test_what_an_expelled_node_has_written_is_given_up_on_all_nodes(world: World) -> None:
    a, stack = await world.start("a")
    b, b_stack = await world.start("b")
    c, _ = await world.start("c")
    await world.until(lambda: set(a.members.epochs) == set("abc"))
    old = b.node.epoch

    told = await node_commands(a)["nodes.expel"]({"name": "b", "forget": True})
    await world.until(lambda: c.members.forgotten == {"b": old})

    assert [(each["name"], each["forgotten"]) for each in told] == [("a", 0), ("b", old), ("c", 0)]
    # It is so after a restart, and when the node is back.
    await stack.aclose()
    a, _ = await world.start("a")
    assert a.members.forgotten == {"b": old}
    await b_stack.aclose()
    b, _ = await world.start("b")
    assert b.members.forgotten == {"b": old}
    assert b.node.epoch > old


async def test_of_a_member_its_earlier_lives_are_given_up(world: World) -> None:
    a, _ = await world.start("a")
    _, stack = await world.start("b")
    await stack.aclose()
    b, _ = await world.start("b", store=MemoryStore(world.clock))
    await world.until(lambda: a.members.epochs.get("b") == b.node.epoch)

    for name in ("b", "b", "a"):
        await node_commands(a)["nodes.forget"]({"name": name})

    assert a.members.forgotten == {"b": b.node.epoch - 1, "a": a.node.epoch - 1}


async def test_what_a_silent_member_writes_is_not_given_up_before_it_is_expelled(
    world: World,
) -> None:
    a, _ = await world.start("a")
    _, stack = await world.start("b")
    await world.until(lambda: "b" in a.members.epochs)
    await stack.aclose()
    await world.until(lambda: a.members.reachable == {"a"})
    ask = node_commands(a)

    with pytest.raises(CloudstateError, match="if it will not come back, expel it"):
        await ask["nodes.forget"]({"name": "b"})
    assert a.members.forgotten == {}
    epoch = a.members.epochs["b"]
    await ask["nodes.expel"]({"name": "b"})
    with pytest.raises(CloudstateError, match="which was expelled; `forget` gives up"):
        await ask["nodes.expel"]({"name": "b"})
    await ask["nodes.forget"]({"name": "b"})
    assert a.members.forgotten == {"b": epoch}


@pytest.mark.parametrize("name", ["nobody", 1, None])
async def test_what_nobody_has_written_cannot_be_given_up(world: World, name: object) -> None:
    a, _ = await world.start("a")

    with pytest.raises(CloudstateError, match="expected"):
        await node_commands(a)["nodes.forget"]({"name": name})

    assert a.members.forgotten == {}


async def test_garbage_from_another_node_changes_nothing(
    world: World, logged: list[dict[str, object]]
) -> None:
    a, _ = await world.start("a")
    async with world.network.connect("stranger") as stranger:
        await stranger.broadcast(TOPIC, b"\xff\xfe")
        await world.clock.advance(0.1)

    assert set(a.members.epochs) == {"a"}
    assert "heartbeat_not_understood" in [entry["event"] for entry in logged]


# --- What is wrong -------------------------------------------------------------------


class FailingStore(MemoryStore):
    """Cannot be written to for a while."""

    is_down = False

    async def commit(self, commit: Commit) -> None:
        if self.is_down:
            raise StoreUnavailable("the disk is away")
        await super().commit(commit)


async def test_what_could_not_be_kept_is_kept_later(world: World) -> None:
    store = FailingStore(world.clock)
    await world.start("a", store=store)
    store.is_down = True
    _, stack = await world.start("b")
    await stack.aclose()
    await world.clock.advance(3)
    store.is_down = False
    await world.clock.advance(3)

    again, _ = await world.start("a", store=store, transport="")
    assert set(again.members.epochs) == {"a", "b"}


async def test_a_node_whose_epoch_cannot_be_kept_does_not_start(world: World) -> None:
    store = FailingStore(world.clock)
    store.is_down = True

    with pytest.raises(StoreUnavailable):
        await world.start("a", store=store)


async def test_what_is_stored_and_no_cluster_is_an_error(world: World) -> None:
    store = MemoryStore(world.clock)
    epoch = await store.claim(range(SLICES))
    await store.commit(Commit(KEY, epoch, (PutValue(0, Any(type_url="x/y", value=b"z")),)))

    with pytest.raises(CorruptState, match="cluster"):
        await world.start("a", store=store)


@pytest.mark.parametrize("transport", ["carrier-pigeon://loft", "in-process", "://", "x"])
async def test_a_transport_that_is_not_installed_is_refused(world: World, transport: str) -> None:
    with pytest.raises(SettingsError, match="in-process://"):
        await world.start("a", transport=transport)


async def test_a_node_among_others_needs_a_name(world: World) -> None:
    with pytest.raises(SettingsError, match="--node"):
        await world.start("local")


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "x" * 101])
def test_what_cannot_be_the_name_of_a_node_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="key 'node'"):
        RuntimeSettings(node=name)
