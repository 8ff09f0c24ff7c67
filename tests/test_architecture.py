"""The rules of this code base hold, and each rule finds a breach of it."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import architecture
import pytest
from architecture import CORE, Distribution, Source

ROOT = Path(__file__).resolve().parent.parent


def files_of_this_project() -> list[PurePosixPath]:
    """All files but those that .gitignore leaves out."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [PurePosixPath(line) for line in listed.splitlines()]
    return [path for path in paths if (ROOT / path).is_file()]


FILES = files_of_this_project()
SOURCES = architecture.python_sources(ROOT, FILES)
DISTRIBUTIONS = architecture.distributions(ROOT)
PACKAGES = {architecture.APPLICATION_PACKAGE, *(each.package for each in DISTRIBUTIONS)}


def sources_of(package: str) -> list[Source]:
    return [each for each in SOURCES if package in each.path.parts and not each.is_test]


SHIPPED = [source for package in sorted(PACKAGES) for source in sources_of(package)]
PURE = [source for source in SHIPPED if architecture.is_pure_by_name(source)]
NEUTRAL = [*sources_of(CORE), *sources_of("cloudstate_runtime")]

# (path, word): why this one place may name a kind or a backend.
MAY_NAME: dict[tuple[str, str], str] = {}


def breaches(rule: Callable[[Source], Iterator[str]], sources: list[Source]) -> list[str]:
    return [breach for source in sources for breach in rule(source)]


def planted(text: str, path: str = "plugins/toy/cloudstate_toy/machine.py") -> Source:
    return Source(PurePosixPath(path), text)


# --- The rules hold ------------------------------------------------------------------


def test_there_is_something_to_examine() -> None:
    assert {package for package in PACKAGES if not sources_of(package)} == set()
    assert PurePosixPath("pyproject.toml") in FILES


def test_pure_files_do_no_io_and_read_no_clock() -> None:
    assert breaches(architecture.impurities, PURE) == []


def test_core_and_runtime_name_no_kind_and_no_backend() -> None:
    found = breaches(architecture.kinds_and_backends_named, NEUTRAL)

    assert [line for line in found if not is_excepted(line)] == []


def is_excepted(line: str) -> bool:
    return any(line.startswith(f"{path}:") and repr(word) in line for path, word in MAY_NAME)


def test_every_exception_from_naming_is_still_needed() -> None:
    found = breaches(architecture.kinds_and_backends_named, NEUTRAL)

    for path, word in MAY_NAME:
        assert any(line.startswith(f"{path}:") and repr(word) in line for line in found)


def test_everything_imports_the_core_and_nothing_imports_a_plugin() -> None:
    def rule(source: Source) -> Iterator[str]:
        return architecture.first_party_imports(source, PACKAGES)

    assert breaches(rule, [s for s in SHIPPED if s not in sources_of("cloudstate_tck")]) == []


def test_the_conformance_suite_imports_the_core_and_what_applications_import() -> None:
    packages = PACKAGES - {architecture.APPLICATION_PACKAGE}

    def rule(source: Source) -> Iterator[str]:
        return architecture.first_party_imports(source, packages)

    assert breaches(rule, sources_of("cloudstate_tck")) == []


@pytest.mark.parametrize("owner", DISTRIBUTIONS, ids=lambda each: each.name)
def test_a_distribution_imports_only_what_it_depends_on(owner: Distribution) -> None:
    core = DISTRIBUTIONS[0]
    # The shipped contract suites are for those who have pytest.
    suites = PurePosixPath(CORE, "testing")
    sources = [each for each in sources_of(owner.package) if suites not in each.path.parents]

    def rule(source: Source) -> Iterator[str]:
        return architecture.undeclared_imports(source, owner, core)

    assert breaches(rule, sources) == []


@pytest.mark.parametrize(
    "rule",
    [
        architecture.relative_imports,
        architecture.plugin_manager_uses,
        architecture.code_from_data,
        architecture.init_contents,
        architecture.vague_names,
        architecture.outgrown,
    ],
    ids=lambda rule: rule.__name__,
)
def test_all_files_keep(rule: Callable[[Source], Iterator[str]]) -> None:
    sources = SHIPPED if rule is architecture.plugin_manager_uses else SOURCES

    assert breaches(rule, sources) == []


def test_files_are_short_for_the_most_part() -> None:
    sizes = [len(source.text.splitlines()) for source in SHIPPED]

    assert list(architecture.over_budget("files", sizes, architecture.FILE_BUDGET)) == []


def test_functions_are_short_for_the_most_part() -> None:
    sizes = [
        architecture.body_lines_of(node)
        for source in SHIPPED
        for node in architecture.functions(source)
    ]

    assert list(architecture.over_budget("functions", sizes, architecture.FUNCTION_BUDGET)) == []


