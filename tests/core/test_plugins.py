from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from cloudstate_core import hookspecs
from cloudstate_core.errors import PluginError
from cloudstate_core.plugins import Plugins, load_plugins

Install = Callable[..., list[EntryPoint]]

PRELUDE = """
from dataclasses import dataclass
import click
from cloudstate_core.frontend import FrontEnd
from cloudstate_core.hookspecs import hookimpl
from cloudstate_core.instrument import Instrument
from cloudstate_core.interceptor import Interceptor
from cloudstate_core.kind import EntityKind
from cloudstate_core.settings import SettingsSection
from cloudstate_core.store import StoreBackend
from cloudstate_core.transport import TransportBackend

def concrete(base, **attributes):
    methods = {name: lambda self, *a: None for name in base.__abstractmethods__}
    return type("Made", (base,), methods | attributes)()

@dataclass(frozen=True)
class Settings:
    size: int = 1
"""

COUNTER = """
@hookimpl
def cloudstate_register_kinds():
    return [concrete(EntityKind, name="counter", entity_type="test.Counter")]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Returns what puts one plugin into a folder as an installer would, and finds all of them."""
    modules = [f"planted_plugin_{number}" for number in range(9)]
    numbers = itertools.count()
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, code: str, distribution: str | None = None) -> list[EntryPoint]:
        module = modules[next(numbers)]
        distribution = distribution or f"dist-{name}"
        (tmp_path / f"{module}.py").write_text(PRELUDE + code)
        folder = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        )
        (folder / "entry_points.txt").write_text(f"[cloudstate]\n{name} = {module}\n")
        return [
            entry
            for found in distributions(path=[str(tmp_path)])
            for entry in found.entry_points
            if entry.group == hookspecs.PROJECT
        ]

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def refusal(entries: list[EntryPoint], *disabled: str) -> str:
    with pytest.raises(PluginError) as caught:
        load_plugins(entries, disabled=frozenset(disabled))
    return str(caught.value)


def test_what_a_plugin_registers_is_found_by_axis_and_name(install: Install) -> None:
    entries = install(
        "all",
        COUNTER
        + """
class Telling(Instrument): pass

@hookimpl
def cloudstate_register_stores():
    yield concrete(StoreBackend, name="heap", settings_type=Settings, durable=False)

@hookimpl
def cloudstate_register_transports():
    return [concrete(TransportBackend, scheme="pipe", settings_type=Settings)]

@hookimpl
def cloudstate_register_frontends():
    return (concrete(FrontEnd, name="door", order=1),)

@hookimpl
def cloudstate_register_interceptors():
    return [concrete(Interceptor, name="guard", order=1)]

@hookimpl
def cloudstate_register_instruments():
    return [Telling(), Telling()]

@hookimpl
def cloudstate_register_commands():
    return [click.Command("do-it")]

@hookimpl
def cloudstate_register_settings():
    return [SettingsSection("shop", Settings)]
""",
    )

    plugins = load_plugins(entries)

    assert plugins.kinds["counter"] is plugins.kind_of("test.Counter")
    assert plugins.kind_of("test.Other") is None
    assert list(plugins.stores) == ["heap"]
    assert list(plugins.transports) == ["pipe"]
    assert list(plugins.frontends) == ["door"]
    assert list(plugins.interceptors) == ["guard"]
    assert len(plugins.instruments) == 2
    assert list(plugins.commands) == ["do-it"]
    assert {"host", "log", "plugins", "shop", "heap", "pipe"} == set(plugins.section_types())
    (info,) = plugins.installed
    assert (info.name, info.distribution, info.version, info.enabled) == (
        "all",
        "dist-all",
        "1.2",
        True,
    )
    registered = ("kind counter", "store heap", "transport pipe", "frontend door")
    assert info.registers[:4] == registered


def test_what_is_installed_here_loads() -> None:
    plugins = load_plugins()

    assert all(info.enabled for info in plugins.installed)
    assert isinstance(plugins.section_types(), dict)


def test_a_repeated_name_is_an_error_that_names_both_distributions(install: Install) -> None:
    install("twin", COUNTER, "first")
    message = refusal(install("twin", COUNTER, "second"))

    assert message.startswith("two plugins are named 'twin'")
    assert "'first'" in message
    assert "'second'" in message


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_a_plugin_that_does_not_import_is_named(install: Install, code: str, expected: str) -> None:
    message = refusal(install("broken", code))

    assert message.startswith("plugin 'broken' of distribution 'dist-broken': does not import: ")
    assert expected in message
    assert "disabled" in message


