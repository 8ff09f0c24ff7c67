"""Write the code that is generated from our protos, or check that it is up to date.

Runs in the environment that holds the locked generator (`make protos` makes it). Generated
files are committed, so that nobody who installs or changes this project needs protoc.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Generated code is not strict-clean, and nobody edits it.
NOT_JUDGED = "# mypy: ignore-errors\n"
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")


@dataclass(frozen=True, slots=True)
class Target:
    """Protos that become modules of one Python package.

    Attributes:
        sources: The folder that import paths in these protos start from.
        files: The import paths, as a glob below `sources`.
        output: The folder that the modules are written into.
        package: The Python package that `output` is. Where it is not what the protos'
            folder says, the generated imports are rewritten; the descriptors keep their
            names, which other implementations know.
    """

    sources: str
    files: str
    output: str
    package: str


TARGETS = (
    Target("protos", "cloudstate/*.proto", "cloudstate", "cloudstate"),
    Target(
        "protos",
        "cloudstate/tck/model/*.proto",
        "tck/cloudstate_tck/model",
        "cloudstate_tck.model",
    ),
    Target(
        "examples/shopping_cart/protos",
        "shoppingcart/*.proto",
        "examples/shopping_cart/shoppingcart",
        "shoppingcart",
    ),
    Target("bench/protos", "subjects/*.proto", "bench/subjects", "bench.subjects"),
    Target("examples/bank/protos", "bank/*.proto", "examples/bank/bank", "bank"),
    Target(
        "examples/presence/protos", "presence/*.proto", "examples/presence/presence", "presence"
    ),
    Target(
        "examples/third_party_kind",
        "acme_ratelimit/*.proto",
        "examples/third_party_kind/acme_ratelimit",
        "acme_ratelimit",
    ),
    Target(
        "examples/third_party_kind/demo",
        "quotas/*.proto",
        "examples/third_party_kind/demo/quotas",
        "quotas",
    ),
    Target(
        "runtime/protos",
        "cloudstate_runtime/cluster/*.proto",
        "runtime/cloudstate_runtime/cluster",
        "cloudstate_runtime.cluster",
    ),
    Target(
        "plugins/action/tests/protos",
        "station/*.proto",
        "plugins/action/tests/station",
        "station",
    ),
    Target(
        "plugins/crdt/protos",
        "cloudstate_crdt/*.proto",
        "plugins/crdt/cloudstate_crdt",
        "cloudstate_crdt",
    ),
    Target(
        "plugins/crdt/tests/protos",
        "likes/*.proto",
        "plugins/crdt/tests/likes",
        "likes",
    ),
    Target(
        "plugins/crdt/tests/protos",
        "puppet/*.proto",
        "plugins/crdt/tests/puppet",
        "puppet",
    ),
    Target(
        "plugins/eventsourced/tests/protos",
        "notebook/*.proto",
        "plugins/eventsourced/tests/notebook",
        "notebook",
    ),
    Target(
        "plugins/kv/tests/protos",
        "pinboard/*.proto",
        "plugins/kv/tests/pinboard",
        "pinboard",
    ),
    Target(
        "plugins/kv/tests/protos",
        "profiles/*.proto",
        "plugins/kv/tests/profiles",
        "profiles",
    ),
)


def include_paths() -> list[Path]:
    """Where imports are looked for beside a target's own sources."""
    import google.api
    import grpc_tools

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    google_apis = Path(next(iter(google.api.__path__))).parent.parent
    return [ROOT / "protos", google_apis, well_known]


def generate(target: Target, scratch: Path) -> dict[Path, str]:
    """What the target's files should hold, by their path from the root of the checkout.

    Raises:
        SystemExit: The protos do not compile; the compiler has said why.
    """
    from grpc_tools import protoc

    sources = ROOT / target.sources
    protos = sorted(sources.glob(target.files))
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    includes = dict.fromkeys([sources, *include_paths()])
    outputs = ("--python_out", "--pyi_out", "--grpc_python_out")
    arguments = [
        "protoc",
        *(f"--proto_path={folder}" for folder in includes),
        *(f"{output}={scratch}" for output in outputs),
        *map(str, protos),
    ]
    if not protos or protoc.main(arguments) != 0:
        raise SystemExit(f"cannot generate code from {target.sources}/{target.files}")
    return {
        Path(target.output) / name: finished(text, proto, target)
        for proto in protos
        for name, text in written_for(proto, scratch / proto.relative_to(sources).parent)
    }


def written_for(proto: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """The modules that the compiler has written for one proto, as far as they hold anything."""
    suffixes = ["_pb2.py", "_pb2.pyi"]
    if service_names(proto):
        suffixes.append("_pb2_grpc.py")
    for suffix in suffixes:
        name = proto.stem + suffix
        text = (folder / name).read_text()
        if suffix == "_pb2.pyi":
            text += service_stubs(text, service_names(proto))
        yield name, text


def service_names(proto: Path) -> list[str]:
    return re.findall(r"^service (\w+)", proto.read_text(), re.MULTILINE)


def service_stubs(stub: str, services: list[str]) -> str:
    """Declare the service descriptors, which the compiler's own stubs leave out."""
    assert not services or "descriptor as _descriptor" in stub
    return "".join(f"_{name.upper()}: _descriptor.ServiceDescriptor\n" for name in services)


def finished(text: str, proto: Path, target: Target) -> str:
    """Let generated code import its neighbours from the package they are really in."""
    package = ".".join(proto.relative_to(ROOT / target.sources).parent.parts)
    text = text.replace(f"from {package} import ", f"from {target.package} import ")
    quoted = rf"(['\"]){re.escape(package)}\.(\w+_pb2)\1"
    return NOT_JUDGED + re.sub(quoted, rf"\1{target.package}.\2\1", text)


def expected_files() -> dict[Path, str]:
    with tempfile.TemporaryDirectory() as folder:
        return {
            path: text
            for target in TARGETS
            for path, text in generate(target, Path(folder) / "out").items()
        }


def present_files(root: Path) -> set[Path]:
    """The generated files that stand in the targets' folders now."""
    return {
        path.relative_to(root)
        for target in TARGETS
        for path in (root / target.output).iterdir()
        if GENERATED.search(path.name)
    }


def differences(root: Path, expected: dict[Path, str]) -> list[str]:
    """How the files in the checkout differ from what they should be, a line for each."""
    present = present_files(root)
    missing = [f"{path}: missing" for path in expected.keys() - present]
    extra = [f"{path}: no proto generates it" for path in present - expected.keys()]
    changed = [
        f"{path}: differs from what its proto generates"
        for path in expected.keys() & present
        if (root / path).read_text() != expected[path]
    ]
    return sorted([*missing, *extra, *changed])


def main(arguments: list[str]) -> int:
    expected = expected_files()
    if arguments == ["--check"]:
        found = differences(ROOT, expected)
        for line in found:
            print(line, file=sys.stderr)
        if found:
            print("run `make protos` and commit what it writes", file=sys.stderr)
        return 1 if found else 0
    for path in present_files(ROOT) - expected.keys():
        (ROOT / path).unlink()
    for path, text in expected.items():
        (ROOT / path).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