def test_no_text_mentions_a_machine_or_a_package_index() -> None:
    found = []
    for path in FILES:
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue
        found += architecture.machine_traces(path, text)

    assert found == []


def test_the_lock_files_hold_no_address() -> None:
    locks = [path for path in FILES if path.suffix == ".lock"]

    assert len(locks) >= 3
    assert [path for path in locks if "://" in (ROOT / path).read_text()] == []


# --- Distributions -------------------------------------------------------------------


@pytest.mark.parametrize("each", DISTRIBUTIONS, ids=lambda each: each.name)
def test_a_distribution_is_complete(each: Distribution) -> None:
    folder = ROOT / each.folder
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]

    assert (folder / each.package / "__init__.py").exists()
    assert (folder / each.package / "py.typed").exists()
    assert (folder / "README.md").exists()
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert project["license"] == "Apache-2.0"
    assert project["requires-python"] == ">=3.11"


def test_applications_get_the_types_of_the_generated_code() -> None:
    assert (ROOT / architecture.APPLICATION_PACKAGE / "py.typed").exists()


def test_all_distributions_have_one_version() -> None:
    versions = {
        tomllib.loads((ROOT / each.folder / "pyproject.toml").read_text())["project"]["version"]
        for each in DISTRIBUTIONS
    }

    assert len(versions) == 1


def test_distributions_depend_on_the_core_by_its_compatible_range_and_on_no_other_of_ours() -> None:
    core, *others = DISTRIBUTIONS
    ours = {each.name for each in DISTRIBUTIONS}

    assert core.requires & ours == set()
    for each in others:
        project = tomllib.loads((ROOT / each.folder / "pyproject.toml").read_text())["project"]
        assert "cloudstate-core>=0.1,<0.2" in project["dependencies"]
        assert each.requires & ours == {"cloudstate-core"}


def test_every_distribution_folder_is_a_member_of_the_workspace() -> None:
    members = {each.folder for each in DISTRIBUTIONS}
    folders = {
        path.parent
        for path in FILES
        if path.name == "pyproject.toml" and path.parts[0] != "examples"
    }

    assert folders == members


# --- Each rule finds a breach --------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "import asyncio",
        "import urllib.request",
        "from os import environ",
        "from concurrent.futures import Future",
        "from cloudstate import entity_pb2_grpc",
        "from cloudstate.entity_pb2_grpc import EntityDiscoveryServicer",
        "def f():\n    import time",
        "log = open('x')",
        "at = datetime.now()",
    ],
)
def test_impurity_is_found(text: str) -> None:
    assert len(list(architecture.impurities(planted(text)))) == 1


def test_what_only_sounds_impure_is_left_alone() -> None:
    text = "from cloudstate.entity_pb2 import Command\nimport osmosis\nimport dataclasses, enum"

    assert list(architecture.impurities(planted(text))) == []


@pytest.mark.parametrize(
    ("path", "pure"),
    [
        ("plugins/toy/cloudstate_toy/machine.py", True),
        ("runtime/cloudstate_runtime/routes.py", True),
        ("plugins/toy/cloudstate_toy/types/counter.py", True),
        ("plugins/toy/cloudstate_toy/engine.py", False),
        ("plugins/toy/tests/machine.py", False),
    ],
)
def test_a_pure_file_is_known_by_its_name(path: str, *, pure: bool) -> None:
    assert architecture.is_pure_by_name(planted("", path)) is pure


@pytest.mark.parametrize(
    "text",
    [
        "class EventSourcedEngine: ...",
        "# only event sourced entities",
        "handle_value_entity = 1",
        "CrdtKind = 1",
        "store = 'SQLite'",
        "import cloudstate_postgres",
        "connect_nats()",
        "KV = 2",
    ],
)
def test_the_name_of_a_kind_or_a_backend_is_found(text: str) -> None:
    assert len(list(architecture.kinds_and_backends_named(planted(text)))) == 1


def test_words_that_contain_such_a_name_are_left_alone() -> None:
    text = "signatures = alternatives = 'the events, and their source'"

    assert list(architecture.kinds_and_backends_named(planted(text))) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cloudstate_core/x.py", "import cloudstate_runtime"),
        ("cloudstate_core/x.py", "from cloudstate.value_entity import ValueEntity"),
        ("runtime/cloudstate_runtime/x.py", "from cloudstate_sqlite.plugin import Store"),
        ("backends/sqlite/cloudstate_sqlite/x.py", "import cloudstate_runtime.region"),
        ("plugins/e/cloudstate_eventsourced/x.py", "def f():\n    import cloudstate_sqlite"),
        ("cloudstate/x.py", "import cloudstate_eventsourced"),
    ],
)
def test_an_import_across_the_layers_is_found(path: str, text: str) -> None:
    assert len(list(architecture.first_party_imports(planted(text, path), PACKAGES))) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cloudstate_core/x.py", "from cloudstate import entity_pb2"),
        ("cloudstate_core/x.py", "from cloudstate.entity_pb2_grpc import EntityDiscoveryStub"),
        ("runtime/cloudstate_runtime/x.py", "from cloudstate_core.store import StateStore"),
        ("runtime/cloudstate_runtime/x.py", "import cloudstate_runtime.region"),
        ("cloudstate/x.py", "def load():\n    import cloudstate_eventsourced"),
    ],
)
def test_an_import_towards_the_core_is_left_alone(path: str, text: str) -> None:
    assert list(architecture.first_party_imports(planted(text, path), PACKAGES)) == []


