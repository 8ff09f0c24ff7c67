"""The runtime's end of replicated entities, over either link to their user function."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from puppets import DELETE, reply, update
from serving_puppets import LINKS, Serve, serve, text_of, until

from cloudstate_core.errors import LimitExceeded
from cloudstate_crdt.entity_errors import EntityDeleted
from cloudstate_crdt.replicas import DELETED

pytestmark = pytest.mark.usefixtures("logged")


@pytest.fixture(params=LINKS)
def serving(request: pytest.FixtureRequest) -> Serve:
    """Serves a puppet over each of the links."""
    return partial(serve, request.param)


# --- Memory and store ----------------------------------------------------------------


async def test_what_a_command_changes_is_stored_before_it_is_answered(serving: Serve) -> None:
    async with serving() as served:
        assert await served.say("e", "zero") == "zero"
        assert await served.stored("e") is None

        await served.add("e", 2)

        assert await served.total("e") == 2
        assert await served.say("e", "five", update(3)) == "five"
        assert await served.total("e") == 5
        assert served.puppet.heard("e") == ["init", "command 1", "command 2", "command 3"]
        assert served.seen.activated == ["e"]


async def test_an_entity_begins_with_the_whole_state(serving: Serve) -> None:
    async with serving() as served:
        await served.add("e", 2)
        await served.add("e", 3)
        await served.clock.advance(31)
        assert served.seen.passivated == ["e"]

        await served.say("e")

        assert served.puppet.heard("e") == ["init increment: 5", "command 1"]
        assert len(served.puppet.got["e"]) == 2


async def test_several_commands_are_outstanding_and_answered_in_any_order(serving: Serve) -> None:
    async with serving() as served:
        held = asyncio.create_task(served.ask("e", reply("held", update(1)), held=True))
        await until(lambda: served.puppet.got["e"] and len(served.puppet.received("e")) == 2)

        await served.add("e", 2)
        assert not held.done()
        served.puppet.gate.set()

        assert text_of(await held) == "held"
        assert await served.total("e") == 3


async def test_too_many_waiting_commands_are_refused(serving: Serve) -> None:
    async with serving(max_waiting_commands=2) as served:
        held = [asyncio.create_task(served.ask("e", reply(), held=True)) for _ in range(2)]
        await until(lambda: served.puppet.got["e"] and len(served.puppet.received("e")) == 3)

        with pytest.raises(LimitExceeded):
            await served.say("e")
        assert await served.say("other") == "ok"
        served.puppet.gate.set()
        await asyncio.gather(*held)
        assert await served.say("e") == "ok"


async def test_a_deleted_entity_is_gone_for_ever(serving: Serve) -> None:
    async with serving() as served:
        await served.add("e", 2)

        assert await served.say("e", "gone", DELETE) == "gone"

        await until(lambda: served.puppet.ended == ["e"])
        assert served.puppet.heard("e") == ["init", "command 1", "command 2"]
        assert await served.stored("e") is DELETED
        for _ in range(2):
            with pytest.raises(EntityDeleted, match=r"^Entity deleted$"):
                await served.add("e", 1)
            await served.clock.advance(31)
        assert len(served.puppet.got["e"]) == 1
