from __future__ import annotations

import functools
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Annotated, Optional, Protocol
from typing import Any as AnyType

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from notebook.notebook_pb2 import _ARCHIVE, _NOTEBOOK, DESCRIPTOR, AllLines, LineAdded, Lines, Text

from cloudstate.entity_key_pb2 import entity_key
from cloudstate_core.anys import AnyError, encode
from cloudstate_core.context import CommandContext
from cloudstate_core.errors import RegistrationError
from cloudstate_core.metadata import Metadata
from cloudstate_eventsourced.context import (
    EventSourcedCommandContext,
    SnapshotContext,
)
from cloudstate_eventsourced.entity import EventSourcedEntity

AT_6 = ("e", 6)
TO_6 = SnapshotContext("e", 6)
ADDED = encode(LineAdded(line="b"))


@dataclass
class Notes:
    lines: list[str] = field(default_factory=list)


def fresh(entity_id: str) -> Notes:
    return Notes([entity_id])


def declared(init: Callable[..., object] = fresh, **options: AnyType) -> EventSourcedEntity:
    return EventSourcedEntity(_NOTEBOOK, [DESCRIPTOR], init, **options)


def written(entity: EventSourcedEntity, *values: object) -> object:
    """Call the handler of the command Write with a message, a context, metadata and a state."""
    return entity.command("Write").handler(*values)


# --- Defaults and options ------------------------------------------------------------


def test_an_entity_is_kept_under_the_name_of_its_service_unless_it_says_otherwise() -> None:
    assert declared().persistence_id == "notebook.Notebook"
    assert declared(persistence_id="notes").persistence_id == "notes"


@pytest.mark.parametrize(("said", "expected"), [(0, 100), (7, 7), (-1, 0)])
def test_snapshots_are_taken_every_hundred_events_unless_it_is_said_otherwise(
    said: int, expected: int
) -> None:
    entity = declared(snapshot_every=said)

    assert entity.snapshot_every_events == 0, "nothing takes snapshots yet"
    entity.snapshot()(lambda: "all")
    assert entity.snapshot_every_events == expected


def test_the_arguments_stand_in_the_order_of_the_original_library() -> None:
    entity = EventSourcedEntity(_NOTEBOOK, [DESCRIPTOR], fresh, "notes", 7)

    assert (entity.service, entity.file_descriptors) == (_NOTEBOOK, (DESCRIPTOR,))
    assert entity.persistence_id == "notes"
    assert entity.initial_state("e") == Notes(["e"])


def test_decorators_return_the_function_so_that_it_can_be_called_and_decorated_again() -> None:
    entity = declared()

    def write() -> Text:
        return Text()

    def added(state: Notes) -> None: ...

    def restored(state: Notes, stored: AllLines) -> None: ...

    assert entity.command_handler("Write")(entity.command_handler("Read")(write)) is write
    assert entity.event_handler(LineAdded)(entity.event_handler(AllLines)(added)) is added
    assert entity.snapshot()(added) is added
    assert entity.snapshot_handler()(restored) is restored
    assert entity.command("Read").handler.function is write


# --- The initial state ---------------------------------------------------------------


@dataclass
class Named:
    entity_id: str
    lines: list[str] = field(default_factory=list)


class Maker:
    def __call__(self, entity_id: str) -> Notes:
        return Notes([entity_id])

    def make(self) -> Notes:
        return Notes(["made"])


def with_more(more: str, entity_id: str) -> Notes:
    return Notes([more, entity_id])


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        (fresh, Notes(["e"])),
        (Notes, Notes()),
        (Named, Named("e")),
        (Maker(), Notes(["e"])),
        (Maker().make, Notes(["made"])),
        (functools.partial(with_more, "more"), Notes(["more", "e"])),
        (lambda entity_id: [entity_id], ["e"]),
        (lambda: 0, 0),
        (lambda *ids: ids, ()),
        (dict, {}),
        (list, []),
        (str, ""),
        (int, 0),
        (AllLines, AllLines()),
        (lambda: None, None),
    ],
)
def test_the_initial_state_is_made_of_the_id_or_of_nothing(
    init: Callable[..., object], expected: object
) -> None:
    assert declared(init).initial_state("e") == expected


# --- What handlers are given ---------------------------------------------------------


def test_a_command_handler_is_given_what_it_asks_for_in_its_own_order() -> None:
    entity = declared()
    given = (Lines(id="e"), object(), Metadata(), Notes())

    def write(
        meta: Metadata, state: Notes, ctx: EventSourcedCommandContext, lines: Lines
    ) -> object:
        return lines, ctx, meta, state

    entity.command_handler("Write")(write)

    assert written(entity, *given) == given


def test_handlers_need_not_ask_for_anything() -> None:
    entity = declared()
    entity.command_handler("Write")(lambda: "written")
    entity.event_handler(LineAdded)(lambda: Notes(["new"]))
    entity.snapshot()(lambda: "all")

    assert written(entity, Lines(), None, Metadata(), Notes()) == "written"
    assert entity.apply(Notes(), ADDED, *AT_6) == Notes(["new"])
    assert entity.take_snapshot(Notes(), TO_6) == encode("all")


class HasLines(Protocol):
    lines: list[str]


