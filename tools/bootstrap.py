"""Create `.venv` with every locked dependency and every distribution of this workspace.

Needs Python 3.11 with venv, and a package index; no other tool. uv itself is installed,
at a locked version, into `.tools/uv`. Each step leaves a stamp with what it was made
from, so that a second run does only what has changed.
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
OLDEST_PYTHON = (3, 11)

# pip settings that say where packages come from and whom to trust, and uv's names for them.
PIP_SETTINGS_FOR_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "cert": "SSL_CERT_FILE",
}


def main() -> int:
    problem = missing_requirement()
    if problem:
        print(problem, file=sys.stderr)
        return 1
    os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    try:
        install_tool_environment("uv", ROOT / "tools/bootstrap.lock")
        if "--protoc" in sys.argv[1:]:
            install_tool_environment("protoc", ROOT / "tools/protoc.lock")
        else:
            install_workspace()
    except subprocess.CalledProcessError as error:
        print(f"bootstrap failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    return 0


def missing_requirement() -> str | None:
    """What this machine lacks, as one sentence that says what to install."""
    if sys.version_info < OLDEST_PYTHON:
        found = platform.python_version()
        return (
            f"expected Python 3.11 or newer, found {found} ({sys.executable});"
            " name another with: make PYTHON=python3.12"
        )
    try:
        import ensurepip  # noqa: F401 - Debian ships venv without it
        import venv  # noqa: F401
    except ImportError:
        return "this Python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"
    return None


def install_tool_environment(name: str, lock: Path) -> None:
    """Make `.tools/NAME`, a virtual environment that holds exactly what `lock` says."""
    folder = TOOLS / name
    stamp = Stamp(folder, [lock])
    if stamp.is_current():
        return
    print(f"installing {name} into {folder.relative_to(ROOT)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "venv", folder)
    pip = [python_of(folder), "-m", "pip", "install", "--quiet", "--require-hashes"]
    run(*pip, "--requirement", lock)
    stamp.write()


def install_workspace() -> None:
    """Make `.venv`: the locked dependencies, then our own distributions, editable."""
    lock = ROOT / "requirements.lock"
    projects = workspace_projects()
    stamp = Stamp(VENV, [lock, *(folder / "pyproject.toml" for folder in projects)])
    if stamp.is_current():
        return
    print("installing the locked dependencies into .venv", flush=True)
    adopt_pip_settings()
    if not stamp.can_be_mended():
        shutil.rmtree(VENV, ignore_errors=True)
        run(sys.executable, "-m", "venv", "--without-pip", VENV)
    uv = [TOOLS / "uv" / "bin" / "uv", "pip"]
    target = ["--quiet", "--python", python_of(VENV)]
    # pip looks into all its indexes for the best version. The hashes make that safe for uv too.
    strategy = ["--index-strategy", "unsafe-best-match"]
    run(*uv, "sync", *target, *strategy, "--require-hashes", lock)
    # The dependencies are in place at their locked versions, hatchling among them, so
    # nothing below reaches for the index.
    editable = [word for folder in projects for word in ("--editable", folder)]
    run(*uv, "install", *target, "--no-deps", "--no-build-isolation", "--offline", *editable)
    stamp.write()


def workspace_projects() -> list[Path]:
    """The folders of all our distributions, the root first."""
    import tomllib  # absent from a Python that `missing_requirement` turns away

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    members = settings["tool"]["uv"]["workspace"]["members"]
    return [ROOT, *(folder for member in members for folder in sorted(ROOT.glob(member)))]


def adopt_pip_settings() -> None:
    """Let uv trust whom this machine trusts, and ask the package index that pip asks.

    What uv has been told itself, in its own variables or files, comes first.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        os.environ.setdefault("UV_SYSTEM_CERTS", "1")
    pip = [str(python_of(TOOLS / "uv")), "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=True).stdout
    found = pip_settings(listed)
    for setting, variable in PIP_SETTINGS_FOR_UV.items():
        if setting in found:
            os.environ.setdefault(variable, found[setting])


def pip_settings(listed: str) -> dict[str, str]:
    """Read what `pip config list` prints: `section.name='value'`, a later section winning."""
    settings = {}
    for section in ("global", "install", ":env:"):
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(f"{section}."):
                settings[key.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return settings


class Stamp:
    """Remembers in a folder what that folder was made from."""

    def __init__(self, folder: Path, sources: list[Path]) -> None:
        self._file = folder / ".made-from"
        # A virtual environment works only with its Python, and where it was made.
        self._place = digest_of([sys.version.encode(), bytes(ROOT)])
        self._sources = digest_of([source.read_bytes() for source in sources])

    def is_current(self) -> bool:
        return self._read() == [self._place, self._sources]

    def can_be_mended(self) -> bool:
        """Whether the folder can be brought up to date, rather than made anew."""
        return self._read()[:1] == [self._place]

    def write(self) -> None:
        self._file.write_text(f"{self._place}\n{self._sources}\n")

    def _read(self) -> list[str]:
        return self._file.read_text().split() if self._file.exists() else []


def digest_of(parts: list[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
