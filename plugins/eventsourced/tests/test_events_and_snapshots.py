from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any as AnyType
from typing import NewType, Protocol, TypedDict

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from notebook.notebook_pb2 import _NOTEBOOK, DESCRIPTOR, AllLines, LineAdded, Text

from cloudstate_core.anys import AnyError, Json, encode, encode_primitive
from cloudstate_eventsourced.context import (
    EventContext,
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


class HasLines(Protocol):
    lines: list[str]


# --- Events --------------------------------------------------------------------------


def test_an_event_handler_changes_the_state_it_is_given() -> None:
    entity, state = declared(), Notes(["a"])

    @entity.event_handler(LineAdded)
    def added(ctx: EventContext, event: LineAdded, state: Notes) -> None:
        state.lines.append(f"{event.line} {ctx.entity_id} {ctx.sequence}")

    assert entity.apply(state, ADDED, *AT_6) is state
    assert state == Notes(["a", "b e 6"])


@pytest.mark.parametrize("empty", [[], 0, "", False, {}, ()], ids=repr)
def test_an_event_handler_may_put_an_empty_state_in_the_place_of_the_state(empty: object) -> None:
    entity = declared(lambda: ["a"])
    entity.event_handler(LineAdded)(lambda: empty)

    assert entity.apply(["a"], ADDED, *AT_6) is empty


def test_none_leaves_the_state_as_it_is() -> None:
    entity = declared(lambda: ["a"])
    entity.event_handler(LineAdded)(lambda: None)

    assert entity.apply("any", ADDED, *AT_6) == "any"


class Draft(TypedDict):
    text: str


Slug = NewType("Slug", str)


def a_draft() -> Draft:
    return {"text": ""}


def a_slug() -> Slug:
    return Slug("")


def a_holder() -> HasLines:
    return Notes()


def a_mapping() -> dict[str, int]:
    return {}


def perhaps_notes() -> Notes | None:
    return None


def notes_or_text() -> Notes | str:
    return ""


def nothing() -> None:
    return None


@pytest.mark.parametrize(
    ("init", "replacement"),
    [
        (a_draft, {"text": "new"}),
        (a_slug, "new"),
        (a_holder, Notes()),
        (a_mapping, {"new": 1}),
        (perhaps_notes, Notes()),
        (notes_or_text, Notes()),
        (notes_or_text, "new"),
        (nothing, Notes()),
        (dict, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_state_of_any_type_can_be_replaced(
    init: Callable[[], object], replacement: object
) -> None:
    entity = declared(init)
    entity.event_handler(LineAdded)(lambda: replacement)

    assert entity.apply(init(), ADDED, *AT_6) is replacement


@pytest.mark.parametrize(
    ("init", "replacement", "expected"),
    [
        (fresh, ["a"], "a new Notes, found list"),
        (a_mapping, [], "a new dict, found list"),
        (notes_or_text, 1, "a new Notes or str, found int"),
        (perhaps_notes, "", "a new Notes, found str"),
        (dict, Text(), "a new dict, found Text"),
    ],
)
def test_what_is_no_state_is_refused_and_the_handler_named(
    init: Callable[..., object], replacement: object, expected: str
) -> None:
    entity = declared(init)
    entity.event_handler(LineAdded)(lambda: replacement)

    with pytest.raises(
        AnyError, match=rf"<lambda> \(.*test_events_and_snapshots\.py:\d+\): .*{expected}$"
    ):
        entity.apply(None, ADDED, *AT_6)


async def later(state: Notes) -> None: ...


def test_an_event_handler_that_hides_that_it_is_async_is_found_out_by_its_result() -> None:
    entity = declared(lambda: None)
    coroutine = later(Notes())
    entity.event_handler(LineAdded)(lambda: coroutine)

    with pytest.raises(AnyError, match="a new state, found coroutine"):
        entity.apply(None, ADDED, *AT_6)
    coroutine.close()


@pytest.mark.parametrize(
    ("event_type", "value", "seen"),
    [
        (LineAdded, encode(LineAdded(line="x")), LineAdded(line="x")),
        (LineAdded, Any(type_url="elsewhere.org/notebook.LineAdded"), LineAdded()),
        (str, encode("x"), "x"),
        (bytes, encode(b"x"), b"x"),
        (int, encode(3), 3),
        (int, encode_primitive("int32", -3), -3),
        (float, encode(0.5), 0.5),
        (float, encode_primitive("float", 0.5), 0.5),
        (bool, encode(value=True), True),
        (bool, encode(value=False), False),
        (Json, encode(Json("any.Name", {"a": [1]})), Json("any.Name", {"a": [1]})),
    ],
    ids=lambda value: getattr(value, "type_url", None) or str(value)[:20],
)
def test_an_event_may_be_a_message_a_primitive_or_json(
    event_type: type, value: Any, seen: object
) -> None:
    entity, got = declared(), []

    def keep(event: AnyType) -> None:
        got.append(event)

    keep.__annotations__["event"] = event_type
    entity.event_handler(event_type)(keep)

    for _ in range(2):  # the second time the handler is known by the whole type URL
        entity.apply(Notes(), value, *AT_6)
    assert got == [seen, seen]


def test_the_names_of_json_events_do_not_pile_up_in_memory() -> None:
    entity = declared()
    entity.event_handler(Json)(lambda: None)
    entity.apply(Notes(), encode(Json("first", 1)), *AT_6)
    before = len(entity._events._by_name)

    for number in range(100):
        entity.apply(Notes(), encode(Json(f"name{number}", 1)), *AT_6)
    assert len(entity._events._by_name) == before


def test_each_event_goes_to_the_handler_of_its_type() -> None:
    entity, got = declared(), []

    @entity.event_handler(str)
    def text(event: str) -> None:
        got.append(("text", event))

    @entity.event_handler(int)
    def number(event: int) -> None:
        got.append(("number", event))

    @entity.event_handler(bool)
    def flag(event: bool) -> None:
        got.append(("flag", event))

    for value in ("1", 1, True):
        entity.apply(Notes(), encode(value), *AT_6)
    assert got == [("text", "1"), ("number", 1), ("flag", True)]


@pytest.mark.parametrize(
    "payload", [encode(Text()), encode(1), encode(Json("x", 1)), Any(), Any(type_url="x/")], ids=str
)
def test_an_event_that_nothing_handles_is_an_error_that_says_what_to_do(payload: Any) -> None:
    entity = declared()
    entity.event_handler(LineAdded)(lambda: None)

    with pytest.raises(AnyError, match=r"no event handler for .*: add @entity\.event_handler for"):
        entity.apply(Notes(), payload, *AT_6)


def test_an_event_whose_bytes_are_not_of_its_type_is_an_error() -> None:
    entity = declared()
    entity.event_handler(LineAdded)(lambda: None)

    with pytest.raises(AnyError, match=r"not a valid 'notebook\.LineAdded'"):
        entity.apply(Notes(), Any(type_url=ADDED.type_url, value=b"\xff"), *AT_6)


# --- Where two things have one type --------------------------------------------------


def two_texts(state: str, event: str) -> str:
    return state + event


def one_text(event: str) -> str:
    return event


def test_a_state_of_text_can_have_events_and_snapshots_of_text() -> None:
    entity = declared(str)
    entity.event_handler(str)(two_texts)
    entity.snapshot()(one_text)
    entity.snapshot_handler()(one_text)

    assert entity.apply("a", encode("b"), *AT_6) == "ab"
    assert entity.take_snapshot("ab", TO_6) == encode("ab")
    assert entity.restore("", encode("ab"), TO_6) == "ab"


def test_one_text_alone_is_the_event_and_not_the_state() -> None:
    entity = declared(str)
    entity.event_handler(str)(one_text)

    assert entity.apply("a", encode("b"), *AT_6) == "b"


def text_and_snapshot(state: str, stored: AllLines) -> str:
    return state + "".join(stored.lines)


def test_a_state_of_text_can_have_other_snapshots() -> None:
    entity = declared(str)
    entity.snapshot_handler()(text_and_snapshot)

    assert entity.restore("a", encode(AllLines(lines=["b"])), TO_6) == "ab"


def test_two_texts_of_an_unknown_state_are_the_state_and_the_snapshot() -> None:
    entity = declared(lambda: "")
    entity.snapshot_handler()(two_texts)

    assert entity.restore("a", encode("b"), TO_6) == "ab"


def the_snapshot_alone(stored: AllLines) -> AllLines:
    return stored


def state_and_snapshot(state: AllLines, stored: AllLines) -> None:
    state.CopyFrom(stored)


def state_and_event(state: Message, event: LineAdded) -> None:
    assert isinstance(state, AllLines)
    state.lines.append(event.line)


@pytest.mark.parametrize("restore", [the_snapshot_alone, state_and_snapshot])
def test_a_message_can_be_the_state_and_its_own_snapshot(restore: Callable[..., object]) -> None:
    entity, state = declared(AllLines), AllLines(lines=["a"])
    entity.event_handler(LineAdded)(state_and_event)
    entity.snapshot()(lambda: state)
    entity.snapshot_handler()(restore)

    assert entity.apply(state, ADDED, *AT_6) is state
    assert entity.take_snapshot(state, TO_6) == encode(AllLines(lines=["a", "b"]))
    assert entity.restore(AllLines(), encode(AllLines(lines=["c"])), TO_6) == AllLines(lines=["c"])


# --- Snapshots -----------------------------------------------------------------------


def taking(state: Notes, ctx: SnapshotContext) -> Json:
    return Json("notes", {"lines": state.lines, "to": ctx.sequence})


def from_json(state: Notes, stored: Json, ctx: SnapshotContext) -> None:
    state.lines = [f"{stored.value['lines']} {ctx.entity_id} {ctx.sequence}"]


def from_message(stored: AllLines) -> Notes:
    return Notes(list(stored.lines))


def test_snapshots_of_every_type_that_was_ever_stored_can_be_restored() -> None:
    entity = declared()
    entity.snapshot()(taking)
    entity.snapshot_handler()(from_json)
    entity.snapshot_handler()(from_message)

    taken = entity.take_snapshot(Notes(["a"]), TO_6)
    assert taken == encode(Json("notes", {"lines": ["a"], "to": 6}))
    assert entity.restore(Notes(), taken, TO_6) == Notes(["['a'] e 6"])
    old = encode(AllLines(lines=["old"]))
    assert entity.restore(Notes(), old, TO_6) == Notes(["old"])


@pytest.mark.parametrize("empty", ["", 0, False, AllLines()], ids=repr)
def test_an_empty_snapshot_is_a_snapshot(empty: AnyType) -> None:
    entity = declared()
    entity.snapshot()(lambda: empty)

    assert entity.take_snapshot(Notes(), TO_6) == encode(empty)


def test_no_snapshot_is_an_error_that_names_the_function() -> None:
    entity = declared()
    entity.snapshot()(lambda: None)

    with pytest.raises(AnyError, match=r"<lambda> \(.*:\d+\): expected a snapshot, found None"):
        entity.take_snapshot(Notes(), TO_6)


def test_a_snapshot_that_nothing_restores_is_an_error_that_says_what_to_do() -> None:
    entity = declared()
    entity.snapshot_handler()(from_message)

    with pytest.raises(AnyError, match=r"no snapshot handler for .*: add @entity\.snapshot_handle"):
        entity.restore(Notes(), encode("text"), TO_6)