def optional(state: Optional[Notes], lines: Annotated[Lines, "read"]) -> object:  # noqa: UP045
    return state, lines


def a_union(state: Notes | None, lines: Lines | Text) -> object:
    return state, lines


def quoted(state: "Notes", lines: "Lines") -> object:  # noqa: UP037 - a habit from before
    return state, lines


def a_wider_type(state: object, lines: Lines) -> object:
    return state, lines


def any_type(state: AnyType, lines: Lines) -> object:
    return state, lines


def with_default(state: Notes, lines: Lines, *, limit: int = 3) -> object:
    return (state, lines) if limit == 3 else None


@pytest.mark.parametrize(
    "handler", [optional, a_union, quoted, a_wider_type, any_type, with_default]
)
def test_an_annotation_may_be_wider_than_what_is_given(handler: Callable[..., object]) -> None:
    entity = declared()
    entity.command_handler("Write")(handler)

    assert written(entity, Lines(id="e"), None, None, Notes(["a"])) == (
        Notes(["a"]),
        Lines(id="e"),
    )


def a_base_of_the_context(ctx: CommandContext) -> object:
    return ctx


def an_optional_context(ctx: EventSourcedCommandContext | None) -> object:
    return ctx


@pytest.mark.parametrize("handler", [a_base_of_the_context, an_optional_context])
def test_a_handler_may_ask_for_a_wider_type_of_context(handler: Callable[..., object]) -> None:
    entity, context = declared(), object()
    entity.command_handler("Write")(handler)

    assert written(entity, Lines(), context, None, Notes()) is context


def logged(function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def call(*values: object) -> object:
        return "logged", function(*values)

    return call


class Desk:
    def write(self, state: Notes, lines: Lines) -> object:
        return state, lines

    def __call__(self, state: Notes, lines: Lines) -> object:
        return state, lines

    @staticmethod
    def static(state: Notes, lines: Lines) -> object:
        return state, lines

    @classmethod
    def of_class(cls, state: Notes, lines: Lines) -> object:
        return state, lines


def verbose(how: str, state: Notes, lines: Lines, more: int) -> object:
    return state, lines


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (Desk().write, (Notes(), Lines())),
        (Desk(), (Notes(), Lines())),
        (Desk.static, (Notes(), Lines())),
        (Desk.of_class, (Notes(), Lines())),
        (functools.partial(verbose, "very", more=1), (Notes(), Lines())),
        (logged(Desk.static), ("logged", (Notes(), Lines()))),
    ],
    ids=["method", "object", "static", "class", "partial", "decorated"],
)
def test_any_callable_can_be_a_handler(handler: Callable[..., object], expected: object) -> None:
    entity = declared()
    entity.command_handler("Write")(handler)

    assert written(entity, Lines(), None, None, Notes()) == expected


# --- The whole declaration -----------------------------------------------------------


def take(state: Notes) -> str:
    return "".join(state.lines)


def restore(stored: str) -> Notes:
    return Notes(list(stored))


def test_a_complete_declaration_is_valid() -> None:
    entity = EventSourcedEntity(_ARCHIVE, init_state=Notes)
    for method in _ARCHIVE.methods:
        entity.command_handler(method.name)(lambda: None)
    entity.snapshot()(take)
    entity.snapshot_handler()(restore)

    entity.validate()


def service_of(*, has_key: bool = True, **streaming: bool) -> ServiceDescriptor:
    """Return a service of one method, which takes and returns the same message."""
    file = FileDescriptorProto(name="other.proto", package="other", syntax="proto3")
    key = file.message_type.add(name="Page").field.add(name="id", number=1, type=9, label=1)
    key.options.Extensions[entity_key] = has_key
    method = file.service.add(name="Other").method.add(
        name="Turn", input_type=".other.Page", output_type=".other.Page"
    )
    for direction, is_streamed in streaming.items():
        setattr(method, direction, is_streamed)
    pool = DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName("other.Other")


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (service_of(client_streaming=True), r"other\.Other\.Turn: an entity .* cannot stream"),
        (service_of(server_streaming=True), r"other\.Other\.Turn: an entity .* cannot stream"),
        (service_of(has_key=False), r"other\.Other: no entity key in the message of Turn"),
    ],
    ids=["client streams", "server streams", "no key"],
)
def test_a_service_that_cannot_be_event_sourced_is_refused(
    service: ServiceDescriptor, expected: str
) -> None:
    entity = EventSourcedEntity(service, init_state=Notes)
    entity.command_handler("Turn")(lambda: None)

    with pytest.raises(RegistrationError, match=expected):
        entity.validate()


def test_a_method_that_does_not_exist_is_no_command() -> None:
    with pytest.raises(AnyError, match=r"service notebook\.Notebook has no command 'Wrote'"):
        declared().command("Wrote")


def a_mapping() -> dict[str, int]:
    return {}


class Registry(MutableMapping[str, int]):
    """Only a type."""


def wrong_state(state: Registry, lines: Lines) -> None: ...


def test_a_narrower_type_than_the_state_is_refused() -> None:
    with pytest.raises(RegistrationError, match="parameter 'state' of type Registry"):
        declared(a_mapping).command_handler("Write")(wrong_state)
