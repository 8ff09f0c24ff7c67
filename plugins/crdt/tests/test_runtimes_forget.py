"""Forgetting a node that has gone, as user functions and a restarted node see it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from replicating_nodes import members_of
from three_runtimes import Three, three_runtimes

from cloudstate_crdt import Replica
from cloudstate_crdt.departed import RETIRED

AB = members_of({"c": 1}, a=1, b=1)


@pytest.fixture
async def three() -> AsyncIterator[Three]:
    async with three_runtimes() as nodes:
        yield nodes


async def c_has_counted(three: Three) -> None:
    """All have what c has counted, and c has gone."""
    for number, node in enumerate(three.nodes.values(), 1):
        await node.served.add("e", number)
    await three.clock.advance(0.5)
    await three.stop("c")


async def c_has_gone(three: Three) -> None:
    """Nodes a and b have what c has counted, and know that it was given up."""
    await c_has_counted(three)
    for name in "ab":
        three.nodes[name].cluster.change(AB)
    await three.clock.advance(5.0)


async def counts(three: Three, name: str) -> dict[Replica, int]:
    stored = await three.nodes[name].served.stored("e")
    return stored.counts


async def test_user_functions_hear_nothing_of_it(three: Three) -> None:
    await c_has_counted(three)
    a = three.nodes["a"]
    before = list(a.served.puppet.heard("e"))
    for name in "ab":
        three.nodes[name].cluster.change(AB)
    await three.clock.advance(5.0)

    assert a.served.puppet.heard("e") == before
    await three.nodes["b"].served.add("e", 10)
    await three.clock.advance(0.5)
    assert a.served.puppet.heard("e")[len(before) :] == ["delta increment: 10"]


async def test_it_stays_forgotten_over_a_restart(three: Three) -> None:
    await c_has_gone(three)
    await three.stop("a")
    await three.start("a", AB)
    await three.clock.advance(2.0)

    await three.nodes["a"].served.add("e", 10)
    await three.clock.advance(0.5)

    assert await three.totals("e", "ab") == [16, 16]
    assert (await counts(three, "b"))[RETIRED] == 3
