"""What every entity kind must do.

Subclass the contract in your kind's tests::

    class TestCounterKind(EntityKindContract):
        @pytest.fixture
        def kind(self):
            return CounterKind()

        @pytest.fixture
        def entity(self):
            return CounterEntity(...)  # complete, as an application would declare it

It looks at the registration, at the user function's end of streams and calls, whichever the kind
has, and at the pure files. What a kind does with commands and the store is its own affair, and its
own tests'.
"""

from __future__ import annotations

import ast
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar

import pytest
from google.protobuf.message import Message

from cloudstate.entity_pb2 import DESCRIPTOR
from cloudstate_core.caller import LateCaller
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.kind import EntityKind
from cloudstate_core.links import CallMethod, ConversationMethod, ProtocolMethod
from cloudstate_core.plugins import Plugins, load_plugins

__all__ = ["EntityKindContract"]

_PURE_FILES = ("context.py", "entity.py", "machine.py", "session.py", "wire.py")

_IMPURE_MODULES = frozenset(
    (
        *("asyncio", "concurrent", "multiprocessing", "selectors", "signal", "threading"),
        *("grpc", "http", "select", "socket", "ssl", "urllib"),
        *("io", "os", "pathlib", "subprocess", "tempfile"),
        *("random", "secrets", "time", "uuid"),
        *("logging", "structlog"),
    )
)


class EntityKindContract(ABC):
    """The tests. All of them must pass for a kind to be served."""

    @abstractmethod
    @pytest.fixture
    def kind(self) -> EntityKind:
        """Return the kind."""

    @abstractmethod
    @pytest.fixture
    def entity(self) -> EntityDefinition:
        """Return a complete entity of the kind, as an application would declare it."""

    def test_the_kind_is_found_where_it_is_installed(self, kind: EntityKind) -> None:
        found = load_plugins().kinds

        assert kind.name in found, f"installed kinds are {sorted(found)}: see the entry point"
        assert type(found[kind.name]) is type(kind)

    def test_an_entity_says_of_which_kind_it_is(
        self, kind: EntityKind, entity: EntityDefinition
    ) -> None:
        entity.validate()

        assert entity.entity_type == kind.entity_type

    def test_a_host_serves_the_protocol_service_of_the_kind_and_no_other(
        self, kind: EntityKind, entity: EntityDefinition
    ) -> None:
        methods = _served(kind, entity).values()

        assert {method.rpc.service for method in methods} == {kind.entity_type}

    def test_an_entity_of_another_kind_is_refused(self, kind: EntityKind) -> None:
        with pytest.raises(RegistrationError):
            kind.protocol_methods([_Foreign()], LateCaller())

    async def test_a_first_message_that_means_nothing_is_answered_and_ends_the_stream(
        self, kind: EntityKind, entity: EntityDefinition
    ) -> None:
        for method in _conversations(kind, entity):
            sent: list[Message] = []
            conversation = method.open(_Writes(sent))

            await conversation.receive(method.rpc.request_class())

            assert conversation.ended
            assert [type(message) for message in sent] == [method.rpc.response_class]
            await conversation.aclose()

    async def test_a_stream_may_end_before_its_first_message(
        self, kind: EntityKind, entity: EntityDefinition
    ) -> None:
        for method in _conversations(kind, entity):
            sent: list[Message] = []
            conversation = method.open(_Writes(sent))

            await conversation.aclose()
            await conversation.aclose()

            assert sent == []

    async def test_a_call_that_means_nothing_is_answered_and_ends(
        self, kind: EntityKind, entity: EntityDefinition
    ) -> None:
        for method in _calls(kind, entity):
            answers = await _answers(method, method.rpc.request_class())

            assert [type(answer) for answer in answers] == [method.rpc.response_class]

    async def test_a_call_whose_stream_is_empty_is_answered_and_ends(
        self, kind: EntityKind, entity: EntityDefinition
    ) -> None:
        for method in _calls(kind, entity):
            if method.rpc.client_streaming:
                answers = await _answers(method)

                assert [type(answer) for answer in answers] == [method.rpc.response_class]

    async def test_a_call_may_end_before_it_has_begun(
        self, kind: EntityKind, entity: EntityDefinition
    ) -> None:
        for method in _calls(kind, entity):
            answers = method.serve(_sent())

            await answers.aclose()
            await answers.aclose()

    def test_the_pure_files_do_no_io_and_read_no_clock(self, kind: EntityKind) -> None:
        folder = Path(inspect.getfile(type(kind))).parent
        present = [folder / name for name in _PURE_FILES if (folder / name).exists()]

        assert present, f"expected {', '.join(_PURE_FILES)} in {folder}"
        assert [line for path in present for line in _impure_imports(path)] == []


class _Writes:
    """Keeps what a conversation sends."""

    def __init__(self, sent: list[Message]) -> None:
        self._sent = sent

    async def __call__(self, message: Message) -> None:
        self._sent.append(message)


class _Foreign(EntityDefinition):
    """An entity that no kind serves."""

    entity_type: ClassVar[str] = "cloudstate_core.testing.Foreign"

    def __init__(self) -> None:
        # Any service will do; this one is always there.
        super().__init__(DESCRIPTOR.services_by_name["EntityDiscovery"])

    def validate(self) -> None:
        """Nothing can be wrong with it."""


def _served(kind: EntityKind, entity: EntityDefinition) -> Mapping[str, ProtocolMethod]:
    return UserFunction([entity], Plugins(kinds={kind.name: kind})).methods


def _conversations(kind: EntityKind, entity: EntityDefinition) -> list[ConversationMethod]:
    methods = _served(kind, entity).values()
    return [each for each in methods if isinstance(each, ConversationMethod)]


def _calls(kind: EntityKind, entity: EntityDefinition) -> list[CallMethod]:
    methods = _served(kind, entity).values()
    return [each for each in methods if isinstance(each, CallMethod)]


async def _answers(method: CallMethod, *messages: Message) -> list[Message]:
    async with aclosing(method.serve(_sent(*messages))) as answers:
        return [answer async for answer in answers]


async def _sent(*messages: Message) -> AsyncGenerator[Message, None]:
    for message in messages:
        yield message


def _impure_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            if name.split(".")[0] in _IMPURE_MODULES or name.endswith("_pb2_grpc"):
                yield f"{path.name} imports {name}"