def test_an_undeclared_import_is_found() -> None:
    toy = Distribution(PurePosixPath("toy"), "cloudstate-toy", frozenset({"uvicorn"}))
    text = "import uvicorn, pluggy, json, cloudstate_core\nimport hypothesis"

    (breach,) = architecture.undeclared_imports(planted(text), toy, DISTRIBUTIONS[0])

    assert "'hypothesis'" in breach


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (architecture.relative_imports, "from . import machine"),
        (architecture.relative_imports, "def f():\n    from ..core import x"),
        (architecture.plugin_manager_uses, "from pluggy import PluginManager"),
        (architecture.plugin_manager_uses, "import pluggy\npluggy.PluginManager('x')"),
        (architecture.code_from_data, "import pickle"),
        (architecture.code_from_data, "from marshal import loads"),
        (architecture.code_from_data, "yaml.load(text)"),
        (architecture.code_from_data, "eval(text)"),
        (architecture.code_from_data, "exec(text)"),
        (architecture.code_from_data, "os.system(text)"),
        (architecture.code_from_data, "run(text, shell=True)"),
        (architecture.outgrown, "x = 1\n" * 501),
        (architecture.outgrown, "def f():\n" + "    x = 1\n" * 60),
    ],
)
def test_a_breach_is_found(rule: Callable[[Source], Iterator[str]], text: str) -> None:
    assert len(list(rule(planted(text)))) == 1


def test_a_file_and_a_function_of_the_greatest_length_are_left_alone() -> None:
    text = "def f():\n" + "    x = 1\n" * 59 + "x = 1\n" * 440

    assert list(architecture.outgrown(planted(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        "def f(): ...",
        "from a import b",
        "from a import b\n__all__ = []",
        "from a import b, c\n__all__ = ['c', 'b']",
        "__all__ = ['b']",
    ],
)
def test_more_than_a_public_surface_is_found_in_an_init(text: str) -> None:
    assert list(architecture.init_contents(planted(text, "toy/__init__.py")))


def test_a_public_surface_is_left_alone() -> None:
    text = (
        '"""Toy."""\nfrom __future__ import annotations\nfrom a import c, b\n__all__ = ["b", "c"]'
    )

    assert list(architecture.init_contents(planted(text, "toy/__init__.py"))) == []


@pytest.mark.parametrize("path", ["toy/utils.py", "toy/common/x.py", "toy/managers.py"])
def test_a_vague_name_is_found(path: str) -> None:
    assert len(list(architecture.vague_names(planted("", path)))) == 1


def test_sizes_over_their_budget_are_found() -> None:
    budget = architecture.Budget(median=10, percentile_90=20)

    assert list(architecture.over_budget("files", [10] * 9 + [20], budget)) == []
    assert len(list(architecture.over_budget("files", [10] * 8 + [21] * 2, budget))) == 1
    assert len(list(architecture.over_budget("files", [11] * 10, budget))) == 1


def test_the_docstring_of_a_function_does_not_count_as_its_body() -> None:
    text = 'def f(\n    x,\n):\n    """One.\n\n    Two.\n    """\n    y = x\n    return y\n'
    (function,) = architecture.functions(planted(text))

    assert architecture.body_lines_of(function) == 2


@pytest.mark.parametrize(
    "text",
    [
        "see /" + "work/main/x",
        "open('/" + "root/x')",
        "cd /" + "home/someone/x",
        "--index-url https://" + "py" + "pi.org/",
        "https://files.python" + "hosted.org/packages/x.whl",
        "http://" + "10.0.0.7:8080/simple",
    ],
)
def test_a_trace_of_a_machine_is_found(text: str) -> None:
    assert len(list(architecture.machine_traces(PurePosixPath("x.md"), text))) == 1


def test_other_paths_and_addresses_are_left_alone() -> None:
    text = "net/work/x ~/root http://127.0.0.1:9000/carts/u1 https://www.apache.org/licenses/"

    assert list(architecture.machine_traces(PurePosixPath("x.md"), text)) == []
