"""Three times as many calls as the server can serve, with and without the adaptive limit.

Server and generator have a core each, if there are two. Nobody waits for anybody: calls come at a
rate of their own (`bench.open_loop`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from bench.embedded import SERVICE, add_item
from bench.figures import Figure
from bench.placing import pinned
from bench.start import started_cart

__all__ = ["measure"]

ENTITIES = 2_000
SECONDS = 8.0
OVERLOAD = 3.0

#: How much of the capacity counts as hardly any load.
UNLOADED = 0.1

_OK, _EXHAUSTED = 0, 8

#: What is measured, with the settings of the section `runtime` for it.
_VARIANTS = {
    "adaptive limit": {},
    "adaptive limit, kept short": {"min_commands_in_flight": "8", "max_loop_lag_s": "0.001"},
    "control: no adaptive limit": {"adaptive_admission": "false"},
}


@dataclass(frozen=True)
class Answers:
    """What became of the calls of one load.

    Attributes:
        seconds: How long it was.
        took_ms: For each status, how long each call took, ascending.
    """

    seconds: float
    took_ms: dict[int, list[float]]

    def per_s(self, status: int) -> float:
        """Return how many calls a second ended so."""
        return len(self.took_ms.get(status, [])) / self.seconds

    def percentile_ms(self, status: int, share: float) -> float:
        """Return within which time that share of the calls ended so; 0 without any."""
        took = self.took_ms.get(status, [])
        return took[min(len(took) - 1, int(len(took) * share))] if took else 0.0


def measure() -> list[Figure]:
    """Overload the server with the adaptive limit, with a tighter one, and without any."""
    figures: list[Figure] = []
    capacity = 0.0
    for what, settings in _VARIANTS.items():
        with tempfile.TemporaryDirectory() as folder, _serving(Path(folder), settings) as load:
            load("--concurrent=64", seconds=2.0)  # until everything is warm
            capacity = capacity or load("--concurrent=64", seconds=4.0).per_s(_OK)
            before = load(f"--rate={capacity * UNLOADED}", seconds=4.0)
            over = load(f"--rate={capacity * OVERLOAD}", seconds=SECONDS)
            after = load(f"--rate={capacity * UNLOADED}", seconds=4.0)
            figures += _figures(what, capacity, before, over, after)
    return figures


def _figures(
    what: str, capacity: float, before: Answers, over: Answers, after: Answers
) -> list[Figure]:
    goodput, p99_ms = over.per_s(_OK), over.percentile_ms(_OK, 0.99)
    refused_ms = over.percentile_ms(_EXHAUSTED, 0.99)
    unloaded_ms = before.percentile_ms(_OK, 0.99)
    return [
        Figure(f"3 x overload, {what}: served", goodput, "/s", capacity, ">= 85 %",
               goodput >= 0.85 * capacity, "beside what 64 that wait for their answers get"),
        Figure("  p50 of what is served", over.percentile_ms(_OK, 0.5), "ms"),
        Figure("  p99 of what is served", p99_ms, "ms", unloaded_ms, "<= 5 x unloaded",
               p99_ms <= 5 * unloaded_ms, "beside that at a tenth of the capacity"),
        Figure("  refused", over.per_s(_EXHAUSTED), "/s"),
        Figure("  p50 until refused", over.percentile_ms(_EXHAUSTED, 0.5), "ms"),
        Figure("  p99 until refused", refused_ms, "ms", budget="<= 10 ms", kept=refused_ms <= 10),
        Figure("  p99 at a tenth of the capacity, right after", after.percentile_ms(_OK, 0.99),
               "ms", unloaded_ms, "recovers"),
    ]  # fmt: skip


@contextmanager
def _serving(folder: Path, settings: Mapping[str, str]) -> Iterator[_Load]:
    bodies = folder / "bodies"
    bodies.mkdir()
    for number in range(ENTITIES):
        message = add_item(f"user-{number}").payload.value
        body = b"\0" + len(message).to_bytes(4, "big") + message
        (bodies / f"{number:05}").write_bytes(body)
    variables = {f"CLOUDSTATE_RUNTIME_{key.upper()}": value for key, value in settings.items()}
    with patch.dict(os.environ, variables):
        process, port = started_cart(folder / "data", pinned(0))
    try:
        yield _Load(port, bodies, folder / "record")
    finally:
        process.terminate()
        process.communicate()


class _Load:
    """Loads a server, in a process of its own."""

    def __init__(self, port: int, bodies: Path, record: Path) -> None:
        self._port = port
        self._bodies = bodies
        self._record = record

    def __call__(self, how: str, *, seconds: float) -> Answers:
        subprocess.run(
            [
                *pinned(1),
                *(sys.executable, "-m", "bench.open_loop"),
                *(f"127.0.0.1:{self._port}", f"/{SERVICE}/AddItem"),
                *(str(self._bodies), str(self._record), how, f"--seconds={seconds}"),
            ],
            check=True,
        )
        took_ms: dict[int, list[float]] = {}
        for _, took_s, status in json.loads(self._record.read_text())["calls"]:
            took_ms.setdefault(status, []).append(took_s * 1000)
        for each in took_ms.values():
            each.sort()
        return Answers(seconds, took_ms)
