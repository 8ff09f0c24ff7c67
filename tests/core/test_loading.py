from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import ConfigurationError, RegistrationError
from cloudstate_core.loading import GROUP, load_entities

Write = Callable[[str], str]
ENTITY = "from chat_kind.entity import ChatEntity, room\nentity = ChatEntity()\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Returns what writes a module into a folder that nobody knows yet, and returns its name."""
    names = [f"planted_app_{number}" for number in range(3)]
    unused = iter(names)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(code: str) -> str:
        name = next(unused)
        (tmp_path / f"{name}.py").write_text(code)
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


def refusal(folder: Path, *references: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_entities(references, folder)
    return str(caught.value)


def test_an_entity_is_found_by_module_and_name_in_the_folder(write: Write, tmp_path: Path) -> None:
    module = write(ENTITY + "class Rooms:\n    second = ChatEntity(room('second'))\n")

    found = load_entities([f"{module}:entity", f"{module}:Rooms.second"], tmp_path)

    assert all(isinstance(entity, EntityDefinition) for entity in found)
    assert [entity.service.full_name for entity in found] == ["example.chat.Room", "second.Room"]
    assert sys.path.count(str(tmp_path)) == 1


@pytest.mark.parametrize("reference", ["no_such_module:entity", "no_such.module:entity"])
def test_a_module_that_is_not_there_is_named(tmp_path: Path, reference: str) -> None:
    module = reference.partition(":")[0]

    assert refusal(tmp_path, reference) == (
        f"module {module!r} is not found: expected it in the current folder or installed"
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("x = 1\n1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
        ("raise ValueError", "ValueError"),
    ],
)
def test_a_module_that_does_not_import_is_named_with_the_place(
    write: Write, tmp_path: Path, code: str, expected: str
) -> None:
    module = write(code)

    message = refusal(tmp_path, f"{module}:entity")

    assert message.startswith(f"module {module!r} does not import: {expected}")
    assert f"{module}.py, line {code.count(chr(10)) + 1})" in message


def test_a_misspelt_name_is_an_error_with_what_was_probably_meant(
    write: Write, tmp_path: Path
) -> None:
    module = write(ENTITY + "other = ChatEntity()\nentry = 1\n")

    assert refusal(tmp_path, f"{module}:entiti") == (
        f"module {module!r} has no 'entiti'; did you mean {module}:entity?"
    )
    assert refusal(tmp_path, f"{module}:zzz").endswith(
        f"did you mean {module}:entity or {module}:other?"
    )
    assert refusal(tmp_path, f"{module}:entity.zzz").startswith(f"module {module!r} has no")


def test_a_module_alone_is_an_error_that_names_its_entities(write: Write, tmp_path: Path) -> None:
    module = write(ENTITY)

    assert refusal(tmp_path, module) == (
        f"expected MODULE:NAME of an entity, found {module!r}; did you mean {module}:entity?"
    )


@pytest.mark.parametrize("reference", ["", ":", ":x", "x:", "a b", "no_such_module"])
def test_what_is_no_reference_is_an_error(tmp_path: Path, reference: str) -> None:
    assert refusal(tmp_path, reference) == f"expected MODULE:NAME of an entity, found {reference!r}"


def test_what_is_no_entity_is_an_error(write: Write, tmp_path: Path) -> None:
    module = write("def entity():\n    pass\n")

    assert refusal(tmp_path, f"{module}:entity") == (
        f"'{module}:entity': expected an entity, found function; module {module!r} has no entity"
    )


def test_a_mistake_in_a_declaration_is_told_as_it_is(write: Write, tmp_path: Path) -> None:
    module = write(
        "from cloudstate_core.errors import RegistrationError\nraise RegistrationError('mistake')\n"
    )

    with pytest.raises(RegistrationError, match=r"^mistake$"):
        load_entities([f"{module}:entity"], tmp_path)


def test_without_references_the_installed_entities_are_served_in_order_of_name(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write(ENTITY + "second = ChatEntity(room('second'))\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed = [
        EntryPoint("b", f"{module}:entity", GROUP),
        EntryPoint("a", f"{module}:second", GROUP),
    ]

    found = load_entities([], tmp_path, installed)

    assert [entity.service.full_name for entity in found] == ["second.Room", "example.chat.Room"]


def test_an_installed_entity_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    installed = [EntryPoint("chat", "no_such_module:x", GROUP)]

    with pytest.raises(ConfigurationError, match=r"^installed entity 'chat': module 'no_such_mod"):
        load_entities([], tmp_path, installed)


def test_with_nothing_at_all_it_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected MODULE:NAME of at least one entity"):
        load_entities([], tmp_path, [])
