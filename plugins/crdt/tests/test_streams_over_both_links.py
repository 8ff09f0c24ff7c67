"""Streamed commands of replicated entities, over either link to their user function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import pytest
from puppets import DELETE, cancelled, failed, failure, order, reply, streamed, update, word
from serving_puppets import LINKS, Serve, serve, text_of, until

from cloudstate_core.errors import LimitExceeded, UnknownService
from cloudstate_core.handler import Outcome, Request
from cloudstate_crdt import calls
from cloudstate_crdt.entity_errors import EntityCrashed, EntityDeleted, SlowReader

pytestmark = pytest.mark.usefixtures("logged")

ACCEPTED = reply("first", streamed=True)


@pytest.fixture(params=LINKS)
def serving(request: pytest.FixtureRequest) -> Serve:
    """Serves a puppet over each of the links."""
    return partial(serve, request.param)


async def texts(outcomes: AsyncGenerator[Outcome, None]) -> list[str]:
    async with aclosing(outcomes):
        return [text_of(each) async for each in outcomes]


# --- Elements ------------------------------------------------------------------------


async def test_a_stream_begins_with_the_reply_and_goes_on_until_its_end(serving: Serve) -> None:
    async with serving() as served:
        async with aclosing(served.watch("e", ACCEPTED, streamed("early"))) as outcomes:
            assert text_of(await anext(outcomes)) == "first"
            assert text_of(await anext(outcomes)) == "early"

            say = [reply(), streamed("later", command_id=1), streamed(None, command_id=1)]
            await served.ask("e", *say)
            assert text_of(await anext(outcomes)) == "later"

            await served.ask("e", reply(), streamed("last", command_id=1, ends=True))
            assert [text_of(each) async for each in outcomes] == ["last"]
        assert served.puppet.heard("e") == ["init", "command 1 streamed", "command 2", "command 3"]


async def test_what_an_accepting_reply_changes_is_stored_before_its_element(serving: Serve) -> None:
    async with serving() as served:
        change = reply("first", update(2), streamed=True)
        async with aclosing(served.watch("e", change, streamed("second"))) as outcomes:
            assert text_of(await anext(outcomes)) == "first"
            assert await served.total("e") == 2
            assert text_of(await anext(outcomes)) == "second"


async def test_a_stream_that_is_not_accepted_has_one_element(serving: Serve) -> None:
    async with serving() as served:
        assert await texts(served.watch("e", reply("only"))) == ["only"]
        assert await texts(served.watch("e", reply("only", update(1)))) == ["only"]
        assert await texts(served.watch("e", reply(None))) == []
        assert await served.total("e") == 1


async def test_a_stream_may_begin_without_an_element(serving: Serve) -> None:
    async with serving() as served:
        accepted = reply(None, streamed=True)
        assert await texts(served.watch("e", accepted, streamed("a", ends=True))) == ["a"]


async def test_a_failure_is_the_last_element(serving: Serve) -> None:
    async with serving() as served:
        broken = streamed(None, client_action=failed("no"))
        assert await texts(served.watch("e", ACCEPTED, broken)) == ["first", "!no"]
        assert await texts(served.watch("e", ACCEPTED, failure("no"))) == ["first", "!no"]
        assert await texts(served.watch("e", failure("no"))) == ["!no"]
        refused = reply(None, client_action=failed("no"))
        assert await texts(served.watch("e", refused)) == ["!no"]
        assert "cancelled" not in " ".join(served.puppet.heard("e"))
        assert served.seen.crashed == []


async def test_each_method_is_called_as_it_is_declared(serving: Serve) -> None:
    async with serving() as served:
        request = Request("puppet.Puppet", "Watch", order("e"))
        with pytest.raises(UnknownService, match="no method 'Watch'"):
            await served.runtime.handler.handle(request)
        request = Request("puppet.Puppet", "Do", order("e"))
        with pytest.raises(UnknownService, match="no streamed method 'Do'"):
            await texts(served.runtime.handler.stream(request))


# --- Clients that leave --------------------------------------------------------------


async def test_a_client_that_leaves_is_told_to_the_user_function_which_may_change_the_state(
    serving: Serve,
) -> None:
    async with serving() as served:
        outcomes = served.watch("e", ACCEPTED, when_cancelled=[cancelled(update(2))])
        await anext(outcomes)
        await outcomes.aclose()

        await until(lambda: served.puppet.heard("e")[-1] == "cancelled 1")
        await served.add("e", 3)

        assert await served.total("e") == 5
        assert served.seen.crashed == []


async def test_a_client_that_leaves_before_the_reply_is_cancelled_after_it(serving: Serve) -> None:
    async with serving() as served:
        answers = [reply("first", update(1), streamed=True)]
        outcomes = served.watch("e", *answers, when_cancelled=[cancelled(update(2))], held=True)
        first = asyncio.create_task(anext(outcomes))
        await until(lambda: served.puppet.got["e"] and len(served.puppet.received("e")) == 2)
        first.cancel()
        await asyncio.wait([first])
        await served.add("e", 3)
        assert served.puppet.heard("e")[-1] == "command 2"

        served.puppet.gate.set()
        await until(lambda: served.puppet.heard("e")[-1] == "cancelled 1")
        await until(lambda: "e" in served.seen.activated)
        await served.say("e")

        assert await served.total("e") == 6


async def test_a_user_function_may_end_a_stream_that_is_being_cancelled(serving: Serve) -> None:
    async with serving() as served:
        both = [streamed("too late", ends=True), cancelled(update(2))]
        outcomes = served.watch("e", ACCEPTED, when_cancelled=both)
        await anext(outcomes)
        await outcomes.aclose()
        await until(lambda: served.puppet.heard("e")[-1] == "cancelled 1")

        await served.add("e", 1)
        assert await served.total("e") == 3
        assert served.seen.crashed == []


async def test_an_entity_with_an_open_stream_does_not_leave_memory(serving: Serve) -> None:
    async with serving() as served:
        outcomes = served.watch("e", ACCEPTED)
        await anext(outcomes)
        await served.clock.advance(100)
        assert served.seen.passivated == []

        await outcomes.aclose()
        await until(lambda: served.puppet.heard("e")[-1] == "cancelled 1")
        await served.say("e")
        await served.clock.advance(31)
        assert served.seen.passivated == ["e"]


async def test_a_client_that_does_not_read_is_told_so_and_loses_its_stream(
    serving: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_QUEUED_MESSAGES", 5)
    async with serving() as served:
        outcomes = served.watch("e", ACCEPTED)
        await anext(outcomes)
        say = [streamed(str(number), command_id=1) for number in range(6)]
        await served.ask("e", *say, reply())

        # Its user function is told, even if the client never reads again.
        await until(lambda: served.puppet.heard("e")[-1] == "cancelled 1")
        with pytest.raises(SlowReader, match="more slowly"):
            await anext(outcomes)
        assert await served.say("e") == "ok"


async def test_a_client_that_reads_in_time_keeps_its_stream(
    serving: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_QUEUED_MESSAGES", 5)
    async with serving() as served, aclosing(served.watch("e", ACCEPTED)) as outcomes:
        await anext(outcomes)
        for part in range(3):
            numbers = [str(5 * part + number) for number in range(5)]
            await served.ask("e", *(streamed(number, command_id=1) for number in numbers), reply())
            assert [text_of(await anext(outcomes)) for _ in numbers] == numbers


# --- Ends ----------------------------------------------------------------------------


async def test_a_deletion_ends_open_streams(serving: Serve) -> None:
    async with serving() as served:
        async with aclosing(served.watch("e", ACCEPTED)) as outcomes:
            await anext(outcomes)
            await served.ask("e", reply("gone", DELETE))

            assert [each async for each in outcomes] == []
        with pytest.raises(EntityDeleted):
            await texts(served.watch("e", ACCEPTED))


async def test_a_crash_ends_open_streams_with_an_error(serving: Serve) -> None:
    async with serving() as served:
        async with aclosing(served.watch("e", ACCEPTED)) as outcomes:
            await anext(outcomes)
            with pytest.raises(EntityCrashed):
                await served.ask("e", reply("?", command_id=17))
            with pytest.raises(EntityCrashed, match="Entity terminating"):
                await anext(outcomes)
        assert await served.say("e") == "ok"


async def test_a_runtime_that_stops_ends_open_streams_and_waits_for_their_cancellation(
    serving: Serve,
) -> None:
    async with serving() as served:
        outcomes = served.watch("e", ACCEPTED, when_cancelled=[cancelled(update(7))])
        await anext(outcomes)
        rest = asyncio.create_task(texts(outcomes))
        await asyncio.sleep(0)
    assert await rest == []
    assert await served.total("e") == 7


async def test_more_streams_than_allowed_are_refused(
    serving: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudstate_crdt.live_entities.MAX_STREAMS", 1)
    async with serving() as served:
        async with aclosing(served.watch("e", ACCEPTED)) as outcomes:
            await anext(outcomes)
            with pytest.raises(LimitExceeded, match="at most 1 may"):
                await texts(served.watch("e", ACCEPTED))
        assert text_of(await served.ask("e", reply(client_action=word("x")))) == "x"
