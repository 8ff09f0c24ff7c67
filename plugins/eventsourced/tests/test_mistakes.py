"""What an author can get wrong is an error when it is declared, and says where."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from cloudstate_core.errors import RegistrationError

PREAMBLE = """
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from notebook import notebook_pb2
from notebook.notebook_pb2 import (
    _ARCHIVE, _NOTEBOOK, DESCRIPTOR, AllLines, LineAdded, Lines, Page, Text
)

from cloudstate.event_sourced_context import (
    EventContext, EventSourcedCommandContext, SnapshotContext
)
from cloudstate.event_sourced_entity import EventSourcedEntity
from cloudstate_core.anys import Json

if TYPE_CHECKING:
    from notebook.notebook_pb2 import Text as OnlyForTheChecker

@dataclass
class Notes:
    lines: list[str] = field(default_factory=list)

def fresh(entity_id: str) -> Notes:
    return Notes()

entity = EventSourcedEntity(_NOTEBOOK, [DESCRIPTOR], fresh)
"""

Author = Callable[[str], ModuleType]
_numbers = count()


@pytest.fixture(params=["", "from __future__ import annotations\n"], ids=["objects", "texts"])
def author(tmp_path: Path, request: pytest.FixtureRequest) -> Author:
    """Write a module that declares an entity, and import it; annotations are objects or texts."""

    def write(body: str) -> ModuleType:
        name = f"authored_{next(_numbers)}"
        path = tmp_path / f"{name}.py"
        path.write_text(request.param + PREAMBLE + body)
        spec = spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[name]
        return module

    return write


def refused(author: Author, body: str) -> str:
    with pytest.raises(RegistrationError) as caught:
        author(body)
    return str(caught.value)


COMMAND_HANDLERS = {
    "a method that is not there": (
        "@entity.command_handler('Wrote')\ndef write(lines: Lines): ...",
        r"service notebook\.Notebook has no method 'Wrote'; it has Read, Write, WriteAndBreak, ",
    ),
    "a second handler": (
        (
            "@entity.command_handler('Write')\ndef first(lines: Lines): ...\n"
            "@entity.command_handler('Write')\ndef write(lines: Lines): ..."
        ),
        r"command 'Write' is handled already by first \(.*authored_\d+\.py:\d+\)",
    ),
    "no annotation": (
        "@entity.command_handler('Write')\ndef write(state: Notes, lines): ...",
        (
            r"parameter 'lines' has no type annotation; annotate it as one of the command "
            r"notebook\.Lines, the context, the metadata, the state"
        ),
    ),
    "an annotation that means nothing": (
        "@entity.command_handler('Write')\ndef write(lines: 'Linez'): ...",
        "the annotation 'Linez' is not defined at run time; define or import it at the top",
    ),
    "an import for the type checker alone": (
        "@entity.command_handler('Write')\ndef write(lines: 'OnlyForTheChecker'): ...",
        "the annotation 'OnlyForTheChecker' is not defined at run time; .* outside `if TYPE_CHECK",
    ),
    "a name that the module does not have": (
        "@entity.command_handler('Write')\ndef write(lines: 'notebook_pb2.Linez'): ...",
        "its annotations cannot be read: module .* has no attribute 'Linez'",
    ),
    "an annotation that is no expression": (
        "@entity.command_handler('Write')\ndef write(lines: 'Lines['): ...",
        "its annotations cannot be read: ",
    ),
    "an annotation that cannot be compared": (
        "@entity.command_handler('Write')\ndef write(lines: {'a': 1}): ...",
        r"nothing to give for .* of type \{'a': 1\}|annotations cannot be read: .* Got \{'a': 1\}",
    ),
    "the message of another command": (
        "@entity.command_handler('Write')\ndef write(page: Page): ...",
        (
            r"nothing to give for parameter 'page' of type Page; expected one of the command "
            r"notebook\.Lines, the context"
        ),
    ),
    "another class than the state's": (
        "@entity.command_handler('Write')\ndef write(state: dict, lines: Lines): ...",
        "nothing to give for parameter 'state' of type dict; expected one of .*, the state",
    ),
    "the context of events": (
        "@entity.command_handler('Write')\ndef write(lines: Lines, ctx: EventContext): ...",
        "nothing to give for parameter 'ctx' of type EventContext",
    ),
    "the command twice": (
        "@entity.command_handler('Write')\ndef write(lines: Lines, more: Lines): ...",
        r"two parameters ask for the command notebook\.Lines; remove 'more'",
    ),
    "the state twice": (
        "@entity.command_handler('Write')\ndef write(a: Notes, lines: Lines, b: object): ...",
        "two parameters ask for the state; remove 'b'",
    ),
    "any number of parameters": (
        "@entity.command_handler('Write')\ndef write(*values): ...",
        r"parameter \*values cannot be filled; name what is asked for, and use functools\.wraps",
    ),
    "any number of keywords": (
        "@entity.command_handler('Write')\ndef write(lines: Lines, **more): ...",
        r"parameter \*\*more cannot be filled",
    ),
    "a keyword": (
        "@entity.command_handler('Write')\ndef write(*, lines: Lines): ...",
        "parameter 'lines' must not be keyword-only",
    ),
    "a generator": (
        "@entity.command_handler('Write')\ndef write(lines: Lines):\n    yield Text()",
        "expected a function that returns, found a generator",
    ),
    "an async generator": (
        "@entity.command_handler('Write')\nasync def write(lines: Lines):\n    yield Text()",
        "expected a function that returns, found a generator",
    ),
    "async and blocking": (
        "@entity.command_handler('Write', blocking=True)\nasync def write(lines: Lines): ...",
        "an async function must not be blocking",
    ),
    "a decorator without the method's name": (
        "@entity.command_handler\ndef write(lines: Lines): ...",
        r"expected the name of a method: @entity\.command_handler\('Name'\)",
    ),
}

EVENT_HANDLERS = {
    "a second handler": (
        (
            "@entity.event_handler(LineAdded)\ndef first(event: LineAdded): ...\n"
            "@entity.event_handler(LineAdded)\ndef added(event: LineAdded): ..."
        ),
        r"events of type notebook\.LineAdded are handled already by first \(",
    ),
    "a second handler of a primitive": (
        (
            "@entity.event_handler(int)\ndef first(event: int): ...\n"
            "@entity.event_handler(int)\ndef added(event: int): ..."
        ),
        r"events of type p\.cloudstate\.io/int64 are handled already by first \(",
    ),
    "a second handler of JSON": (
        (
            "@entity.event_handler(Json)\ndef first(event: Json): ...\n"
            "@entity.event_handler(Json)\ndef added(event: Json): ..."
        ),
        r"events of type json\.cloudstate\.io/ are handled already by first \(",
    ),
    "another type than the decorator's": (
        "@entity.event_handler(LineAdded)\ndef added(event: AllLines): ...",
        "nothing to give for parameter 'event' of type AllLines; expected one of the event, the st",
    ),
    "the context of commands": (
        (
            "@entity.event_handler(LineAdded)\n"
            "def added(event: LineAdded, ctx: EventSourcedCommandContext): ..."
        ),
        "nothing to give for parameter 'ctx' of type EventSourcedCommandContext",
    ),
    "an async function": (
        "@entity.event_handler(LineAdded)\nasync def added(event: LineAdded): ...",
        "expected a plain function, found an async one",
    ),
    "a generator": (
        "@entity.event_handler(LineAdded)\ndef added(event: LineAdded):\n    yield",
        "expected a function that returns, found a generator",
    ),
    "a decorator without a type": (
        "@entity.event_handler\ndef added(event: LineAdded): ...",
        r"expected the type of an event: @entity\.event_handler\(ItemAdded\)",
    ),
    "the name of a type": (
        "@entity.event_handler('LineAdded')\ndef added(event: LineAdded): ...",
        "^'LineAdded': expected the type of an event: ",
    ),
    "a type that cannot be stored": (
        "@entity.event_handler(list)\ndef added(event: list): ...",
        "expected a generated message class, str, bytes, int, float, bool or Json, found <class 'l",
    ),
    "all messages": (
        "@entity.event_handler(Message)\ndef added(event: Message): ...",
        "expected a generated message class, .* found <class 'google.protobuf.message.Message'>",
    ),
    "what is packed, not what is in it": (
        "@entity.event_handler(Any)\ndef added(event: Any): ...",
        "expected a generated message class, .* found <class 'google.protobuf.any_pb2.Any'>",
    ),
}

SNAPSHOTS = {
    "two functions that take them": (
        (
            "@entity.snapshot()\ndef first(state: Notes): ...\n"
            "@entity.snapshot()\ndef snapshot(state: Notes): ..."
        ),
        r"snapshots are taken already by first \(",
    ),
    "an async function that takes them": (
        "@entity.snapshot()\nasync def snapshot(state: Notes): ...",
        "expected a plain function, found an async one",
    ),
    "a function that takes a snapshot from a snapshot": (
        "@entity.snapshot()\ndef snapshot(state: Notes, stored: AllLines): ...",
        "nothing to give for parameter 'stored' of type AllLines; expected one of the state, the c",
    ),
    "a decorator that is not called": (
        "@entity.snapshot\ndef snapshot(state: Notes): ...",
        r"expected parentheses: @entity\.snapshot\(\)",
    ),
    "a decorator of a handler that is not called": (
        "@entity.snapshot_handler\ndef snapshot(state: Notes, stored: AllLines): ...",
        r"expected parentheses: @entity\.snapshot_handler\(\)",
    ),
    "a handler without a type": (
        "@entity.snapshot_handler()\ndef snapshot(state: Notes, stored): ...",
        "expected one parameter annotated with the snapshot's type, found none",
    ),
    "a handler of two types": (
        "@entity.snapshot_handler()\ndef snapshot(state: Notes, a: AllLines, b: str): ...",
        "expected one parameter annotated with the snapshot's type, found AllLines, str",
    ),
    "a handler of what cannot be stored": (
        "@entity.snapshot_handler()\ndef snapshot(state: Notes, stored: list): ...",
        "expected one parameter annotated with the snapshot's type, found none",
    ),
    "a handler of all messages": (
        "@entity.snapshot_handler()\ndef snapshot(state: Notes, stored: Message): ...",
        "expected a generated message class, ",
    ),
    "a second handler of a type": (
        (
            "@entity.snapshot_handler()\ndef first(state: Notes, stored: AllLines): ...\n"
            "@entity.snapshot_handler()\ndef snapshot(state: Notes, stored: AllLines): ..."
        ),
        r"snapshots of type notebook\.AllLines are handled already by first \(",
    ),
    "an async handler": (
        "@entity.snapshot_handler()\nasync def snapshot(state: Notes, stored: AllLines): ...",
        "expected a plain function, found an async one",
    ),
    "an import for the type checker alone": (
        "@entity.snapshot_handler()\ndef snapshot(state: Notes, stored: 'OnlyForTheChecker'): ...",
        "the annotation 'OnlyForTheChecker' is not defined at run time",
    ),
    "the context of events": (
        (
            "@entity.snapshot_handler()\n"
            "def snapshot(state: Notes, stored: AllLines, ctx: EventContext): ..."
        ),
        "nothing to give for parameter 'ctx' of type EventContext",
    ),
}


@pytest.mark.parametrize("mistake", COMMAND_HANDLERS)
def test_a_command_handler_must_not_be(author: Author, mistake: str) -> None:
    body, expected = COMMAND_HANDLERS[mistake]

    found = refused(author, body)

    assert re.search(expected, found), found
    assert re.match(r"write \(.*authored_\d+\.py:\d+\): ", found), found


@pytest.mark.parametrize("mistake", EVENT_HANDLERS)
def test_an_event_handler_must_not_be(author: Author, mistake: str) -> None:
    body, expected = EVENT_HANDLERS[mistake]

    found = refused(author, body)

    assert re.search(expected, found), found
    if mistake != "the name of a type":
        assert re.match(r"added \(.*authored_\d+\.py:\d+\): ", found), found


@pytest.mark.parametrize("mistake", SNAPSHOTS)
def test_a_function_for_snapshots_must_not_be(author: Author, mistake: str) -> None:
    body, expected = SNAPSHOTS[mistake]

    found = refused(author, body)

    assert re.search(expected, found), found
    assert re.match(r"snapshot \(.*authored_\d+\.py:\d+\): ", found), found


def test_the_line_is_that_of_the_function(author: Author) -> None:
    body = "\n\n# a comment\n@entity.command_handler('Write')\ndef write(lines): ...\n"

    found = refused(author, body)

    line = int(found.partition(".py:")[2].partition(")")[0])
    text = Path(found.partition("(")[2].partition(".py:")[0] + ".py").read_text().splitlines()
    assert text[line - 1].startswith(("@entity", "def write"))


@pytest.mark.parametrize("value", ["42", "'write'", "None"])
def test_what_is_no_function_is_refused(author: Author, value: str) -> None:
    found = refused(author, f"entity.command_handler('Write')({value})")

    assert re.search(f"expected a function, found {value}", found), found


@pytest.mark.parametrize(
    ("handler", "named"),
    [
        ("lambda lines: Text()", "<lambda>"),
        ("functools.partial(written, more=1)", "written"),
        ("Desk().written", "Desk.written"),
        ("Pen()", "Pen.__call__"),
        ("logged(written)", "written"),
    ],
)
def test_every_sort_of_function_is_named(author: Author, handler: str, named: str) -> None:
    found = refused(
        author,
        "def written(state: Notes, lines, more: int = 0): ...\n"
        "class Desk:\n    def written(self, lines): ...\n"
        "class Pen:\n    def __call__(self, lines): ...\n"
        "def logged(function):\n"
        "    @functools.wraps(function)\n"
        "    def call(*values): return function(*values)\n"
        "    return call\n"
        f"entity.command_handler('Write')({handler})",
    )

    assert re.match(rf"{re.escape(named)} \(.*authored_\d+\.py:\d+\): ", found), found
    assert "parameter 'lines' has no type annotation" in found


def test_without_the_type_of_the_state_the_message_says_what_is_missing(author: Author) -> None:
    found = refused(
        author,
        "entity = EventSourcedEntity(_NOTEBOOK, [], lambda: Text())\n"
        "@entity.command_handler('Write')\ndef write(state: Text): ...",
    )

    assert "nothing to give for parameter 'state' of type Text" in found
    assert "the state (of a type that init_state does not tell)" in found


# --- The declaration itself ----------------------------------------------------------

DECLARATIONS = {
    "no service": ("EventSourcedEntity('Notebook', [], fresh)", "expected a service descriptor"),
    "the class of the stub": ("EventSourcedEntity(Lines, [], fresh)", "expected a service desc"),
    "no init": ("EventSourcedEntity(_NOTEBOOK, [])", "expected init_state, found none"),
    "init in the wrong place": (
        "EventSourcedEntity(_NOTEBOOK, fresh)",
        r"expected file_descriptors to be a list .* such as \[shop_pb2\.DESCRIPTOR\], found <func",
    ),
    "a file that is in no list": (
        "EventSourcedEntity(_NOTEBOOK, DESCRIPTOR, fresh)",
        "expected file_descriptors to be a list",
    ),
    "files by name": (
        "EventSourcedEntity(_NOTEBOOK, ['notebook.proto'], fresh)",
        "expected file_descriptors to be a list",
    ),
    "a state instead of what makes it": (
        "EventSourcedEntity(_NOTEBOOK, [], Notes())",
        r"init_state: expected a function, found Notes\(lines=\[\]\)",
    ),
    "an async init": (
        "async def init(entity_id: str) -> Notes: ...\nEventSourcedEntity(_NOTEBOOK, [], init)",
        r"init \(.*authored_\d+\.py:\d+\): init_state: expected a plain function",
    ),
    "an init that is a generator": (
        "def init(entity_id: str):\n    yield Notes()\nEventSourcedEntity(_NOTEBOOK, [], init)",
        r"init \(.*authored_\d+\.py:\d+\): init_state: expected a plain function",
    ),
    "an init of two parameters": (
        "def init(entity_id: str, more) -> Notes: ...\nEventSourcedEntity(_NOTEBOOK, [], init)",
        r"init \(.*:\d+\): init_state: .* of the entity id, .*; found parameters entity_id, more",
    ),
    "an init of a keyword": (
        "def init(*, entity_id: str) -> Notes: ...\nEventSourcedEntity(_NOTEBOOK, [], init)",
        r"init \(.*:\d+\): init_state: .* of the entity id, .*; found parameters entity_id",
    ),
    "an init that returns what is not there": (
        "def init(entity_id: str) -> 'Notez': ...\nEventSourcedEntity(_NOTEBOOK, [], init)",
        r"init \(.*:\d+\): the annotation 'Notez' is not defined at run time",
    ),
    "a class of two parameters as init": (
        "@dataclass\nclass Two:\n    a: str\n    b: str\nEventSourcedEntity(_NOTEBOOK, [], Two)",
        "Two: init_state: expected a function of the entity id, .* found parameters a, b",
    ),
    "a persistence id that is no text": (
        "EventSourcedEntity(_NOTEBOOK, [], fresh, 5)",
        "expected persistence_id to be text, found 5",
    ),
    "an interval that is no number": (
        "EventSourcedEntity(_NOTEBOOK, [], fresh, snapshot_every='5')",
        "expected snapshot_every to be a number of events, found '5'",
    ),
    "an interval that is true": (
        "EventSourcedEntity(_NOTEBOOK, [], fresh, snapshot_every=True)",
        "expected snapshot_every to be a number of events, found True",
    ),
    "a timeout of 0": (
        "EventSourcedEntity(_NOTEBOOK, [], fresh, passivation_timeout_s=0)",
        "passivation_timeout_s: expected more than 0, found 0",
    ),
    "a timeout that is no number": (
        "EventSourcedEntity(_NOTEBOOK, [], fresh, passivation_timeout_s=float('nan'))",
        "passivation_timeout_s: expected more than 0, found nan",
    ),
}


@pytest.mark.parametrize("mistake", DECLARATIONS)
def test_a_declaration_must_not_have(author: Author, mistake: str) -> None:
    body, expected = DECLARATIONS[mistake]

    found = refused(author, body)

    assert re.search(expected, found), found


def test_every_method_needs_a_handler(author: Author) -> None:
    module = author(
        "for name in ('Read', 'Write', 'WriteAndFail', 'WriteAndBreak'):\n"
        "    entity.command_handler(name)(lambda: Text())"
    )

    with pytest.raises(RegistrationError) as caught:
        module.entity.validate()
    assert str(caught.value) == (
        "notebook.Notebook: no command handler for WriteAndPass, WriteAndTell; "
        "add @entity.command_handler('WriteAndPass')"
    )


def test_snapshots_that_nothing_restores_are_refused(author: Author) -> None:
    module = author(
        "for method in _NOTEBOOK.methods:\n"
        "    entity.command_handler(method.name)(lambda: None)\n"
        "@entity.snapshot()\ndef snapshot(state: Notes): ..."
    )

    with pytest.raises(RegistrationError) as caught:
        module.entity.validate()
    assert re.match(r"snapshot \(.*authored_\d+\.py:\d+\): ", str(caught.value))
    assert "has no @entity.snapshot_handler() to restore them" in str(caught.value)
