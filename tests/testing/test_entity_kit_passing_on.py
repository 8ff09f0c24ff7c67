"""What an entity in the kit passes on: told, answered by the test, or carried out by others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from desk import ARCHIVE, Desk, Notes
from notebook.notebook_pb2 import _ARCHIVE, _NOTEBOOK, LineAdded, Lines, Page, Text
from notebook.notebook_pb2_grpc import ArchiveStub

from cloudstate_core.errors import AskFailed, RoutingError
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status
from cloudstate_core.targets import commands_of
from cloudstate_core.testing import AsyncEntityKit, EntityKit, Failed, KitError, PassedOn
from cloudstate_eventsourced.context import EventSourcedCommandContext
from cloudstate_eventsourced.entity import EventSourcedEntity

ARCHIVED = commands_of(ArchiveStub)


def asking(ask: Callable[..., object], seen: list[str] | None = None) -> EventSourcedEntity:
    """A notebook that writes what it is answered, and notes in `seen` what is read."""
    entity = EventSourcedEntity(_NOTEBOOK, init_state=Notes)

    @entity.event_handler(LineAdded)
    def added(state: Notes, event: LineAdded) -> None:
        state.lines.append(event.line)

    async def handler(state: Notes, lines: Lines, ctx: EventSourcedCommandContext) -> Text:
        there = await ask(lines, ctx)  # type: ignore[misc]
        ctx.emit(LineAdded(line=there.text))
        return state.text()

    for name in ("Write", "WriteAndFail", "WriteAndBreak", "WriteAndPass"):
        entity.command_handler(name)(handler)

    @entity.command_handler("Read")
    def read(state: Notes) -> Text:
        if seen is not None:
            seen.append(state.text().text)
        return state.text()

    entity.command_handler("WriteAndTell")(lambda: None)
    return entity


def look(lines: Lines, ctx: EventSourcedCommandContext) -> object:
    return ctx.ask(ARCHIVED.Look, Page(id=lines.to), metadata=Metadata([("by", "test")]))


COMMAND = Lines(id="a", to="b", lines=["x", "y"])
LOOKED = PassedOn(ARCHIVE, "Look", Page(id="b"), Metadata([("by", "test")]))


@pytest.mark.parametrize("synchronous", [False, True])
def test_an_effect_on_a_service_that_the_kit_has_not_is_told(synchronous: bool) -> None:
    kit = EntityKit(Desk().entities[0])
    command = Lines(id="a", to="b", lines=["x"], synchronous=synchronous)

    handled = kit.handle("WriteAndTell", command)

    (effect,) = handled.effects
    assert effect == PassedOn(ARCHIVE, "Keep", Lines(id="b", lines=["x"]), synchronous=synchronous)
    assert effect.name == f"{ARCHIVE}.Keep"
    assert handled.events == (LineAdded(line="x"),)


def test_a_forward_to_a_service_that_the_kit_has_not_is_told() -> None:
    handled = EntityKit(Desk().entities[0]).handle("WriteAndPass", COMMAND)

    assert handled.forward == PassedOn(ARCHIVE, "Keep", Lines(id="b", lines=["x", "y"]))
    assert (handled.reply, handled.failure) == (None, None)
    assert handled.state == Notes(["x", "y"])


def test_a_failed_command_passes_nothing_on() -> None:
    handled = EntityKit(Desk().entities[0]).handle("WriteAndFail", COMMAND)

    assert handled.failure is not None
    assert handled.effects == ()


@pytest.mark.parametrize(
    "answers",
    [
        {(ARCHIVE, "Look"): Text(text="there")},
        {(_ARCHIVE, "Look"): lambda page: Text(text=f"there{page.id[1:]}")},
        {ARCHIVED.Look: Text(text="there")},
        {"notebook.Archive/Look": Text(text="there")},
        {_ARCHIVE.methods_by_name["Look"]: Text(text="there")},
        lambda asked: Text(text=f"there{asked.message.id[1:]}"),
    ],
)
def test_a_handler_is_answered_what_the_test_says(answers: object) -> None:
    kit = EntityKit(asking(look), answers=answers)  # type: ignore[arg-type]

    handled = kit.handle("Write", COMMAND)

    assert handled.reply == Text(text="there")
    (asked,) = handled.asked
    assert asked.answer == Text(text="there")
    asked.answer = None
    assert asked == LOOKED


async def test_an_answer_may_be_awaited() -> None:
    async def answer(page: Page) -> Text:
        return Text(text=page.id)

    kit = AsyncEntityKit(asking(look), answers={ARCHIVED.Look: answer})

    assert (await kit.handle("Write", COMMAND)).reply == Text(text="b")


@pytest.mark.parametrize(
    "answer", [Failed("shut", Status.NOT_FOUND), AskFailed("shut", code=Status.NOT_FOUND)]
)
def test_a_failed_answer_fails_the_handler_that_lets_it_pass(answer: object) -> None:
    kit = EntityKit(asking(look), answers={ARCHIVED.Look: answer})

    handled = kit.handle("Write", COMMAND)

    assert handled.failure == Failed("shut", Status.NOT_FOUND)
    assert handled.events == ()
    assert [asked.answer for asked in handled.asked] == [answer]


@pytest.mark.usefixtures("logged")
def test_a_question_that_nothing_answers_is_a_mistake_of_the_test() -> None:
    kit = EntityKit(asking(look))

    with pytest.raises(KitError) as caught:
        kit.handle("Write", COMMAND)

    assert str(caught.value) == (
        "nothing answers notebook.Archive.Look: give the kit answers={('notebook.Archive', "
        "'Look'): ...}, or the entity of that service"
    )


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Page(), "expected a message of type notebook.Text, found notebook.Page"),
        (None, "expected a protobuf message, str,"),
        ("there", "expected a message of type notebook.Text, found string"),
    ],
)
def test_an_answer_that_the_command_cannot_give_is_a_mistake_of_the_test(
    answer: object, said: str
) -> None:
    kit = EntityKit(asking(look), answers={ARCHIVED.Look: answer})

    with pytest.raises(KitError, match=r"answer to notebook\.Archive\.Look: ") as caught:
        kit.handle("Write", COMMAND)

    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["Look", ("notebook.Archive",), (_ARCHIVE, "Lok"), 7])
def test_answers_of_no_command_are_a_mistake_of_the_test(key: object) -> None:
    with pytest.raises(KitError, match="answers: "):
        EntityKit(asking(look), answers={key: Text()})


@pytest.mark.parametrize("synchronous", [False, True])
def test_an_effect_is_carried_out_by_another_entity_of_the_kit(synchronous: bool) -> None:
    kit = EntityKit(*Desk().entities)
    command = Lines(id="a", to="b", lines=["x"], synchronous=synchronous)

    (effect,) = kit.handle("WriteAndTell", command).effects

    assert effect.answer == Text(text="x")
    assert kit.handle(ARCHIVED.Look, Page(id="b")).state == Notes(["x"])


def test_a_forward_is_answered_by_another_entity_of_the_kit() -> None:
    kit = EntityKit(*Desk().entities)

    handled = kit.handle("WriteAndPass", COMMAND)

    assert handled.reply == Text(text="x y")
    assert handled.forward is not None
    assert handled.forward.answer == Text(text="x y")
    assert handled.events == (LineAdded(line="x"), LineAdded(line="y"))


def test_a_question_is_answered_by_another_entity_of_the_kit() -> None:
    kit = EntityKit(asking(look), Desk().entities[1])
    kit.handle(ARCHIVED.Keep, Lines(id="b", lines=["old"]))

    handled = kit.handle("Write", COMMAND)

    assert handled.reply == Text(text="old")
    assert [asked.answer for asked in handled.asked] == [Text(text="old")]


def test_the_answers_of_the_test_come_before_other_entities() -> None:
    kit = EntityKit(asking(look), Desk().entities[1], answers={ARCHIVED.Look: Text(text="mine")})

    assert kit.handle("Write", COMMAND).reply == Text(text="mine")


def test_an_entity_that_asks_itself_is_told_of_the_circle() -> None:
    def ask_myself(lines: Lines, ctx: EventSourcedCommandContext) -> object:
        return ctx.ask(_NOTEBOOK, "Write", lines)

    handled = EntityKit(asking(ask_myself)).handle("Write", COMMAND)

    assert handled.failure is not None
    assert handled.failure.code is Status.FAILED_PRECONDITION
    assert "was asked by the entity that waits for the answer" in handled.failure.description


def test_a_forward_in_a_circle_comes_to_an_end() -> None:
    kit = EntityKit(Desk().entities[1])

    with pytest.raises(RoutingError, match="more than 16 forwards and side effects"):
        kit.handle("Bounce", Page(id="a"))


def telling_back(seen: list[str], *, synchronous: bool) -> tuple[EventSourcedEntity, ...]:
    """A notebook that asks an archive, which has the same notebook called as an effect."""
    notebook, archive = asking(look, seen), EventSourcedEntity(_ARCHIVE, init_state=Notes)

    @archive.command_handler("Look")
    def tell(page: Page, ctx: EventSourcedCommandContext) -> Text:
        ctx.effect(_NOTEBOOK, "Read", Page(id="a"), synchronous=synchronous)
        return Text(text="told")

    for name in ("Keep", "Bounce", "Wrap"):
        archive.command_handler(name)(lambda: None)
    archive.event_handler(LineAdded)(lambda: None)
    return notebook, archive


def test_an_effect_on_the_one_who_asks_comes_after_his_command() -> None:
    seen: list[str] = []
    kit = EntityKit(*telling_back(seen, synchronous=False))

    assert kit.handle("Write", COMMAND).reply == Text(text="told")
    assert seen == ["told"]


def test_a_synchronous_effect_on_the_one_who_asks_is_a_circle() -> None:
    seen: list[str] = []
    failure = EntityKit(*telling_back(seen, synchronous=True)).handle("Write", COMMAND).failure

    assert seen == []
    assert failure is not None
    assert failure.code is Status.FAILED_PRECONDITION
