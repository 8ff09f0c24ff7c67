"""The contract of kinds finds the kinds that do not keep it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from cloudstate.entity_pb2 import DESCRIPTOR
from cloudstate_core.caller import Caller
from cloudstate_core.entity import DeployedEntity, EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.kind import EntityKind
from cloudstate_core.links import CallMethod, ConversationMethod, Rpc, Write
from cloudstate_core.testing.kind_contract import EntityKindContract, _impure_imports


class Word(EntityDefinition):
    entity_type: ClassVar[str] = "test.word.Words"

    def __init__(self) -> None:
        super().__init__(DESCRIPTOR.services_by_name["EntityDiscovery"])

    def validate(self) -> None:
        """Nothing can be wrong with it."""


class Conversation:
    """Says one thing about whatever comes first, and ends."""

    ends, answers = True, True

    def __init__(self, write: Write[Message]) -> None:
        self.ended = False
        self._write = write

    async def receive(self, message: Message, /) -> None:
        if self.answers:
            await self._write(StringValue(value="what?"))
        self.ended = self.ends

    async def aclose(self) -> None:
        """Hold nothing."""


class EndlessConversation(Conversation):
    ends = False


class SilentConversation(Conversation):
    answers = False


class WordKind(EntityKind):
    name: ClassVar[str] = "word"
    entity_type: ClassVar[str] = Word.entity_type
    path = "/test.word.Words/talk"
    conversation: Callable[[Write[Message]], Conversation] = Conversation

    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> list[ConversationMethod]:
        if not all(isinstance(entity, Word) for entity in entities):
            raise RegistrationError("expected words")
        rpc = Rpc(self.path, StringValue, StringValue)
        return [ConversationMethod(rpc, type(self).conversation)]

    def open_handler(self, entity: DeployedEntity, host: object):
        raise NotImplementedError("words are not served")


class OfAnotherService(WordKind):
    path = "/test.word.Other/talk"


class Endless(WordKind):
    conversation = EndlessConversation


class Silent(WordKind):
    conversation = SilentConversation


class Undiscerning(WordKind):
    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> list[ConversationMethod]:
        return super().protocol_methods([], caller)


async def what(messages):
    async for _ in messages:
        pass
    yield StringValue(value="what?")


async def nothing(messages):
    async for message in messages:
        yield message


async def twice(messages):
    yield StringValue()
    yield StringValue()


async def raising(messages):
    raise ValueError("what?")
    yield


class CalledKind(WordKind):
    """Words that are called, and not talked to."""

    def __init__(self, serve: Callable[..., object] = what) -> None:
        self._serve = serve

    def protocol_methods(
        self, entities: Sequence[EntityDefinition], caller: Caller
    ) -> list[CallMethod]:
        return [CallMethod(Rpc(self.path, StringValue, StringValue), self._serve)]


class WordContract(EntityKindContract):
    """The contract, to be called test by test."""

    kind = entity = None  # type: ignore[assignment]  # what the tests need is passed to them


CONTRACT = WordContract()


async def first_message(kind: EntityKind) -> None:
    await CONTRACT.test_a_first_message_that_means_nothing_is_answered_and_ends_the_stream(
        kind, Word()
    )


async def test_a_kind_that_keeps_it_passes() -> None:
    kind, entity = WordKind(), Word()

    CONTRACT.test_an_entity_says_of_which_kind_it_is(kind, entity)
    CONTRACT.test_a_host_serves_the_protocol_service_of_the_kind_and_no_other(kind, entity)
    CONTRACT.test_an_entity_of_another_kind_is_refused(kind)
    await first_message(kind)
    await CONTRACT.test_a_stream_may_end_before_its_first_message(kind, entity)


def test_a_kind_that_is_not_installed_is_found() -> None:
    with pytest.raises(AssertionError, match="see the entry point"):
        CONTRACT.test_the_kind_is_found_where_it_is_installed(WordKind())


def test_a_method_of_another_service_is_found() -> None:
    with pytest.raises(AssertionError):
        CONTRACT.test_a_host_serves_the_protocol_service_of_the_kind_and_no_other(
            OfAnotherService(), Word()
        )


def test_a_kind_that_takes_any_entity_is_found() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        CONTRACT.test_an_entity_of_another_kind_is_refused(Undiscerning())


@pytest.mark.parametrize("kind", [Endless(), Silent()], ids=lambda kind: type(kind).__name__)
async def test_a_stream_that_bears_anything_is_found(kind: EntityKind) -> None:
    with pytest.raises(AssertionError):
        await first_message(kind)


async def test_a_kind_of_calls_that_keeps_it_passes() -> None:
    kind, entity = CalledKind(), Word()

    CONTRACT.test_a_host_serves_the_protocol_service_of_the_kind_and_no_other(kind, entity)
    await first_message(kind)  # which asks nothing of it
    await CONTRACT.test_a_call_that_means_nothing_is_answered_and_ends(kind, entity)
    await CONTRACT.test_a_call_whose_stream_is_empty_is_answered_and_ends(kind, entity)
    await CONTRACT.test_a_call_may_end_before_it_has_begun(kind, entity)


@pytest.mark.parametrize("serve", [twice, raising])
async def test_a_call_that_bears_anything_is_found(serve) -> None:
    with pytest.raises((AssertionError, ValueError)):
        await CONTRACT.test_a_call_that_means_nothing_is_answered_and_ends(
            CalledKind(serve), Word()
        )


async def test_a_call_that_says_nothing_about_an_empty_stream_is_found() -> None:
    with pytest.raises(AssertionError):
        await CONTRACT.test_a_call_whose_stream_is_empty_is_answered_and_ends(
            CalledKind(nothing), Word()
        )


def test_impure_files_are_found(tmp_path: Path) -> None:
    machine = tmp_path / "machine.py"
    machine.write_text("import time\nfrom os.path import join\nfrom x import a_pb2\nimport enum\n")

    assert list(_impure_imports(machine)) == [
        "machine.py imports time",
        "machine.py imports os.path",
    ]


def test_a_kind_without_pure_files_is_found(tmp_path: Path, monkeypatch) -> None:
    module = ModuleType("word_kind")
    module.__file__ = str(tmp_path / "plugin.py")
    monkeypatch.setitem(sys.modules, "word_kind", module)
    monkeypatch.setattr(WordKind, "__module__", "word_kind")

    with pytest.raises(AssertionError, match=r"expected context\.py, entity\.py"):
        CONTRACT.test_the_pure_files_do_no_io_and_read_no_clock(WordKind())
