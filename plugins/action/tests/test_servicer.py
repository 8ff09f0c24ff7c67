"""The user function's end of calls: what a runtime does wrong, and what handlers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from google.protobuf.any_pb2 import Any
from serving_stations import packed, word
from station.station_pb2 import Word
from stations import archive, station

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate_action.context import ActionContext
from cloudstate_action.entity import Action
from cloudstate_action.servicer import ActionServicer
from cloudstate_action.shape import STREAM, STREAM_IN, STREAM_OUT, UNARY, Shape
from cloudstate_action.wire import RPCS
from cloudstate_core.caller import LateCaller
from cloudstate_core.context import CommandFailed
from cloudstate_core.failure_code import code_of
from cloudstate_core.status import Status

SERVICE = "station.Station"


async def answers(
    shape: Shape, *commands: ActionCommand, action: Action | None = None
) -> list[ActionResponse]:
    async def sending() -> AsyncIterator[ActionCommand]:
        for command in commands:
            yield command

    actions = {SERVICE: action or station(), "station.Archive": archive()}
    methods = {m.rpc.path: m for m in ActionServicer(actions, LateCaller()).methods()}
    async with aclosing(methods[RPCS[shape].path].serve(sending())) as responses:
        return [each async for each in responses]


def command(name: str, text: str | None = None, service: str = SERVICE) -> ActionCommand:
    payload = None if text is None else packed(text)
    return ActionCommand(service_name=service, name=name, payload=payload)


def element(text: str) -> ActionCommand:
    return ActionCommand(payload=packed(text))


def said(responses: list[ActionResponse]) -> list[str]:
    return [
        r.failure.description
        if r.HasField("failure")
        else Word.FromString(r.reply.payload.value).text
        for r in responses
    ]


@pytest.mark.parametrize(
    ("shape", "commands", "expected"),
    [
        (STREAM_IN, [], "expected a first message that names a service and a command"),
        (STREAM, [], "expected a first message that names a service and a command"),
        (UNARY, [command("Say", "a", "no.Such")], "unknown service 'no.Such'"),
        (STREAM, [command("Echo", None, "no.Such")], "unknown service 'no.Such'"),
        (UNARY, [command("Sing", "a")], "service station.Station has no command 'Sing'"),
        (UNARY, [command("Say")], "expected a payload, found none"),
        (STREAM_OUT, [command("Spell")], "expected a payload, found none"),
        (STREAM, [command("Echo"), ActionCommand()], "expected a payload, found none"),
        (STREAM_IN, [command("Join", "a")], "expected no payload in the first message"),
        (UNARY, [command("Spell", "a")], "has one message and a stream of replies"),
        (STREAM, [command("Join")], "has a stream of messages and one reply"),
    ],
)
async def test_what_a_runtime_does_wrong_is_answered_with_a_failure(
    shape: Shape, commands: list[ActionCommand], expected: str
) -> None:
    (response,) = await answers(shape, *commands)

    assert response.failure.description.startswith("Protocol error: ")
    assert expected in response.failure.description


async def test_a_message_that_cannot_be_read_is_answered_whatever_the_handler_does() -> None:
    async def deaf_to_errors(words: AsyncIterator[Word]) -> Word:
        with pytest.raises(Exception, match="not a valid"):
            await anext(words)
        return word("all is well")

    async def makes_another(words: AsyncIterator[Word]) -> AsyncIterator[Word]:
        try:
            async for each in words:
                yield each
        except Exception:
            raise KeyError("a secret") from None

    garbage = ActionCommand(payload=Any(value=b"\xff"))
    action = station(Join=deaf_to_errors, Echo=makes_another)
    (joined,) = await answers(STREAM_IN, command("Join"), garbage, action=action)
    first, last = await answers(STREAM, command("Echo"), element("a"), garbage, action=action)

    assert said([first]) == ["a"]
    for response in (joined, last):
        assert "not a valid 'station.Word'" in response.failure.description
        assert code_of(response.failure) is Status.INVALID_ARGUMENT


async def test_what_a_handler_raises_passes() -> None:
    def say(asked: Word) -> Word:
        raise KeyError("a secret")

    with pytest.raises(KeyError):
        await answers(UNARY, command("Say", "a"), action=station(Say=say))


async def test_a_failure_on_purpose_ends_the_replies_of_a_generator() -> None:
    async def spell(asked: Word, ctx: ActionContext) -> AsyncIterator[Word]:
        yield asked
        try:
            ctx.fail("no")
        except CommandFailed:
            yield asked  # it has failed all the same
        yield asked

    async def strict(asked: Word, ctx: ActionContext) -> AsyncIterator[Word]:
        yield asked
        ctx.fail("no")

    for handler in (spell, strict):
        found = await answers(STREAM_OUT, command("Spell", "a"), action=station(Spell=handler))
        assert said(found) == ["a", "no"]


async def test_a_failure_that_is_yielded_does_not_end_them_here() -> None:
    from cloudstate_action.reply import ActionReply

    async def spell(asked: Word) -> AsyncIterator[object]:
        yield ActionReply.failure("no")
        yield asked

    found = await answers(STREAM_OUT, command("Spell", "a"), action=station(Spell=spell))

    assert said(found) == ["no", "a"]


async def test_a_failure_of_another_context_is_an_error() -> None:
    def say(asked: Word) -> Word:
        ActionContext(service_name="", command_name="").fail("not mine")

    async def spell(asked: Word) -> AsyncIterator[Word]:
        yield asked
        say(asked)

    with pytest.raises(CommandFailed):
        await answers(UNARY, command("Say", "a"), action=station(Say=say))
    with pytest.raises(CommandFailed):
        await answers(STREAM_OUT, command("Spell", "a"), action=station(Spell=spell))


async def test_replies_may_come_from_whatever_can_be_iterated_over() -> None:
    def listed(asked: Word) -> list[Word]:
        return [word("a"), word("b")]

    async def later(asked: Word) -> list[Word]:
        return [word("a"), word("b")]

    def generated(asked: Word):
        yield word("a")
        yield word("b")

    def delegated(asked: Word) -> AsyncIterator[Word]:
        return both()

    async def both() -> AsyncIterator[Word]:
        yield word("a")
        yield word("b")

    for handler in (listed, later, generated, delegated):
        found = await answers(STREAM_OUT, command("Spell", ""), action=station(Spell=handler))
        assert said(found) == ["a", "b"]


async def test_replies_that_cannot_be_iterated_over_are_an_error() -> None:
    def spell(asked: Word) -> Word:
        return asked

    with pytest.raises(TypeError, match=r"spell \(.*expected a stream of replies, found Word"):
        await answers(STREAM_OUT, command("Spell", "a"), action=station(Spell=spell))


async def test_the_context_cannot_be_used_when_the_call_is_over() -> None:
    kept: list[ActionContext] = []

    def say(asked: Word, ctx: ActionContext) -> Word:
        kept.append(ctx)
        return asked

    await answers(UNARY, command("Say", "a"), action=station(Say=say))

    with pytest.raises(RuntimeError, match="was used after its handler returned"):
        kept[0].effect("a.B", "C", word("a"))


async def test_closing_a_call_closes_a_generator_that_waits() -> None:
    ended: list[str] = []

    async def spell(asked: Word) -> AsyncIterator[Word]:
        try:
            yield asked
            await asyncio.Event().wait()
        finally:
            ended.append("spell")

    actions = {SERVICE: station(Spell=spell)}
    methods = {m.rpc.path: m for m in ActionServicer(actions, LateCaller()).methods()}

    async def one() -> AsyncIterator[ActionCommand]:
        yield command("Spell", "a")

    responses = methods[RPCS[STREAM_OUT].path].serve(one())
    await anext(responses)
    await responses.aclose()

    assert ended == ["spell"]
