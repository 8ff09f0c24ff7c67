"""What cannot work is an error when it is declared, naming the function and the file."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from serving_stations import ARCHIVE, STATION
from station.station_pb2 import DESCRIPTOR, Word
from stations import archive, echo, join, say, spell, station

from cloudstate_action.context import ActionContext
from cloudstate_action.entity import Action
from cloudstate_action.envelope import MessageEnvelope
from cloudstate_action.plugin import ActionKind
from cloudstate_core.anys import AnyError
from cloudstate_core.caller import LateCaller
from cloudstate_core.context import CommandContext
from cloudstate_core.errors import RegistrationError
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.metadata import Metadata
from cloudstate_core.plugins import Plugins

FUNCTIONS = {"Say": say, "Join": join, "Spell": spell, "Echo": echo}
DECORATORS = {
    "Say": "unary_handler",
    "Join": "stream_in_handler",
    "Spell": "stream_out_handler",
    "Echo": "stream_handler",
}


def refused(decorator: str, name: str, function: object, **options: object) -> str:
    with pytest.raises(RegistrationError) as caught:
        getattr(Action(STATION), decorator)(name, **options)(function)
    return str(caught.value)


def test_a_complete_action_is_valid() -> None:
    station().validate()
    archive().validate()


def test_a_decorator_gives_the_function_back() -> None:
    assert Action(STATION).unary_handler("Say")(say) is say


@pytest.mark.parametrize("decorator", DECORATORS.values())
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_shape_must_be_that_of_the_method(decorator: str, name: str) -> None:
    if DECORATORS[name] == decorator:
        return

    message = refused(decorator, name, FUNCTIONS[name])

    assert message.startswith(f"{name.lower()} (")
    assert "stations.py:" in message
    assert f"method {name!r} has " in message
    assert message.endswith(f"use @action.{DECORATORS[name]}({name!r})")


def test_a_method_that_does_not_exist() -> None:
    message = refused("unary_handler", "Sing", say)

    assert "stations.py" in message
    assert "service station.Station has no method 'Sing'; it has Echo, Join, Say, Spell" in message


def test_a_second_handler() -> None:
    action = station()
    with pytest.raises(RegistrationError, match="'Say' is handled already by say"):
        action.unary_handler("Say")(say)


def test_a_method_without_a_handler() -> None:
    action = Action(STATION)
    action.unary_handler("Say")(say)

    with pytest.raises(RegistrationError) as caught:
        action.validate()

    assert str(caught.value) == (
        "station.Station: no handler for Join; add @action.stream_in_handler('Join')"
    )


def test_a_decorator_without_parentheses() -> None:
    with pytest.raises(RegistrationError, match=r"@action.unary_handler\('Name'\)"):
        Action(STATION).unary_handler(say)  # type: ignore[arg-type]


def plain_stream(words: AsyncIterator[Word]) -> Iterator[Word]:
    yield Word()


def no_annotation(word) -> Word:
    return Word()


def wrong_message(word: Empty) -> Word:
    return Word()


def two_messages(word: Word, other: Word) -> Word:
    return Word()


async def one_of_a_stream(word: Word) -> Word:
    return word


async def stream_of_another(words: AsyncIterator[Empty]) -> Word:
    return Word()


async def envelope_of_another(word: MessageEnvelope[Empty]) -> Word:
    return Word()


@pytest.mark.parametrize(
    ("name", "function", "expected"),
    [
        ("Say", spell, "expected a function that returns one reply, found a generator"),
        ("Join", echo, "expected a function that returns one reply, found a generator"),
        ("Echo", plain_stream, "expected an async generator, found a plain one"),
        ("Say", no_annotation, "parameter 'word' has no type annotation"),
        ("Say", wrong_message, "nothing to give for parameter 'word' of type Empty"),
        ("Say", two_messages, "two parameters ask for"),
        ("Say", join, "nothing to give for parameter 'words'"),
        ("Join", one_of_a_stream, "AsyncIterator of command station.Word"),
        ("Join", stream_of_another, "nothing to give for parameter 'words'"),
        ("Say", envelope_of_another, "nothing to give for parameter 'word'"),
    ],
)
def test_a_function_that_cannot_serve_the_method(name, function, expected) -> None:
    message = refused(DECORATORS[name], name, function)

    assert expected in message
    assert f"{function.__name__} (" in message
    assert ".py:" in message


@pytest.mark.parametrize(
    ("name", "function", "expected"),
    [
        ("Say", one_of_a_stream, "an async function must not be blocking"),
        ("Spell", spell, "an async generator must not be blocking"),
    ],
)
def test_what_is_async_must_not_be_blocking(name, function, expected) -> None:
    assert expected in refused(DECORATORS[name], name, function, blocking=True)


def test_handlers_take_what_they_ask_for_in_any_order() -> None:
    def all_of_it(
        metadata: Metadata, ctx: ActionContext, whole: MessageEnvelope[Word], word: Word
    ) -> Word:
        return word

    def little() -> Word:
        return Word()

    def a_base(ctx: CommandContext, whole: MessageEnvelope) -> Word:
        return Word()

    async def either(words: AsyncIterable[MessageEnvelope[Word]], ctx: ActionContext) -> Word:
        return Word()

    for function in (all_of_it, little, a_base):
        Action(STATION).unary_handler("Say")(function)
    Action(STATION).stream_in_handler("Join")(either)


def test_a_method_that_takes_any_gives_what_is_in_it() -> None:
    def find(asked: str) -> str:
        return asked

    archive(Find=find).validate()
    with pytest.raises(RegistrationError):
        archive(Find=wrong_message)


def test_declared_calls_are_checked_when_the_function_is_put_together() -> None:
    action = Action(STATION)
    for name, function in FUNCTIONS.items():
        calls = [(ARCHIVE, "Keep")] if name == "Say" else None
        getattr(action, DECORATORS[name])(name, calls=calls)(function)
    plugins = Plugins(kinds={"action": ActionKind()})

    UserFunction([action, archive()], plugins)
    with pytest.raises(RegistrationError) as caught:
        UserFunction([action], plugins)

    assert "stations.py" in str(caught.value)
    assert "calls station.Archive.Keep" in str(caught.value)


def test_what_is_no_service_or_no_file() -> None:
    with pytest.raises(RegistrationError, match="expected a service descriptor"):
        Action("Station")  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match="expected file_descriptors to be a list"):
        Action(STATION, DESCRIPTOR)  # type: ignore[arg-type]


def test_a_command_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(AnyError, match="has no command 'Sing'"):
        station().method("Sing")


def test_an_entity_of_another_kind_is_named() -> None:
    class Other(Action):
        pass

    assert ActionKind().protocol_methods([Other(STATION)], LateCaller())
    with pytest.raises(RegistrationError, match="expected an Action, found Stranger"):
        ActionKind().protocol_methods([Stranger()], LateCaller())


class Stranger:
    service = STATION


def test_any_is_known_to_be_a_message() -> None:
    def find(asked: Any) -> Any:
        return asked

    archive(Find=find).validate()
