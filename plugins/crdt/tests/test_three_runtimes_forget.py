"""Three runtimes forget what one of them has left: nobody who looks at the values sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import deltas
import pytest
from kinds_of_values import look
from puppets import SERVICE, update
from replicating_nodes import members_of
from three_runtimes import Node, Three, three_runtimes

from cloudstate_core.anys import encode
from cloudstate_core.cluster import Members
from cloudstate_core.store import EntityKey
from cloudstate_core.transports import Faults
from cloudstate_crdt import Lattice
from cloudstate_crdt.departed import Departed, Retired

C = Departed({"c": 1})
WITHOUT_C = members_of({"c": 1}, a=1, b=1)
C_IS_BACK = members_of({"c": 1}, a=1, b=1, c=2)
ENTITIES = ("counter", "up and down", "set", "map")

#: A small change of each.
SMALL = {
    "counter": deltas.gcounter(1),
    "up and down": deltas.pncounter(1),
    "set": deltas.orset(["x"]),
}


@pytest.fixture
async def three() -> AsyncIterator[Three]:
    async with three_runtimes() as nodes:
        yield nodes


async def write(node: Node, number: int) -> None:
    """Change every entity, each node and each time otherwise; the map has the first one's key."""
    mine = {f"key {number}": deltas.gcounter(number), f"set {number}": deltas.orset(["x"])}
    shared = {"shared": deltas.gcounter(10**number)}
    change_of_map = deltas.ormap(mine, shared) if number else deltas.ormap({**mine, **shared})
    for entity_id, change in (
        ("counter", deltas.gcounter(10**number)),
        ("up and down", deltas.pncounter(10**number if number % 2 else -(10**number))),
        ("set", deltas.orset([f"element {number}", f"element {number + 1}"])),
        ("map", change_of_map),
    ):
        await node.served.say(entity_id, "ok", update(change))


async def stored(node: Node, entity_id: str) -> Lattice:
    copy = await node.served.stored(entity_id)
    assert isinstance(copy, Lattice)
    return copy


async def looks(node: Node) -> list[object]:
    return [look(await stored(node, entity_id)) for entity_id in ENTITIES]


async def bytes_of(node: Node) -> int:
    values = [await node.store.inner.value(EntityKey(SERVICE, each)) for each in ("counter", "set")]
    return sum(len(value.value.value) for value in values if value.value is not None)


async def all_have_written(three: Three) -> None:
    for number, node in enumerate(three.nodes.values()):
        await write(node, number)
        await three.clock.advance(0.2)


async def c_is_back(three: Three) -> None:
    for name in "ab":
        three.nodes[name].cluster.change(C_IS_BACK)
    await three.start("c", C_IS_BACK)


async def c_is_forgotten(three: Three) -> None:
    await three.stop("c")
    for name in "ab":
        three.nodes[name].cluster.change(WITHOUT_C)
    await three.clock.advance(6.0)


async def test_values_stay_and_nothing_of_the_forgotten_node_is_left(three: Three) -> None:
    a, b, _ = three.nodes.values()
    await all_have_written(three)
    before = await looks(a)
    heard = [len(a.served.puppet.received(entity_id)) for entity_id in ENTITIES]

    await c_is_forgotten(three)

    # Nobody was told anything, since nothing looks otherwise.
    assert [len(a.served.puppet.received(entity_id)) for entity_id in ENTITIES] == heard
    assert await looks(a) == await looks(b) == before
    # The next change of each copy is stored as a whole.
    await write(a, 3)
    await three.clock.advance(0.2)
    assert await three.totals("counter", "ab") == [1111, 1111]
    assert await three.totals("up and down", "ab") == [909, 909]
    assert await looks(a) == await looks(b)
    for node in (a, b):
        for entity_id in ENTITIES:
            assert (await stored(node, entity_id)).trace_of(C) == b""