def test_an_entry_point_that_leads_nowhere_is_named() -> None:
    message = refusal([EntryPoint("ghost", "cloudstate_core.plugins:no_such", "cloudstate")])

    assert message.startswith("plugin 'ghost' of 'cloudstate_core.plugins:no_such': ")
    assert "no_such" in message


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("@hookimpl\ndef cloudstate_register_kindz():\n    return []", "cloudstate_register_kindz"),
        ("def cloudstate_register_kindz():\n    return []", "put @hookimpl above it"),
        ("def cloudstate_register_kinds():\n    return []", "put @hookimpl above it"),
        ("@hookimpl\ndef cloudstate_register_kinds(extra):\n    return []", "extra"),
    ],
)
def test_a_hook_that_would_never_be_called_rightly_is_an_error(
    install: Install, code: str, expected: str
) -> None:
    message = refusal(install("odd", code))

    assert message.startswith("plugin 'odd' of distribution 'dist-odd': ")
    assert expected in message


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("[1]", "expected EntityKind from cloudstate_register_kinds, found int"),
        ("[EntityKind]", "expected instances from cloudstate_register_kinds, found the class"),
        ("None", "cloudstate_register_kinds failed: TypeError"),
        ("1 / 0", "cloudstate_register_kinds failed: ZeroDivisionError"),
        ("(1 / 0 for _ in 'x')", "cloudstate_register_kinds failed: ZeroDivisionError"),
        ("[concrete(EntityKind, entity_type='t')]", "expected the name of kind Made"),
        ("[concrete(EntityKind, name='', entity_type='t')]", "to be one word, found ''"),
        ("[concrete(EntityKind, name='a b', entity_type='t')]", "to be one word, found 'a b'"),
        ("[concrete(EntityKind, name=7, entity_type='t')]", "to be one word, found 7"),
        ("[concrete(EntityKind, name='a')]", "kind 'a' has no entity_type"),
    ],
)
def test_a_hook_that_returns_something_else_is_named(
    install: Install, returned: str, expected: str
) -> None:
    code = f"@hookimpl\ndef cloudstate_register_kinds():\n    return {returned}"

    message = refusal(install("odd", code))

    assert message.startswith("plugin 'odd' of distribution 'dist-odd': ")
    assert expected in message


def test_two_kinds_of_one_name_are_an_error_that_names_both_plugins(install: Install) -> None:
    install("first", COUNTER)
    message = refusal(install("second", COUNTER.replace("test.Counter", "test.Other")))

    assert message == (
        "plugin 'second' of distribution 'dist-second': registers kind 'counter', which plugin "
        "'first' of distribution 'dist-first' registered already"
    )


def test_two_kinds_of_one_entity_type_are_an_error(install: Install) -> None:
    install("first", COUNTER)
    message = refusal(install("second", COUNTER.replace('"counter"', '"tally"')))

    assert message == (
        "plugin 'second' of distribution 'dist-second': kinds 'counter' and 'tally' both have "
        "entity type 'test.Counter'"
    )


def test_one_object_under_two_names_is_an_error() -> None:
    value = "cloudstate_core.clock"
    entries = [EntryPoint(name, value, hookspecs.PROJECT) for name in ("one", "two")]

    assert refusal(entries).startswith(f"plugin 'two' of {value!r}: ")


def test_a_disabled_plugin_is_listed_and_not_imported(install: Install) -> None:
    install("good", COUNTER)
    entries = install("broken", "1 / 0")

    plugins = load_plugins(entries, disabled=frozenset({"broken"}))

    assert list(plugins.kinds) == ["counter"]
    assert [(info.name, info.enabled, info.registers) for info in plugins.installed] == [
        ("broken", False, ()),
        ("good", True, ("kind counter",)),
    ]


def test_disabling_what_is_not_installed_is_an_error(install: Install) -> None:
    message = refusal(install("good", COUNTER), "god")

    assert message == "cannot disable plugin 'god': not installed; installed are good"


def test_a_store_whose_settings_would_shadow_others_is_an_error(install: Install) -> None:
    code = """
@hookimpl
def cloudstate_register_stores():
    return [concrete(StoreBackend, name="host", settings_type=Settings, durable=False)]
"""
    plugins = load_plugins(install("shadow", code))

    with pytest.raises(PluginError, match="settings section 'host' is taken by both"):
        plugins.section_types()


def test_without_plugins_there_is_nothing() -> None:
    assert load_plugins([]) == Plugins()
