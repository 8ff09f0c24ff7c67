"""Commands that are sent again under their names, because too few nodes had them the first time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from puppets import DELETE, reply, update
from three_runtimes import Three, three_runtimes

from cloudstate.crdt_pb2 import CrdtStateAction, CrdtWriteConsistency
from cloudstate_core.errors import CorruptState
from cloudstate_core.handler import Conditions, Outcome
from cloudstate_crdt import TooFewReplicas
from cloudstate_crdt.live_entities import LiveEntities
from cloudstate_crdt.replicas import DELETED, Consistency
from cloudstate_crdt.spread import kept_as, kept_consistency

NAMED = Conditions(command_key="k")
MAJORITY, ALL = CrdtWriteConsistency.MAJORITY, CrdtWriteConsistency.ALL


@pytest.fixture
async def three() -> AsyncIterator[Three]:
    async with three_runtimes() as nodes:
        yield nodes


async def sent(three: Three, change: CrdtStateAction) -> Outcome:
    """Send the command to node a, and let the time go by that it may wait."""
    asking = asyncio.create_task(
        three.nodes["a"].served.ask("e", reply("two", change), conditions=NAMED)
    )
    await three.clock.advance(5.5)
    return await asking


async def test_it_is_not_answered_before_as_many_have_it_and_has_its_effect_once(
    three: Three,
) -> None:
    three.isolate("c")
    for _ in range(3):
        with pytest.raises(TooFewReplicas):
            await sent(three, update(2, ALL))

    three.network.heal()
    await sent(three, update(2, ALL))

    assert await three.totals("e") == [2, 2, 2]


async def test_a_majority_is_enough_if_it_was_the_first_time(three: Three) -> None:
    three.isolate("a")
    with pytest.raises(TooFewReplicas):
        await sent(three, update(2, MAJORITY))
    three.network.heal()
    three.isolate("c")

    await sent(three, update(2, MAJORITY))

    assert await three.totals("e") == [2, 2, None]


async def test_it_is_known_how_far_it_had_to_spread_when_the_process_is_another(
    three: Three,
) -> None:
    three.isolate("c")
    with pytest.raises(TooFewReplicas):
        await sent(three, update(2, ALL))
    await three.stop("a")
    await three.start("a")
    await three.clock.advance(2.0)

    with pytest.raises(TooFewReplicas):
        await sent(three, update(2, ALL))
    three.network.heal()
    await sent(three, update(2, ALL))

    assert await three.totals("e") == [2, 2, 2]


async def test_what_only_had_to_be_stored_here_waits_for_nobody(three: Three) -> None:
    three.isolate("a")
    a = three.nodes["a"].served
    for _ in range(2):
        await a.ask("e", reply("two", update(2)), conditions=NAMED)

    assert await three.totals("e") == [2, None, None]


async def test_what_changes_nothing_waits_for_nobody_whatever_it_asks_for(three: Three) -> None:
    await three.nodes["a"].served.add("e", 1)
    three.isolate("a")

    for _ in range(2):
        await sent(three, CrdtStateAction(write_consistency=ALL))


async def test_a_deletion_is_waited_for_as_well(three: Three) -> None:
    await three.nodes["a"].served.add("e", 1)
    await three.clock.advance(0.5)
    three.isolate("c")
    everywhere = CrdtStateAction(delete=DELETE.delete, write_consistency=ALL)
    for _ in range(2):
        with pytest.raises(TooFewReplicas):
            await sent(three, everywhere)
    three.network.heal()

    await sent(three, everywhere)

    for node in three.nodes.values():
        assert await node.served.stored("e") is DELETED


async def test_without_that_it_would_be_answered_too_early(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control.
    async def waits_for_nobody(*unused: object) -> None:
        pass

    monkeypatch.setattr(LiveEntities, "_has_spread", waits_for_nobody)
    three.isolate("c")
    with pytest.raises(TooFewReplicas):
        await sent(three, update(2, ALL))

    await sent(three, update(2, ALL))

    assert await three.totals("e") == [2, 2, None]


@pytest.mark.parametrize("consistency", [Consistency.LOCAL, Consistency.MAJORITY, Consistency.ALL])
def test_what_is_kept_is_read_as_it_was_meant(consistency: str) -> None:
    assert kept_consistency(kept_as(consistency)) == consistency


def test_what_nobody_has_kept_is_corrupt() -> None:
    with pytest.raises(CorruptState, match="found b'half'"):
        kept_consistency(b"half")