async def test_who_comes_back_with_its_old_store_doubles_nothing_and_brings_nothing_back(
    three: Three,
) -> None:
    a, b, c = three.nodes.values()
    await all_have_written(three)
    before = await looks(a)
    await c_is_forgotten(three)
    await a.served.say("set", "ok", update(deltas.orset(removed=["element 2"])))
    await three.clock.advance(0.2)

    await c_is_back(three)
    # It answers before it has heard what was forgotten.
    await c.served.add("counter", 1000)
    await three.clock.advance(6.0)
    await b.served.say("map", "ok", update(deltas.ormap(updated={"shared": deltas.gcounter(1)})))
    await three.clock.advance(0.2)

    assert await three.totals("counter") == [1111, 1111, 1111]
    assert await three.totals("up and down") == [-91, -91, -91]
    for node in three.nodes.values():
        elements, entries = (await looks(node))[2:]
        assert elements == before[2] - {encode("element 2").SerializeToString()}  # type: ignore[operator]
        assert entries[encode("shared").SerializeToString()] == 112  # type: ignore[index]
    assert c.served.puppet.received("counter")[-1].WhichOneof("message") == "command"


async def test_without_stripping_who_comes_back_doubles_what_it_had(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    await all_have_written(three)
    await c_is_forgotten(three)
    await write(three.nodes["a"], 3)
    await write(three.nodes["b"], 4)
    await three.clock.advance(0.2)
    monkeypatch.setattr(Retired, "strip", lambda *_: False)
    monkeypatch.setattr(Retired, "apply", lambda *_: False)

    await c_is_back(three)
    await three.clock.advance(6.0)

    assert await three.totals("counter") == [11_211, 11_211, 11_211]


async def test_many_lives_of_a_node_are_forgotten_and_what_is_stored_shrinks(three: Three) -> None:
    a = three.nodes["a"]
    await all_have_written(three)
    for epoch in range(2, 31):
        await three.stop("c")
        members = members_of(a=1, b=1, c=epoch)
        for name in "ab":
            three.nodes[name].cluster.change(members)
        await three.start("c", members)
        await three.clock.advance(1.0)
        await three.nodes["c"].served.add("counter", 1000)
        for change in (deltas.orset(["y"]), deltas.orset(removed=["y"])):
            await three.nodes["c"].served.say("set", "ok", update(change))
        await three.clock.advance(0.2)
    totals, seen, size = await three.totals("counter"), await looks(a), await bytes_of(a)
    assert totals == [29_111] * 3

    forgotten = Members(members.epochs, members.reachable, expelled={}, forgotten={"c": 29})
    for node in three.nodes.values():
        node.cluster.change(forgotten)
    await three.clock.advance(6.0)
    assert await looks(a) == seen
    for node in three.nodes.values():
        for entity_id in ENTITIES[:3]:
            await node.served.say(entity_id, "ok", update(SMALL[entity_id]))
        await three.clock.advance(0.2)

    print(f"PROMISE 30 lives of a node: {size} bytes stored, {await bytes_of(a)} once forgotten")
    assert await three.totals("counter") == [29_114] * 3
    assert await bytes_of(a) < size / 2
    for node in three.nodes.values():
        for entity_id in ENTITIES[:3]:
            assert (await stored(node, entity_id)).trace_of(Departed({"c": 29})) == b""


@pytest.mark.parametrize("seed", range(3))
async def test_commands_over_a_bad_network_count_exactly_while_a_node_is_forgotten(
    seed: int,
) -> None:
    random, expected = Random(seed), dict.fromkeys(("x", "y", "z"), 0)
    async with three_runtimes() as three:

        async def commands(names: str, count: int) -> None:
            for _ in range(count):
                faults = Faults(loss=0.3, duplication=0.2, max_delay_s=0.05)
                three.network.set_faults(faults)
                entity_id, by = random.choice(list(expected)), random.randint(1, 9)
                expected[entity_id] += by
                await three.nodes[random.choice(names)].served.add(entity_id, by)
                await three.clock.advance(random.random() * 0.1)

        await commands("abc", 15)
        three.network.set_faults(Faults())
        await three.clock.advance(2.0)
        await three.stop("c")
        for name in random.sample("ab", 2):
            three.nodes[name].cluster.change(WITHOUT_C)
            await commands("ab", 10)
        await commands("ab", 10)
        await c_is_back(three)
        await commands("abc", 10)
        three.network.set_faults(Faults())
        await three.clock.advance(8.0)
        for entity_id in expected:
            for node in three.nodes.values():
                expected[entity_id] += 1
                await node.served.add(entity_id, 1)
        await three.clock.advance(1.0)

        for entity_id, total in expected.items():
            assert await three.totals(entity_id) == [total] * 3
            for node in three.nodes.values():
                assert (await stored(node, entity_id)).trace_of(C) == b""
