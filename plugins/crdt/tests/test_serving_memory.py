"""Entities, clients and streams that come and go leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing, suppress

import pytest
from puppets import reply, streamed, update
from serving_puppets import Served, serve, until

from cloudstate_core.errors import CloudstateError
from cloudstate_core.handler import Conditions
from cloudstate_crdt.calls import Call
from cloudstate_crdt.copy_in_use import CopyInUse
from cloudstate_crdt.engine import CrdtEngine
from cloudstate_crdt.function_end import FunctionEnd
from cloudstate_crdt.live_entities import _Live

pytestmark = pytest.mark.usefixtures("logged")

KEPT = (CrdtEngine, FunctionEnd, Call, CopyInUse, _Live)


def alive() -> list[str]:
    gc.collect()
    return [type(each).__name__ for each in gc.get_objects() if isinstance(each, KEPT)]


async def visit(served: Served, entity_id: str) -> None:
    """Do with an entity whatever one may do."""
    await served.add(entity_id, 1)
    await served.ask(entity_id, reply(), conditions=Conditions(command_key="k"))
    first = reply("first", streamed=True)
    async with aclosing(served.watch(entity_id, first, streamed("a"))) as outcomes:
        await anext(outcomes)
    async with aclosing(served.watch(entity_id, first, streamed("a", ends=True))) as outcomes:
        assert len([each async for each in outcomes]) == 2
    leaving = asyncio.create_task(served.ask(entity_id, reply(), held=True))
    await asyncio.sleep(0.001)
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    with suppress(CloudstateError):
        if entity_id.endswith("5"):
            await served.ask(entity_id, reply(command_id=99))
    await served.ask(entity_id, reply(), streamed("nobody", command_id=77))


@pytest.mark.parametrize("link", ["local", "grpc"])
async def test_what_came_and_went_is_not_in_memory(link: str) -> None:
    before = alive()
    async with serve(link, max_active_entities=50) as served:
        await asyncio.gather(*(visit(served, f"e{number}") for number in range(40)))
        served.puppet.gate.set()
        await until(lambda: len(served.seen.crashed) == 4)
        await served.say("e0")
        await asyncio.sleep(0.05)
        assert len(alive()) > len(before)

        await served.clock.advance(40)
        await asyncio.sleep(0.05)
        await until(lambda: alive() == before)


async def test_an_entity_in_use_is_in_memory() -> None:
    """The check above finds what is there."""
    before = alive()
    async with serve("local") as served:
        first = reply("first", update(1), streamed=True)
        async with aclosing(served.watch("e", first)) as outcomes:
            await anext(outcomes)
            await served.clock.advance(40)
            kept = {"CrdtEngine", "FunctionEnd", "StreamedCall", "CopyInUse", "_Live"}
            assert kept <= set(alive())
        await served.say("e")
        await served.clock.advance(40)
        await until(lambda: alive() == before)
