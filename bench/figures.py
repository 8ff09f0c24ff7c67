"""Figures, and the table they are shown in."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["Figure", "machine", "print_table", "rows"]


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Attributes:
        path: What.
        value: How much.
        unit: Of what.
        echo: The same measure of the bare transport or store, in the same run; None if there is
            nothing to compare with.
        budget: What was promised, in words.
        kept: Whether the promise was kept; None if none was made.
        note: What one must know to read the figure.
    """

    path: str
    value: float
    unit: str
    echo: float | None = None
    budget: str = ""
    kept: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The figure as a share of its echo."""
        return self.value / self.echo if self.echo else None


def machine() -> str:
    """Return what the figures were measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {cpu}, {memory_gib:.0f} GiB, Python "
        f"{platform.python_version()}, grpcio {version('grpcio')}, protobuf {version('protobuf')}"
    )


def print_table(figures: Sequence[Figure]) -> None:
    """Print figures for people."""
    table = Table(title=machine(), title_justify="left", caption_justify="left")
    for heading in ("path", "measured", "echo", "ratio", "budget", ""):
        table.add_column(heading, justify="right" if heading in {"measured", "echo"} else "left")
    for figure in figures:
        table.add_row(
            figure.path + (f"\n  {figure.note}" if figure.note else ""),
            f"{_number(figure.value)} {figure.unit}",
            "" if figure.echo is None else f"{_number(figure.echo)} {figure.unit}",
            "" if figure.ratio is None else f"{figure.ratio:.0%}",
            figure.budget,
            {None: "", True: "kept", False: "MISSED"}[figure.kept],
        )
    console = Console()
    if not console.is_terminal:
        console.width = 140
    console.print(table)


def rows(figures: Sequence[Figure]) -> list[dict[str, object]]:
    """Return figures for machines."""
    return [{**asdict(figure), "ratio": figure.ratio} for figure in figures]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
