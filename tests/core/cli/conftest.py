"""The command line as a process, with the core and the chat kind as its only plugins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import structlog

from cloudstate_core.cli import main

ROOMS = """
from chat_kind.entity import ChatEntity, room
entity = ChatEntity()
second = ChatEntity(room("second"))
twin = ChatEntity()
broken = ChatEntity(room("broken"), mistake="function f in file rooms.py: no such command")
"""

Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An application's folder."""
    (tmp_path / "rooms.py").write_text(ROOMS)
    others = sorted({entry.name for entry in entry_points(group="cloudstate")} - {"core"})
    (tmp_path / "cloudstate.toml").write_text(f"[plugins]\ndisabled = {others}\n")
    return tmp_path


@pytest.fixture
def start(folder: Path, site: Path) -> Iterator[Start]:
    """Returns what starts `cloudstate` in that folder, or other Python code there."""
    processes: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str, code: str = "from cloudstate_core.cli import main; main()", **environ: str
    ) -> subprocess.Popen[str]:
        clean = {key: value for key, value in os.environ.items() if key not in ("HOST", "PORT")}
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            cwd=folder,
            env=clean | {"PYTHONPATH": str(site)} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start: Start) -> Run:
    """Returns what runs `cloudstate` to its end: exit code, output, errors."""

    def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
        process = start(*arguments, **environ)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    return run


@pytest.fixture
def run_here(
    folder: Path, site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Returns the same within this process, which is faster; nothing must be left running."""
    for name in ("HOST", "PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])

    def run_here(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    yield run_here
    sys.modules.pop("rooms", None)
    structlog.reset_defaults()
