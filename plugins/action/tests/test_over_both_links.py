"""Actions as a front end calls them, the same over both links."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest
from serving_stations import ARCHIVE, Serve, packed, text_of, until, word
from station.station_pb2 import Word
from stations import archive, station

from cloudstate.action_pb2 import ActionCommand
from cloudstate_action.context import ActionContext
from cloudstate_action.envelope import MessageEnvelope
from cloudstate_action.reply import ActionReply
from cloudstate_core.errors import RoutingError, UserFunctionError
from cloudstate_core.failure_code import code_of
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status

HEADERS = Metadata([("x-who", "joe"), ("x-who", "jim"), ("raw", b"\x00")])


# --- Shapes --------------------------------------------------------------------------


async def test_every_shape_is_answered(serving: Serve) -> None:
    async with serving(station()) as served:
        assert await served.say("Say", "hello") == "HELLO"
        assert await served.texts("Join", "a", "b", "c") == ["a b c"]
        assert await served.texts("Join") == [""]
        assert await served.texts("Spell", "abc") == ["a", "b", "c"]
        assert await served.texts("Echo", "a", "b") == ["A", "B"]
        assert await served.texts("Echo") == []
        assert served.seen.handled == ["Say", "Join", "Join", "Spell", "Echo", "Echo"]


async def test_the_messages_are_laid_out_as_the_protocol_says(serving: Serve) -> None:
    async with serving(station()) as served:
        await served.call("Say", "one", metadata=HEADERS)
        await served.texts("Spell", "x")
        whole, bare = served.link.sent
        assert whole == ActionCommand(
            service_name="station.Station",
            name="Say",
            payload=packed("one"),
            metadata=HEADERS.to_wire(),
        )
        assert bare.HasField("metadata")

        served.link.sent.clear()
        await served.texts("Join", "a", "b", metadata=HEADERS)
        first, *others = served.link.sent
        assert first == ActionCommand(
            service_name="station.Station", name="Join", metadata=HEADERS.to_wire()
        )
        assert [each.payload for each in others] == [packed("a"), packed("b")]
        assert {(each.service_name, each.name) for each in others} == {("", "")}
        assert all(each.HasField("metadata") and not each.metadata.entries for each in others)


async def test_payloads_pass_through_untouched(serving: Serve) -> None:
    odd = word("a").SerializeToString() + b"\x98\x06\x01"  # an unknown field
    async with serving(station(Say=as_it_is)) as served:
        request = served.request("Say")
        request.payload.value = odd

        outcome = await served.runtime.handler.handle(request)

        assert served.link.sent[0].payload.value == odd
        assert outcome.action.reply.payload.value == odd


def as_it_is(asked: Word) -> Word:
    return asked


async def test_metadata_goes_in_and_out(serving: Serve) -> None:
    def say(asked: MessageEnvelope[Word], metadata: Metadata, ctx: ActionContext) -> object:
        assert asked.metadata == metadata == ctx.metadata
        who = ",".join(str(each) for each in metadata.get_all("X-Who"))
        return ActionReply.message(
            word(f"{asked.message.text} {who}"), metadata=Metadata([("a", "1")])
        )

    async def echo(asked: AsyncIterator[MessageEnvelope[Word]]) -> AsyncIterator[object]:
        async for each in asked:
            yield MessageEnvelope(each.message, Metadata([("length", str(len(each.metadata)))]))

    async with serving(station(Say=say, Echo=echo)) as served:
        outcome = await served.call("Say", "hi", metadata=HEADERS)
        assert text_of(outcome) == "hi joe,jim"
        assert Metadata.from_wire(outcome.action.reply.metadata).get("a") == "1"

        async with aclosing(served.stream("Echo", "a", metadata=HEADERS)) as outcomes:
            (outcome,) = [each async for each in outcomes]
        # Headers of the call are not those of its messages.
        assert Metadata.from_wire(outcome.action.reply.metadata).get("length") == "0"


async def test_a_reply_without_metadata_says_nothing_about_it(serving: Serve) -> None:
    async with serving(station()) as served:
        outcome = await served.call("Say", "a")

        assert not outcome.action.reply.HasField("metadata")


# --- Answers -------------------------------------------------------------------------


async def test_none_is_no_reply_and_leaves_a_gap_in_a_stream(serving: Serve) -> None:
    async def some(asked: AsyncIterator[Word]) -> AsyncIterator[Word | None]:
        async for each in asked:
            yield each if each.text else None

    async with serving(station(Say=says_nothing, Echo=some)) as served:
        assert await served.say("Say", "a") == "-"
        assert await served.texts("Echo", "a", "", "b") == ["a", "b"]
        assert len(served.link.received) == 4  # the user function did answer


def says_nothing(asked: Word) -> None:
    return None


async def test_a_failure_has_its_code_and_ends_a_stream(serving: Serve) -> None:
    closed: list[str] = []

    def say(asked: Word, ctx: ActionContext) -> Word:
        ctx.fail("not you", code=Status.PERMISSION_DENIED)

    async def echo(asked: AsyncIterator[Word], ctx: ActionContext) -> AsyncIterator[object]:
        try:
            async for each in asked:
                if each.text == "bad":
                    yield ActionReply.failure("not this")
                else:
                    yield each
        finally:
            closed.append("echo")

    async with serving(station(Say=say, Echo=echo)) as served:
        outcome = await served.call("Say", "a")
        assert text_of(outcome) == "!not you"
        assert code_of(outcome.action.failure) is Status.PERMISSION_DENIED
        asked = endless("a", "bad")
        async with aclosing(asked):
            assert await served.texts("Echo", messages=asked) == ["a", "!not this"]
        await until(lambda: closed == ["echo"])


async def endless(*texts: str) -> AsyncIterator[object]:
    """The texts, and then none, though there may be more."""
    for text in texts:
        yield packed(text)
    await asyncio.Event().wait()


async def test_effects_go_with_their_element_and_before_it(serving: Serve) -> None:
    kept: list[str] = []

    async def spell(asked: Word, ctx: ActionContext) -> AsyncIterator[Word | None]:
        for letter in asked.text:
            ctx.effect(ARCHIVE, "Keep", word(letter), synchronous=True)
            yield word(letter)
        ctx.effect(ARCHIVE, "Keep", word("the end"), synchronous=True)

    async with (
        serving(station(Spell=spell), archive(kept)) as served,
        aclosing(served.stream("Spell", "ab")) as outcomes,
    ):
        assert text_of(await anext(outcomes)) == "a"
        assert kept == ["a"]
        assert text_of(await anext(outcomes)) == "b"
        assert kept == ["a", "b"]
        # What is left at the end is an element that says nothing.
        assert text_of(await anext(outcomes)) == "-"
        assert kept == ["a", "b", "the end"]
        assert await anext(outcomes, None) is None


async def test_effects_beside_a_failure_and_without_a_reply_happen(serving: Serve) -> None:
    kept: list[str] = []

    def say(asked: Word, ctx: ActionContext) -> None:
        ctx.effect(ARCHIVE, "Keep", word(asked.text), synchronous=True)
        if asked.text == "bad":
            ctx.fail("no")

    async with serving(station(Say=say), archive(kept)) as served:
        assert await served.say("Say", "bad") == "!no"
        assert await served.say("Say", "silent") == "-"

    assert kept == ["bad", "silent"]


async def test_an_asynchronous_effect_happens_without_being_waited_for(serving: Serve) -> None:
    kept: list[str] = []

    def say(asked: Word) -> ActionReply:
        return ActionReply.message(asked).effect(ARCHIVE, "Keep", word("later"))

    async with serving(station(Say=say), archive(kept)) as served:
        assert await served.say("Say", "now") == "now"
        await until(lambda: kept == ["later"])


async def test_forwards_are_answered_in_place(serving: Serve) -> None:
    def say(asked: Word, ctx: ActionContext) -> None:
        ctx.forward(ARCHIVE, "Keep", asked)

    async def echo(asked: AsyncIterator[Word], ctx: ActionContext) -> AsyncIterator[object]:
        async for each in asked:
            if each.text == "all":
                yield ActionReply.forward(ARCHIVE, "Recall", each)
            elif each.text == "keep":
                ctx.forward(ARCHIVE, "Keep", each)
                yield None
            else:
                yield each

    async with serving(station(Say=say, Echo=echo), archive(["old", "new"])) as served:
        assert await served.say("Say", "a") == "kept a"
        assert await served.texts("Echo", "x", "all", "y", "keep") == [
            *("x", "old", "new", "a", "y", "kept keep")
        ]


async def test_a_forward_or_an_effect_that_leads_nowhere_is_an_error(serving: Serve) -> None:
    def say(asked: Word, ctx: ActionContext) -> None:
        ctx.forward("no.Such", "Service", asked)

    async def spell(asked: Word, ctx: ActionContext) -> AsyncIterator[Word]:
        yield asked
        ctx.effect("no.Such", "Service", asked, synchronous=True)
        yield asked

    async with serving(station(Say=say, Spell=spell)) as served:
        with pytest.raises(RoutingError):
            await served.call("Say", "a")
        with pytest.raises(RoutingError):
            await served.texts("Spell", "a")
        assert served.got == ["a"]
        await until(lambda: len(served.link.reports) == 2)
        assert all("Service [no.Such] unknown" in each for each in served.link.reports)


# --- Errors --------------------------------------------------------------------------


async def test_what_a_handler_raises_is_an_internal_error_and_reported(serving: Serve) -> None:
    def say(asked: Word) -> Word:
        raise ValueError("a secret")

    async def spell(asked: Word) -> AsyncIterator[Word]:
        yield asked
        raise ValueError("a secret")

    async with serving(station(Say=say, Spell=spell)) as served:
        with pytest.raises(UserFunctionError, match=r"^the user function failed$") as caught:
            await served.call("Say", "a")
        assert caught.value.status is Status.INTERNAL
        with pytest.raises(UserFunctionError, match=r"^the user function failed$"):
            await served.texts("Spell", "a")
        assert served.got == ["a"]
        await until(lambda: len(served.link.reports) == 2)
        assert served.link.reports[0].startswith("station.Station.Say: the user function failed")
        assert await served.texts("Echo", "still there") == ["STILL THERE"]


@pytest.mark.parametrize("blocking", [False, True], ids=["in the loop", "in a thread"])
async def test_a_handler_that_exits_ends_its_own_call_and_not_the_process(
    serving: Serve, blocking: bool
) -> None:
    def say(asked: Word) -> Word:
        sys.exit(3)

    def spell(asked: Word) -> Iterator[Word]:
        try:
            yield asked
            sys.exit(4)
        finally:
            if asked.text == "twice":
                sys.exit(5)

    action = station()
    for name in ("Say", "Spell"):
        action._methods._methods.pop(name)
    action.unary_handler("Say", blocking=blocking)(say)
    action.stream_out_handler("Spell", blocking=blocking)(spell)
    async with serving(action) as served:
        with pytest.raises(UserFunctionError, match=r"^the user function failed$"):
            await served.call("Say", "a")
        for text in ("once", "twice"):
            with pytest.raises(UserFunctionError, match=r"^the user function failed$"):
                await served.texts("Spell", text)
            assert served.got == [text]
        async with aclosing(served.stream("Spell", "twice")) as outcomes:
            await anext(outcomes)  # and no more: the generator is closed
        assert await served.texts("Echo", "still there") == ["STILL THERE"]


async def test_asynchronous_handlers_that_exit_end_their_own_call(serving: Serve) -> None:
    async def say(asked: Word) -> Word:
        await asyncio.sleep(0)
        sys.exit(3)

    async def join(asked: AsyncIterator[Word]) -> Word:
        async for _ in asked:
            sys.exit(4)
        raise AssertionError

    async def echo(asked: AsyncIterator[Word]) -> AsyncIterator[Word]:
        async for each in asked:
            yield each
            sys.exit(5)

    async with serving(station(Say=say, Join=join, Echo=echo)) as served:
        with pytest.raises(UserFunctionError, match=r"^the user function failed$"):
            await served.call("Say", "a")
        for command in ("Join", "Echo"):
            with pytest.raises(UserFunctionError, match=r"^the user function failed$"):
                await served.texts(command, "a", "b")
        assert served.got == ["a"]
        assert await served.texts("Spell", "ok") == ["o", "k"]


async def test_a_reply_of_another_type_is_an_error_that_names_the_handler(
    serving: Serve, logged: list[dict[str, object]]
) -> None:
    def say(asked: Word) -> object:
        return Metadata()

    async with serving(station(Say=say)) as served:
        with pytest.raises(UserFunctionError):
            await served.call("Say", "a")

    told = " ".join(str(entry.get("exc_info")) for entry in logged)
    assert "expected a reply of type station.Word, found Metadata" in told
    assert "test_over_both_links.py" in told


@pytest.mark.parametrize("command", ["Say", "Join", "Spell", "Echo"])
async def test_bytes_of_a_client_that_are_no_message_are_its_own_fault(
    serving: Serve, command: str
) -> None:
    async def bad():
        yield packed("a")
        garbage = packed("")
        garbage.value = b"\xff"
        yield garbage

    async with serving(station()) as served:
        if command in ("Join", "Echo"):
            stream = served.stream(command, messages=bad())
        else:
            request = served.request(command)
            request.payload.value = b"\xff"
            stream = served.runtime.handler.stream(request) if command == "Spell" else None
        if stream is None:
            outcome = await served.runtime.handler.handle(request)
        else:
            async with aclosing(stream) as outcomes:
                *_, outcome = [each async for each in outcomes]
        assert code_of(outcome.action.failure) is Status.INVALID_ARGUMENT
        assert "station.Word" in outcome.action.failure.description
        assert served.link.reports == []
