"""What goes wrong with replicated entities, over either link to their user function."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial

import pytest
from puppets import SERVICE, cancelled, failed, failure, order, reply, streamed, update
from serving_puppets import LINKS, Serve, Served, serve, text_of, until

from cloudstate.crdt_pb2 import (
    CrdtDelta,
    CrdtStateAction,
    FlagDelta,
    LWWRegisterDelta,
    ORMapDelta,
    ORMapEntryDelta,
)
from cloudstate.entity_pb2 import ClientAction, Forward, SideEffect
from cloudstate_core.errors import (
    AlreadyReceived,
    CallCycle,
    DeadlineExceeded,
    KeyReused,
    LimitExceeded,
    MalformedRequest,
    NoVersions,
    RoutingError,
    StoreUnavailable,
)
from cloudstate_core.handler import Conditions
from cloudstate_core.metadata import Metadata
from cloudstate_core.store import SLICES
from cloudstate_core.waiting import WAITING_HEADER
from cloudstate_crdt import StateTooLarge
from cloudstate_crdt.entity_errors import EntityCrashed, EntityTerminating

pytestmark = pytest.mark.usefixtures("logged")


@pytest.fixture(params=LINKS)
def serving(request: pytest.FixtureRequest) -> Serve:
    """Serves a puppet over each of the links."""
    return partial(serve, request.param)


async def holding(served: Served, entity_id: str = "e") -> asyncio.Task[str]:
    """Have a command that is not answered yet."""
    before = len(served.puppet.received(entity_id)) if served.puppet.got[entity_id] else 0

    async def held() -> str:
        return text_of(await served.ask(entity_id, reply("held", update(100)), held=True))

    task = asyncio.create_task(held())
    await until(
        lambda: served.puppet.got[entity_id] and len(served.puppet.received(entity_id)) > before
    )
    await until(lambda: served.puppet.heard(entity_id)[-1].startswith("command"))
    return task


# --- The user function ---------------------------------------------------------------


async def test_a_failure_changes_nothing_and_the_entity_goes_on(serving: Serve) -> None:
    async with serving() as served:
        await served.add("e", 1)
        assert text_of(await served.ask("e", reply(client_action=failed("no")))) == "!no"
        # One of the stream is an answer too, in the user function's own words.
        assert text_of(await served.ask("e", failure("never"))) == "!never"

        assert await served.total("e") == 1
        assert served.puppet.heard("e")[-1] == "command 3"
        assert served.seen.crashed == []


async def test_a_protocol_error_fails_all_who_wait_and_the_next_command_begins_anew(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.add("e", 1)
        held = await holding(served)

        for asking in (served.ask("e", reply("?", update(5), command_id=99)), held):
            with pytest.raises(EntityCrashed, match=r"^Entity terminating$"):
                await asking

        assert await served.say("e") == "ok"
        assert served.puppet.heard("e") == ["init increment: 1", "command 1"]
        assert served.seen.crashed == [("e", "Unexpected entity reply")]
        await until(lambda: served.link.reports)
        assert "command 99" in served.link.reports[0]


async def test_a_failure_of_the_entity_is_reported_in_its_words(serving: Serve) -> None:
    async with serving() as served:
        with pytest.raises(EntityCrashed):
            await served.ask("e", failure("KeyError: 'x'", -1), b"end")

        await until(lambda: served.link.reports)
        assert served.link.reports == [
            "puppet.Puppet: Unexpected entity failure: entity 'e': KeyError: 'x'"
        ]
        assert await served.say("e") == "ok"


async def test_a_user_function_that_ends_the_stream_is_a_crash(serving: Serve) -> None:
    async with serving() as served:
        held = await holding(served)
        with pytest.raises((EntityCrashed, EntityTerminating)):
            await served.ask("e", b"end")
        with pytest.raises((EntityCrashed, EntityTerminating)):
            await held

        assert [entity_id for entity_id, _ in served.seen.crashed] == ["e"]
        await served.add("e", 1)
        assert await served.total("e") == 1


async def test_a_user_function_that_raises_is_a_crash(serving: Serve) -> None:
    async with serving() as served:
        await served.add("e", 1)
        served.puppet.is_raising = True
        with pytest.raises((EntityCrashed, EntityTerminating)):
            await served.say("e")

        await served.add("e", 1)
        assert await served.total("e") == 2


async def test_what_an_idle_user_function_says_is_noticed_before_the_next_command(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.ask("e", reply(), reply(command_id=5))
        await until(lambda: served.seen.crashed)

        assert await served.say("e") == "ok"
        assert len(served.puppet.got["e"]) == 2


async def test_a_command_that_is_not_answered_in_time_is_a_deadline_and_a_crash(
    serving: Serve,
) -> None:
    async with serving(relay_timeout_s=5.0) as served:
        held = await holding(served)
        await served.clock.advance(2)
        other = await holding(served)
        await served.clock.advance(3.1)

        with pytest.raises(DeadlineExceeded, match="did not answer within 5 s"):
            await held
        await until(lambda: served.link.reports)
        assert served.link.reports == [f"{SERVICE}: the user function did not answer within 5 s"]
        with pytest.raises(EntityTerminating):
            await other
        assert await served.say("e") == "ok"


async def test_a_cancellation_that_is_not_answered_in_time_is_a_crash(serving: Serve) -> None:
    async with serving(relay_timeout_s=5.0) as served:
        outcomes = served.watch("e", reply("first", streamed=True), when_cancelled=[])
        await anext(outcomes)
        # A stream may stay open for as long as it likes.
        await served.clock.advance(100)
        assert served.seen.crashed == []
        await outcomes.aclose()
        await until(lambda: served.puppet.heard("e")[-1] == "cancelled 1")
        await served.clock.advance(5.1)

        await until(lambda: served.seen.crashed)
        assert await served.say("e") == "ok"


async def test_a_delta_that_cannot_be_applied_is_a_crash_and_nothing_is_stored(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.add("e", 1)
        flag = CrdtStateAction(update=CrdtDelta(flag=FlagDelta(value=True)))
        with pytest.raises(EntityCrashed):
            await served.ask("e", reply(change=flag))

        assert await served.total("e") == 1
        await served.add("e", 1)
        assert await served.total("e") == 2


async def test_maps_that_are_nested_too_deep_are_the_fault_of_the_user_function(
    serving: Serve,
) -> None:
    delta = CrdtDelta(flag=FlagDelta(value=True))
    for _ in range(20):
        delta = CrdtDelta(ormap=ORMapDelta(added=[ORMapEntryDelta(delta=delta)]))
    async with serving() as served:
        with pytest.raises(EntityCrashed):
            await served.ask("e", reply(change=update(delta)))

        assert await served.stored("e") is None
        await served.add("e", 1)


# --- Callers -------------------------------------------------------------------------


async def test_a_caller_that_leaves_does_not_undo_its_command(serving: Serve) -> None:
    async with serving() as served:
        held = await holding(served)
        held.cancel()
        await asyncio.wait([held])
        served.puppet.gate.set()
        await until(lambda: served.puppet.heard("e")[-1] == "command 1")
        await served.add("e", 1)

        await until(lambda: not served.seen.crashed)
        assert await served.total("e") == 101


async def test_a_deadline_ends_the_waiting_and_not_the_command(serving: Serve) -> None:
    async with serving() as served:
        deadline_s = served.clock.monotonic_s() + 1
        asking = asyncio.create_task(
            served.ask("e", reply(change=update(1)), held=True, deadline_s=deadline_s)
        )
        await until(lambda: served.puppet.got["e"] and len(served.puppet.received("e")) == 2)
        await served.clock.advance(1.1)
        with pytest.raises(DeadlineExceeded):
            await asking
        served.puppet.gate.set()
        await served.add("e", 1)
        assert await served.total("e") == 2


async def test_requests_that_are_for_no_entity_are_refused(serving: Serve) -> None:
    async with serving() as served:
        with pytest.raises(MalformedRequest, match="key is missing"):
            await served.ask("")
        with pytest.raises(NoVersions):
            await served.ask("e", reply(), conditions=Conditions(expected_version=1))
        assert served.seen.activated == []


async def test_an_entity_that_is_asked_by_itself_refuses(serving: Serve) -> None:
    async with serving() as served:
        with pytest.raises(CallCycle):
            await served.ask("e", reply(), waiting=("x/y", f"{SERVICE}/e"))
        await served.ask("e", reply(), waiting=("x/y",), metadata=Metadata([("a", "b")]))

        # Who waits is said, and nothing else of what a client sends.
        (_, message) = served.puppet.received("e")
        entries = Metadata.from_wire(message.command.metadata)
        assert [name for name, _ in entries] == [WAITING_HEADER]


async def test_headers_are_passed_on_where_the_settings_say_so(serving: Serve) -> None:
    async with serving(command_metadata_services=(SERVICE,)) as served:
        await served.ask("e", reply(), metadata=Metadata([("a", "b")]))

        (_, message) = served.puppet.received("e")
        assert Metadata.from_wire(message.command.metadata) == Metadata([("a", "b")])


async def test_more_busy_entities_than_allowed_are_refused_and_idle_ones_make_room(
    serving: Serve,
) -> None:
    async with serving(max_active_entities=2) as served:
        await served.say("a")
        held = await holding(served, "b")
        await served.say("c")
        assert served.seen.passivated == ["a"]
        other = await holding(served, "c")
        with pytest.raises(LimitExceeded, match="too many entities"):
            await served.say("d")
        served.puppet.gate.set()
        await asyncio.gather(held, other)


# --- Names of commands, and messages -------------------------------------------------


async def test_a_command_that_is_sent_again_under_its_name_is_carried_out_once(
    serving: Serve,
) -> None:
    async with serving() as served:
        named = Conditions(command_key="k")
        again = [reply("x", update(1))]
        asking = [served.ask("e", *again, conditions=named) for _ in range(5)]
        answers = [text_of(each) for each in await asyncio.gather(*asking)]
        await served.clock.advance(31)
        answers.append(text_of(await served.ask("e", *again, conditions=named)))

        assert answers == ["x"] * 6
        assert await served.total("e") == 1
        with pytest.raises(KeyReused):
            await served.ask("e", reply("other"), conditions=named)
        # A failure is no answer that is kept.
        other = Conditions(command_key="l")
        assert text_of(await served.ask("e", reply(client_action=failed("no")), conditions=other))
        assert text_of(await served.ask("e", reply("y"), conditions=other)) == "y"


async def test_a_named_command_waits_for_one_whose_caller_has_left(serving: Serve) -> None:
    async with serving() as served:
        named = Conditions(command_key="k")
        answers = [reply("x", update(1))]
        first = asyncio.create_task(served.ask("e", *answers, held=True, conditions=named))
        await until(lambda: served.puppet.got["e"] and len(served.puppet.received("e")) == 2)
        first.cancel()
        await asyncio.wait([first])
        again = asyncio.create_task(served.ask("e", *answers, held=True, conditions=named))
        await asyncio.sleep(0.01)
        assert len(served.puppet.received("e")) == 2
        served.puppet.gate.set()

        assert text_of(await again) == "x"
        assert await served.total("e") == 1


async def test_a_message_has_its_effect_once(serving: Serve) -> None:
    async with serving() as served:
        brought = Conditions(message_id="m")
        await served.ask("e", reply("x", update(1)), conditions=brought)
        with pytest.raises(AlreadyReceived):
            await served.ask("e", reply("x", update(1)), conditions=brought)

        assert await served.total("e") == 1
        await served.add("e", 1)
        assert await served.total("e") == 2


def effect(entity_id: str, *answers, synchronous: bool = False) -> SideEffect:
    return SideEffect(
        service_name=SERVICE,
        command_name="Do",
        payload=order(entity_id, *answers),
        synchronous=synchronous,
    )


async def test_side_effects_are_done_for_replies_elements_and_cancellations(
    serving: Serve,
) -> None:
    async with serving() as served:
        count = reply("x", update(1))
        both = [effect("sync", count, synchronous=True), effect("async", count)]
        first = reply("first", effects=both, streamed=True)
        last = cancelled(side_effects=[effect("async", count), effect("sync", count)])
        async with aclosing(
            served.watch("e", first, streamed("a", side_effects=both), when_cancelled=[last])
        ) as outcomes:
            assert [text_of(await anext(outcomes)) for _ in range(2)] == ["first", "a"]
            assert await served.total("sync") == 2

        async def all_done() -> bool:
            return (await served.total("async"), await served.total("sync")) == (3, 3)

        async with asyncio.timeout(5):
            while not await all_done():
                await asyncio.sleep(0.01)
        await until(lambda: not served.seen.crashed)
        while await served.store.outbox(range(SLICES), limit=1):
            await asyncio.sleep(0.01)


async def test_a_forward_is_answered_by_another_entity_after_its_change_is_stored(
    serving: Serve,
) -> None:
    async with serving() as served:
        forward = Forward(
            service_name=SERVICE, command_name="Do", payload=order("there", reply("from there"))
        )
        action = ClientAction(forward=forward)
        outcome = await served.ask("e", reply(change=update(1), client_action=action))
        assert text_of(outcome) == "from there"
        assert await served.total("e") == 1
        async with aclosing(
            served.watch("e", reply(streamed=True), streamed(None, client_action=action, ends=True))
        ) as outcomes:
            assert [text_of(each) async for each in outcomes] == ["ok", "from there"]


async def test_a_command_that_passes_on_to_nowhere_changes_nothing(serving: Serve) -> None:
    async with serving() as served:
        await served.add("e", 1)
        nowhere = SideEffect(service_name="nobody", command_name="Do")
        with pytest.raises(RoutingError):
            await served.ask("e", reply(effects=[nowhere]))
        assert served.seen.crashed == []
        with pytest.raises(RoutingError):
            await served.ask("e", reply(change=update(1), effects=[nowhere]))

        assert await served.total("e") == 1
        await served.add("e", 1)
        assert await served.total("e") == 2


# --- The store -----------------------------------------------------------------------


async def test_a_change_that_cannot_be_stored_is_an_error_and_the_entity_begins_anew(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.add("e", 1)
        held = await holding(served)
        served.store.fail_next_commit()
        with pytest.raises(StoreUnavailable):
            await served.add("e", 1)
        with pytest.raises(EntityTerminating):
            await held

        assert await served.total("e") == 1
        await served.add("e", 5)
        assert await served.total("e") == 6
        assert served.puppet.heard("e")[0] == "init increment: 1"


async def test_an_entity_that_cannot_be_read_is_an_error_and_the_next_command_tries_again(
    serving: Serve,
) -> None:
    async with serving() as served:
        await served.add("other", 1)
        served.store.fail_next_read()
        with pytest.raises(StoreUnavailable):
            await served.say("e")

        assert await served.say("e") == "ok"
        assert served.seen.activated == ["other", "e"]


async def test_an_entity_that_cannot_be_read_for_a_caller_who_has_left_is_read_for_the_next(
    serving: Serve,
) -> None:
    async with serving() as served:
        served.store.fail_next_read()
        asking = asyncio.create_task(served.say("e"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        await asyncio.sleep(0.01)

        assert await served.say("e") == "ok"
        assert served.seen.activated == ["e"]


async def test_a_state_that_becomes_too_large_is_refused(
    serving: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudstate_crdt.serving._MAX_GROWN_BYTES", 200)

    def holds(size: int) -> CrdtStateAction:
        value = order("x" * size)
        return CrdtStateAction(update=CrdtDelta(lwwregister=LWWRegisterDelta(value=value)))

    async with serving() as served:
        await served.ask("e", reply(change=holds(10)))
        with pytest.raises(StateTooLarge, match="at most 200 bytes"):
            await served.ask("e", reply(change=holds(300)))

        assert "x" * 10 in (await init_of(served, "e"))


async def init_of(served: Served, entity_id: str) -> str:
    await served.say(entity_id)
    return served.puppet.heard(entity_id)[0]
