"""From the command line to the first answer, and what it takes in memory."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.embedded import EXAMPLE
from bench.figures import Figure

__all__ = ["measure", "started", "started_cart"]

STARTS = 5


def measure() -> list[Figure]:
    """Start the embedded cart some times; return the median time and the resident memory."""
    times_s, resident_mb = [], 0.0
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as data:
            began_s = time.perf_counter()
            process, _ = started_cart(Path(data))
            times_s.append(time.perf_counter() - began_s)
            resident_mb = _resident_mb(process.pid)
            process.terminate()
            process.wait()
    median_s = sorted(times_s)[STARTS // 2]
    return [
        Figure("start to ready, embedded", median_s, "s", budget="<= 1 s", kept=median_s <= 1.0),
        Figure("resident when ready", resident_mb, "MB", budget="<= 80 MB", kept=resident_mb <= 80),
    ]


def started_cart(data: Path, prefix: list[str] | None = None) -> tuple[subprocess.Popen[str], int]:
    """Start `cloudstate run` on the shopping cart; return the process and its port when ready."""
    return started(["shoppingcart.shopping_cart_entity:entity"], EXAMPLE, data, prefix)


def started(
    entities: Sequence[str], folder: Path, data: Path, prefix: list[str] | None = None
) -> tuple[subprocess.Popen[str], int]:
    """Start `cloudstate run` in a folder; return the process and its port when it is ready."""
    process = subprocess.Popen(
        [
            *(prefix or []),
            str(Path(sys.executable).with_name("cloudstate")),
            "run",
            *entities,
            "--port=0",
            f"--data={data}",
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if found is not None:
            return process, int(found.group(1))
    raise RuntimeError("the server ended before it was ready")


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    return 0.0
