"""Declaring a value entity, and what an author can get wrong about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any as AnyType
from typing import Optional

import pytest
from google.protobuf.empty_pb2 import Empty
from pinboard.pinboard_pb2 import _ARCHIVE, _PINBOARD, DESCRIPTOR, Board, Note, Text, Texts

from cloudstate_core.anys import AnyError, Json, encode
from cloudstate_core.errors import RegistrationError
from cloudstate_core.metadata import Metadata
from cloudstate_kv.context import ValueEntityCommandContext
from cloudstate_kv.entity import ValueEntity


@dataclass
class Profile:
    name: str = ""
    tags: list[str] = field(default_factory=list)


def new_profile() -> Profile:
    return Profile("new")


def archive(state_type: AnyType = Note, **options: AnyType) -> ValueEntity:
    return ValueEntity(_ARCHIVE, state_type=state_type, **options)


def refusal(register: Callable[[], object]) -> str:
    with pytest.raises(RegistrationError) as caught:
        register()
    return str(caught.value)


# --- Declared right ------------------------------------------------------------------


def test_what_is_announced_has_defaults() -> None:
    entity = archive()

    assert entity.entity_type == "cloudstate.valueentity.ValueEntity"
    assert entity.persistence_id == "pinboard.Archive"
    assert entity.passivation_timeout_s is None


def test_what_is_announced_can_be_chosen() -> None:
    entity = ValueEntity(_ARCHIVE, [DESCRIPTOR], new_profile, "archive", passivation_timeout_s=0.5)

    assert (entity.persistence_id, entity.passivation_timeout_s) == ("archive", 0.5)
    assert entity.file_descriptors == (DESCRIPTOR,)


@pytest.mark.parametrize(
    ("state_type", "annotation"),
    [
        (Note, Note | None),
        (Note, Optional[Note]),  # noqa: UP045 - it is written so too
        (str, str | None),
        (Profile, Profile | None),
        (Json, Json | None),
        (dict[str, int], dict[str, int] | None),
        (dict, dict[str, AnyType] | None),
        (dict[str, int], dict | None),
    ],
    ids=str,
)
def test_a_handler_is_given_the_state_in_any_place(state_type: AnyType, annotation: object) -> None:
    entity = archive(state_type)

    def look(meta: Metadata, state: AnyType, ctx: ValueEntityCommandContext) -> Text: ...

    look.__annotations__["state"] = annotation
    entity.command_handler("Look")(look)

    assert entity.takes_state(entity.command("Look"))


def test_a_handler_need_not_ask_for_the_state() -> None:
    entity = archive()

    @entity.command_handler("Look")
    def look(board: Board, ctx: ValueEntityCommandContext) -> Text: ...

    assert not entity.takes_state(entity.command("Look"))


@pytest.mark.parametrize("told", [False, True], ids=["named", "told by init"])
def test_with_an_init_a_handler_always_has_a_state(told: bool) -> None:
    options: dict[str, AnyType] = {} if told else {"state_type": Profile}
    entity = ValueEntity(_ARCHIVE, init_state=new_profile, **options)

    @entity.command_handler("Look")
    def look(state: Profile) -> Text: ...

    assert entity.draft("e", None).state == Profile("new")


def test_an_init_may_take_the_entity_id() -> None:
    def init(entity_id: str) -> Profile:
        return Profile(entity_id)

    entity = ValueEntity(_ARCHIVE, init_state=init)

    assert entity.draft("joe", None).state == Profile("joe")
    stored = entity.draft("joe", None)
    stored.update(Profile("x"))
    assert stored.action is not None
    assert entity.draft("joe", stored.action.update.value).state == Profile("x")


def test_the_state_may_be_of_the_commands_type() -> None:
    entity = ValueEntity(_ARCHIVE, state_type=Board)

    @entity.command_handler("Look")
    def look(state: Board | None, board: Board) -> Text: ...

    assert entity.takes_state(entity.command("Look"))
    only_the_command = ValueEntity(_ARCHIVE, state_type=Board)

    @only_the_command.command_handler("Look")
    def look_at(board: Board) -> Text: ...

    assert not only_the_command.takes_state(only_the_command.command("Look"))


def test_a_complete_entity_is_valid() -> None:
    entity = archive()
    entity.command_handler("Keep")(lambda: None)
    entity.command_handler("Look")(lambda: None)

    entity.validate()


def test_an_unknown_command_is_an_error_of_the_command() -> None:
    with pytest.raises(AnyError, match="has no command 'Lock'"):
        archive().command("Lock")


# --- Declared wrong ------------------------------------------------------------------


def an_int() -> int:
    return 0


async def later() -> Note:
    return Note()


def of_two(entity_id: str, other: str) -> Note:
    return Note(text=entity_id + other)


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (lambda: ValueEntity(_ARCHIVE), "pinboard.Archive: expected state_type, found none"),
        (lambda: archive(None, init_state=lambda: 3), "pinboard.Archive: expected state_type"),
        (lambda: archive(set), "pinboard.Archive: expected state_type to be a generated message"),
        (lambda: archive(Note()), "pinboard.Archive: expected state_type to be a generated mess"),
        (lambda: archive(dict[int, int]), "pinboard.Archive: expected a dict with keys of str"),
        (
            lambda: archive(Profile, init_state=an_int),
            f"pinboard.Archive: expected an init_state that returns {Profile!r}, found {int!r}",
        ),
        (lambda: archive(init_state=3), "init_state: expected a function, found 3"),
        (lambda: archive(init_state=later), "later ("),
        (lambda: archive(init_state=of_two), "of_two ("),
        (lambda: archive(persistence_id=3), "expected persistence_id to be text, found 3"),
        (lambda: archive(passivation_timeout_s=0), "passivation_timeout_s: expected more than 0"),
        (lambda: archive(passivation_timeout_s="1"), "passivation_timeout_s: expected more than 0"),
        (
            lambda: ValueEntity(_ARCHIVE, DESCRIPTOR, state_type=Note),
            "expected file_descriptors to be a list of file descriptors",
        ),
        (
            lambda: ValueEntity(DESCRIPTOR, state_type=Note),  # type: ignore[arg-type]
            "expected a service descriptor",
        ),
    ],
    ids=range(14),
)
def test_an_entity_that_cannot_work_is_refused(declare: Callable[[], object], why: str) -> None:
    assert refusal(declare).startswith(why)


def test_a_state_that_may_be_none_must_be_expected() -> None:
    def look(state: Note) -> Text: ...

    message = refusal(lambda: archive().command_handler("Look")(look))

    assert "look (" in message
    assert "test_entity.py:" in message
    assert message.endswith(
        "parameter 'state' is None as long as nothing is stored: annotate it as pinboard.Note | "
        "None, or give the entity an init_state"
    )


def test_a_state_of_another_type_is_refused_with_the_function_and_what_there_is() -> None:
    def look(state: Text | None) -> Text: ...

    message = refusal(lambda: archive().command_handler("Look")(look))

    assert "test_entity.py:" in message
    assert "nothing to give for parameter 'state'" in message
    assert "the state pinboard.Note" in message


def untyped(state) -> Text: ...  # type: ignore[no-untyped-def]


def twice(state: Note | None, other: Note | None) -> Text: ...


def spread(*anything: object) -> Text: ...


async def blocked() -> Text: ...


@pytest.mark.parametrize(
    ("name", "function", "options", "why"),
    [
        ("Lock", lambda: None, {}, "service pinboard.Archive has no method 'Lock'; it has Keep, L"),
        ("Look", untyped, {}, "parameter 'state' has no type annotation"),
        ("Look", twice, {}, "two parameters ask for the state pinboard.Note; remove 'other'"),
        ("Look", spread, {}, "parameter *anything cannot be filled"),
        ("Look", blocked, {"blocking": True}, "an async function must not be blocking"),
        ("Look", 3, {}, "expected a function, found 3"),
        ("Look", lambda: None, {"calls": [("x.Y",)]}, "calls: "),
    ],
    ids=["name", "untyped", "twice", "spread", "blocking", "no function", "calls"],
)
def test_a_handler_that_cannot_work_is_refused(
    name: str, function: AnyType, options: dict[str, AnyType], why: str
) -> None:
    assert why in refusal(lambda: archive().command_handler(name, **options)(function))


def test_two_handlers_for_one_command_are_refused() -> None:
    entity = archive()

    @entity.command_handler("Look")
    def look() -> Text: ...

    def again() -> Text: ...

    message = refusal(lambda: entity.command_handler("Look")(again))
    assert "command 'Look' is handled already by" in message
    assert "look (" in message


def test_a_decorator_without_its_parentheses_is_refused() -> None:
    def look() -> Text: ...

    message = refusal(lambda: archive().command_handler(look))  # type: ignore[arg-type]
    assert "expected the name of a method: @entity.command_handler('Name')" in message


def test_a_command_without_a_handler_is_refused() -> None:
    entity = archive()
    entity.command_handler("Keep")(lambda: None)

    assert refusal(entity.validate).startswith("pinboard.Archive: no command handler for Look;")


def test_a_handler_is_still_a_function() -> None:
    entity = ValueEntity(_PINBOARD, state_type=Note)

    @entity.command_handler("Clear")
    def clear(board: Board) -> Empty:
        return Empty()

    @entity.command_handler("Pin")
    def pin(texts: Texts) -> Text:
        return Text(text=texts.texts[0])

    assert clear(Board()) == Empty()
    assert pin(Texts(texts=["a"])) == Text(text="a")
    assert entity.command("Pin").read(encode(Texts(id="e"))) == Texts(id="e")
