"""Pieces of code on a page of the documentation, and whether their files say the same.

A fence names its file: ```` ```python file=demo/quotas/entity.py ````. A line `# ...` or `// ...`
stands for lines that the page leaves out.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

FENCE = re.compile(
    r"^```(?P<language>\w+)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LEFT_OUT = re.compile(r"^(?:#|//) \.\.\.$", re.MULTILINE)


@dataclass(frozen=True)
class Excerpt:
    """A piece of code on the page, and the file it says it is from."""

    language: str
    file: str
    text: str


def excerpts(page: str) -> list[Excerpt]:
    """Return all fenced pieces of a page."""
    return [Excerpt(m["language"], m["file"] or "", m["text"]) for m in FENCE.finditer(page)]


def missing_piece(text: str, file: str) -> str | None:
    """Return the first piece of an excerpt that does not follow the one before it in the file."""
    lines, at = file.splitlines(), 0
    for piece in LEFT_OUT.split(text):
        wanted = textwrap.dedent(piece.strip("\n")).splitlines()
        found = _position(wanted, lines, at)
        if found is None:
            return piece
        at = found + len(wanted)
    return None


def _position(wanted: list[str], lines: list[str], start: int) -> int | None:
    """Return where the lines stand, at whatever indentation."""
    for at in range(start, len(lines) - len(wanted) + 1):
        window = "\n".join(lines[at : at + len(wanted)])
        if textwrap.dedent(window).splitlines() == wanted:
            return at
    return None
