"""The rules of this code base, as functions that find what breaks them.

Each rule takes one parsed file and yields a line for every breach, so that a test can run
it over all files, and over a planted breach to see that it is found.
`tests/test_architecture.py` does both.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from importlib.metadata import packages_distributions
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
APPLICATION_PACKAGE = "cloudstate"
CORE = "cloudstate_core"


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root of the checkout, and its text."""

    path: PurePosixPath
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=str(self.path))

    @property
    def is_test(self) -> bool:
        return "tests" in self.path.parts

    def at(self, node: ast.AST, breach: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {breach}"

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All of the tree, which every rule goes through."""
        return list(ast.walk(self.tree))

    @cached_property
    def imports(self) -> list[tuple[ast.AST, str]]:
        """Every absolute import, at any depth, as the dotted names it may load."""
        found: list[tuple[ast.AST, str]] = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += ((node, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found += ((node, f"{node.module}.{name.name}") for name in node.names)
        return found


# --- Purity --------------------------------------------------------------------------

PURE_FILES = {
    "causal.py",
    "context.py",
    "departed.py",
    "descriptors.py",
    "discovery.py",
    "dot_store.py",
    "due_order.py",
    "entity.py",
    "entity_key.py",
    "instructions.py",
    "lattice.py",
    "machine.py",
    "membership.py",
    "passivation.py",
    "peers.py",
    "placement.py",
    "routes.py",
    "session.py",
    "stored_form.py",
    "succession.py",
    "touched.py",
    "viewing.py",
    "wire.py",
}
PURE_FOLDERS = {"data", "replication", "translation", "types"}
IMPURE_MODULES = {
    *("asyncio", "concurrent", "multiprocessing", "sched", "selectors", "signal", "threading"),
    *("http", "socket", "ssl", "urllib.request", "grpc", "grpc_health", "grpc_reflection"),
    *("glob", "io", "os", "pathlib", "shutil", "subprocess", "tempfile", "sqlite3", "apsw"),
    *("random", "secrets", "time", "uuid"),
    *("logging", "structlog"),
}
IMPURE_CALLS = {"input", "open", "print"}
CLOCK_READS = {"now", "today", "utcnow"}


def is_pure_by_name(source: Source) -> bool:
    """Whether the file's name promises that it does no I/O and reads no clock."""
    path = source.path
    return not source.is_test and (path.name in PURE_FILES or path.parent.name in PURE_FOLDERS)


def impurities(source: Source) -> Iterator[str]:
    for node, name in source.imports:
        module = next((m for m in IMPURE_MODULES if name == m or name.startswith(f"{m}.")), None)
        if module or re.search(r"_pb2_grpc(\.|$)", name):
            yield source.at(node, f"a pure file imports {module or name}")
    for node in source.nodes:
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                yield source.at(node, f"a pure file calls {name}()")
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCK_READS:
                yield source.at(node, f"a pure file reads the clock with {name}()")


# --- Who may import whom -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Distribution:
    """A folder with a `pyproject.toml` of the workspace.

    Attributes:
        folder: From the root of the checkout.
        name: On the package index.
        requires: The distributions it depends on, by canonical name.
        extras: Those that its extras add.
    """

    folder: PurePosixPath
    name: str
    requires: frozenset[str]
    extras: frozenset[str] = frozenset()

    @property
    def package(self) -> str:
        return self.name.replace("-", "_")


def distributions(root: Path) -> list[Distribution]:
    """The root distribution and all members of the workspace."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    members = settings["tool"]["uv"]["workspace"]["members"]
    return [distribution(root, folder) for folder in [".", *members]]


def distribution(root: Path, folder: str) -> Distribution:
    project = tomllib.loads((root / folder / "pyproject.toml").read_text())["project"]
    added = [text for texts in project.get("optional-dependencies", {}).values() for text in texts]
    return Distribution(
        PurePosixPath(folder),
        project["name"],
        requires=canonical_names(project["dependencies"]),
        extras=canonical_names(added),
    )


def canonical_names(requirements: list[str]) -> frozenset[str]:
    return frozenset(canonicalize_name(Requirement(text).name) for text in requirements)


def first_party_imports(source: Source, packages: set[str]) -> Iterator[str]:
    """Imports of our own packages that the layers do not allow.

    Everything depends on the core, and nothing on a plugin. Only applications see the
    package `cloudstate`, apart from the generated messages in it; its modules import the
    package of a kind when an application asks for that kind.
    """
    own = next((part for part in source.path.parts if part in packages), None)
    if own is None:
        return
    for node, name in source.imports:
        target = name.split(".")[0]
        if target not in packages or target in {own, CORE}:
            continue
        if target == APPLICATION_PACKAGE and re.match(r"cloudstate\.\w+_pb2(_grpc)?\b", name):
            continue
        if own == APPLICATION_PACKAGE and not is_at_top_level(source, node):
            continue
        yield source.at(node, f"{own} imports {name}")


def is_at_top_level(source: Source, node: ast.AST) -> bool:
    return any(node is statement for statement in source.tree.body)


def undeclared_imports(source: Source, owner: Distribution, core: Distribution) -> Iterator[str]:
    """Imports of foreign packages that neither the distribution nor the core depends on."""
    allowed = owner.requires | owner.extras | core.requires
    providers = packages_distributions()
    for node, name in source.imports:
        package = name.split(".")[0]
        if package in sys.stdlib_module_names or package.startswith(APPLICATION_PACKAGE):
            continue
        found = {canonicalize_name(provider) for provider in providers.get(package, [])}
        if not found & allowed:
            yield source.at(node, f"{owner.name} does not depend on what provides {package!r}")


def relative_imports(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield source.at(node, "an import is relative")


def plugin_manager_uses(source: Source) -> Iterator[str]:
    """Only `plugins.py` may build a plugin manager: it walks the entry points itself."""
    if source.path == PurePosixPath(CORE, "plugins.py"):
        return
    for node in source.nodes:
        match node:
            case ast.Attribute(attr="PluginManager") | ast.alias(name="PluginManager"):
                yield source.at(node, "pluggy's manager is used outside cloudstate_core/plugins.py")


# --- Words ---------------------------------------------------------------------------

# Anywhere inside a name, a text or a comment.
KINDS_AND_BACKENDS = re.compile(
    r"event[\s_-]?sourc|value[\s_-]?entit|key[\s_-]?value|crdt|sqlite|apsw|postgres|asyncpg"
    r"|(?<![a-z])(?:nats|kv)(?![a-z])",
    re.IGNORECASE,
)
VAGUE_NAMES = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}


def kinds_and_backends_named(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), start=1):
        for found in KINDS_AND_BACKENDS.finditer(line):
            yield f"{source.path}:{number}: names a kind or a backend: {found[0]!r}"


def vague_names(source: Source) -> Iterator[str]:
    for part in (*source.path.parts[:-1], source.path.stem):
        if part in VAGUE_NAMES:
            yield f"{source.path}: {part!r} does not say what is inside"


# Spelt in two halves, so that this file does not break its own rule.
MACHINE_PATHS = re.compile(r"(?<![\w.-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me|Us" + r"ers)/")
INDEX_HOSTS = re.compile(
    r"https?://[^\s/]*(?:py" + r"pi|python" + r"hosted|dev" + r"pi|artifactory)[^\s]*"
    r"|https?://\S+/simple\b",
    re.IGNORECASE,
)


def machine_traces(path: PurePosixPath, text: str) -> Iterator[str]:
    """Paths of one machine and addresses of package indexes, which mean nothing elsewhere."""
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern in (MACHINE_PATHS, INDEX_HOSTS):
            if found := pattern.search(line):
                yield f"{path}:{number}: mentions {found[0]!r}"


# --- Dangerous calls -----------------------------------------------------------------

CODE_FROM_DATA_MODULES = {"dill", "marshal", "pickle", "shelve"}
CODE_FROM_DATA_CALLS = {"eval", "exec"}


def code_from_data(source: Source) -> Iterator[str]:
    """Whatever can run code that came in as data, or hands a text to a shell."""
    for node, name in source.imports:
        if name.split(".")[0] in CODE_FROM_DATA_MODULES:
            yield source.at(node, f"{name} can run code from data")
    for node in source.nodes:
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in CODE_FROM_DATA_CALLS:
                yield source.at(node, f"{name}() runs code from data")
            case ast.Attribute(value=ast.Name(id="yaml"), attr="load"):
                yield source.at(node, "yaml.load() can run code from data")
            case ast.Attribute(value=ast.Name(id="os"), attr="system"):
                yield source.at(node, "os.system() hands a text to a shell")
            case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                yield source.at(node, "shell=True hands a text to a shell")


# --- Public surfaces -----------------------------------------------------------------


def init_contents(source: Source) -> Iterator[str]:
    """An `__init__.py` holds a docstring, imports, and `__all__`: their names, sorted."""
    if source.path.name != "__init__.py":
        return
    imported: list[str] = []
    listed: list[str] | None = None
    for node in source.tree.body:
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                pass
            case ast.ImportFrom(module="__future__"):
                pass
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                imported += [name.asname or name.name for name in names]
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                listed = ast.literal_eval(value)
            case _:
                yield source.at(node, "an __init__.py holds more than imports and __all__")
    if (imported or listed is not None) and listed != sorted(imported):
        yield f"{source.path}: expected __all__ = {sorted(imported)}, found {listed}"


# --- Sizes ---------------------------------------------------------------------------

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60


@dataclass(frozen=True, slots=True)
class Budget:
    """What the sizes of many files or functions may be, in lines."""

    median: int
    percentile_90: int


FILE_BUDGET = Budget(median=150, percentile_90=350)
FUNCTION_BUDGET = Budget(median=8, percentile_90=30)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: Source) -> Iterator[Function]:
    return (node for node in source.nodes if isinstance(node, Function))


def lines_of(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def body_lines_of(node: Function) -> int:
    """The lines of a function without its signature and its docstring."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return (node.end_lineno or node.lineno) - body[0].lineno + 1 if body else 0


def outgrown(source: Source) -> Iterator[str]:
    length = len(source.text.splitlines())
    if length > MAX_FILE_LINES:
        yield f"{source.path}: {length} lines; a second subject moved in?"
    for node in functions(source):
        if lines_of(node) > MAX_FUNCTION_LINES:
            yield source.at(node, f"{node.name}() has {lines_of(node)} lines")


def over_budget(what: str, sizes: list[int], budget: Budget) -> Iterator[str]:
    ordered = sorted(sizes)
    for name, at, limit in (
        ("median", len(ordered) // 2, budget.median),
        ("90th percentile", len(ordered) * 9 // 10, budget.percentile_90),
    ):
        if ordered and ordered[at] > limit:
            yield f"{what}: expected a {name} of at most {limit} lines, found {ordered[at]}"


# --- Finding the files ---------------------------------------------------------------


def python_sources(root: Path, paths: list[PurePosixPath]) -> list[Source]:
    """The Python files among the paths that people wrote."""
    return [
        Source(path, (root / path).read_text())
        for path in paths
        if fnmatch(path.name, "*.py") and not GENERATED.search(path.name)
    ]
