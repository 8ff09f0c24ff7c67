"""Actions in the kit: no entity, no state, and streams in both directions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from station.station_pb2 import Word
from stations import archive, station

from cloudstate_action.context import ActionContext
from cloudstate_action.engine import ActionHandler
from cloudstate_action.plugin import ActionKind
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import UserFunctionError
from cloudstate_core.handler import CommandHandler
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.plugins import Plugins
from cloudstate_core.status import Status
from cloudstate_core.testing import AsyncEntityKit, EntityKit, Failed, KitError, PassedOn

STATION, ARCHIVE = "station.Station", "station.Archive"


def words(*texts: str) -> list[Word]:
    return [Word(text=text) for text in texts]


def test_an_action_has_no_id_no_state_and_no_events() -> None:
    kit = EntityKit(station())

    handled = kit.handle("Say", Word(text="hello"))

    assert handled.reply == Word(text="HELLO")
    assert (handled.entity_id, handled.state, handled.events, handled.version) == (
        "",
        None,
        (),
        None,
    )
    assert kit.state("any") is None
    assert not kit.is_live("any")
    kit.crash()
    assert kit.handle("Say", Word(text="hello")).reply == Word(text="HELLO")


def test_a_stream_is_answered_by_one_reply_each_or_one_for_all() -> None:
    kit = EntityKit(station())

    assert [each.reply for each in kit.stream("Spell", Word(text="abc"))] == words("a", "b", "c")
    assert [each.reply for each in kit.stream("Join", words("a", "b"))] == words("a b")
    assert [each.reply for each in kit.stream("Echo", words("a", "b"))] == words("A", "B")
    assert kit.stream("Echo", []) == []


def test_each_answer_tells_what_it_passes_on() -> None:
    async def echo(heard: AsyncIterator[Word], ctx: ActionContext) -> AsyncIterator[Word]:
        async for word in heard:
            ctx.effect(ARCHIVE, "Keep", word)
            yield await ctx.ask(ARCHIVE, "Keep", word)

    alone = EntityKit(station(Echo=echo), answers=lambda asked: asked.message)
    first, second = alone.stream("Echo", words("a", "b"))
    assert (first.reply, second.reply) == tuple(words("a", "b"))
    assert second.effects == (PassedOn(ARCHIVE, "Keep", Word(text="b")),)
    assert [asked.message for asked in second.asked] == words("b")

    kept: list[str] = []
    together = EntityKit(station(Echo=echo), archive(kept))
    (handled,) = together.stream("Echo", words("a"))
    assert handled.effects[0].answer == handled.reply == Word(text="kept a")
    assert kept == ["a", "a"]


def test_a_failure_is_the_last_answer() -> None:
    async def spell(word: Word, ctx: ActionContext) -> AsyncIterator[Word]:
        yield word
        ctx.fail("no more", code=Status.OUT_OF_RANGE)

    first, last = EntityKit(station(Spell=spell)).stream("Spell", Word(text="a"))

    assert first.reply == Word(text="a")
    assert (last.reply, last.failure) == (None, Failed("no more", Status.OUT_OF_RANGE))


@pytest.mark.usefixtures("logged")
def test_what_a_handler_raises_is_in_the_note() -> None:
    async def spell(word: Word) -> AsyncIterator[Word]:
        yield word
        raise ValueError("secret")

    with pytest.raises(UserFunctionError) as caught:
        EntityKit(station(Spell=spell)).stream("Spell", Word(text="a"))

    assert "ValueError: secret" in "".join(caught.value.__notes__)


async def test_an_asynchronous_test_takes_answers_one_by_one_and_may_hang_up() -> None:
    ended: list[int] = []
    sent: list[int] = []

    async def messages() -> AsyncIterator[Word]:
        while True:
            sent.append(len(sent))
            yield Word(text=str(len(sent)))

    async def echo(heard: AsyncIterator[Word]) -> AsyncIterator[Word]:
        try:
            async for word in heard:
                yield word
        finally:
            ended.append(len(sent))

    answers = AsyncEntityKit(station(Echo=echo)).stream("Echo", messages())
    assert [(await anext(answers)).reply for _ in range(3)] == words("1", "2", "3")
    await answers.aclose()

    assert ended == [3]


@pytest.mark.parametrize(
    ("command", "messages", "said"),
    [
        ("Echo", Word(text="a"), "takes a stream: expected an iterable of messages, found station"),
        ("Echo", None, "takes a stream: expected an iterable of messages, found NoneType"),
        ("Echo", ["a"], "Echo: expected a message of type station.Word, found str"),
        ("Spell", ["a"], "Spell: expected a message of type station.Word, found list"),
        ("Say", Word(), "Say does not stream: call it with kit.handle"),
    ],
)
def test_a_mistake_in_what_is_streamed_is_named(command: str, messages: object, said: str) -> None:
    with pytest.raises(KitError) as caught:
        EntityKit(station()).stream(command, messages)

    assert said in str(caught.value)


def test_a_command_that_streams_is_not_for_handle() -> None:
    with pytest.raises(KitError, match=r"station\.Station\.Spell streams: call it with kit\.strea"):
        EntityKit(station()).handle("Spell", Word())


def test_a_crash_ends_what_a_kind_holds_by_itself() -> None:
    seen: list[str] = []

    class KindWithAHome(ActionKind):
        @asynccontextmanager
        async def open_handler(  # type: ignore[override]
            self, entity: DeployedEntity, host: RuntimeHost
        ) -> AsyncIterator[CommandHandler]:
            seen.append("opened")
            yield ActionHandler(entity, host.link)
            seen.append("closed")

    kit = EntityKit(station(), plugins=Plugins(kinds={"action": KindWithAHome()}))
    kit.handle("Say", Word(text="a"))
    assert seen == ["opened"]

    kit.crash()

    assert seen == ["opened", "closed", "opened"]
    assert kit.handle("Say", Word(text="a")).reply == Word(text="A")
