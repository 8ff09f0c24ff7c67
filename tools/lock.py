"""Write the lock files: exact versions and hashes, and no address to download them from."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILE = [
    "pip",
    "compile",
    "--quiet",
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-annotate",
    "--no-header",
]
HEADER = "# Written by `make lock`; do not edit.\n"


def workspace_projects() -> list[Path]:
    """The `pyproject.toml` of the root and of every workspace member."""
    root = ROOT / "pyproject.toml"
    members = tomllib.loads(root.read_text())["tool"]["uv"]["workspace"]["members"]
    return [root, *(path for member in members for path in ROOT.glob(f"{member}/pyproject.toml"))]


def distribution_name(project: Path) -> str:
    return str(tomllib.loads(project.read_text())["project"]["name"])


def write_lock(uv: str, lock: Path, arguments: list[str]) -> None:
    """Resolve and write one lock file; versions it already holds are kept where they still fit."""
    relative = str(lock.relative_to(ROOT))
    subprocess.run([uv, *COMPILE, "--output-file", relative, *arguments], cwd=ROOT, check=True)
    lock.write_text(HEADER + lock.read_text().removeprefix(HEADER))


def main(arguments: list[str]) -> None:
    """Write all locks with the uv given first; what follows goes to uv, such as `--upgrade`."""
    uv, *extra = arguments
    projects = workspace_projects()
    ours = [f"--no-emit-package={distribution_name(project)}" for project in projects]
    sources = [str(project.relative_to(ROOT)) for project in projects]
    write_lock(
        uv, ROOT / "requirements.lock", ["--group=dev", "--all-extras", *ours, *extra, *sources]
    )
    for name in ("bootstrap", "protoc"):
        write_lock(uv, ROOT / f"tools/{name}.lock", [*extra, f"tools/{name}.in"])


if __name__ == "__main__":
    main(sys.argv[1:])
