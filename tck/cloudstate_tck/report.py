"""What came of the cases, for a person and for a program."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from difflib import ndiff

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from cloudstate_tck.case import Case, Phase, Result, Verdict

__all__ = ["Report", "as_json"]

MARKS = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.PENDING: "·"}
STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.PENDING: "yellow"}
HEADINGS = {
    "action": "Actions",
    "crdt": "CRDTs",
    "discovery": "Discovery",
    "eventsourced": "Event sourced entities",
    "kv": "Value entities",
    "reflection": "Reflection",
}

EXAMINED = {
    Phase.MODEL: "user function",
    Phase.PROXY: "proxy",
    Phase.EVENTING: "proxy, eventing",
    Phase.HOSTILE: "proxy, hostile user function",
}

ID_WIDTH = 5
TITLE_WIDTH = 72


def as_json(results: Sequence[Result]) -> str:
    """Return the results as JSON: a summary, and one object for each case."""
    counted = Counter(result.verdict for result in results)
    return json.dumps(
        {
            "summary": {verdict.value: counted[verdict] for verdict in Verdict},
            "cases": [
                {
                    "id": result.case.id,
                    "title": result.case.title,
                    "kind": result.case.kind,
                    "examines": result.case.phase.name.lower(),
                    "verdict": result.verdict.value,
                    "duration_s": round(result.duration_s, 6),
                    "reason": result.reason,
                    "expected": result.expected,
                    "found": result.found,
                    "transcript": list(result.transcript),
                }
                for result in results
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


class Report:
    """Writes a line for each case as it ends, and at the end what failed and how."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._heading = ""

    def start(self, examined: str, count: int) -> None:
        """Say what is examined."""
        self._console.print(Text(f"{count} cases · {examined}", "bold"), soft_wrap=True)

    def running(self, case: Case) -> AbstractContextManager[object]:
        """Return what shows, on a terminal only, that a case is running."""
        return self._console.status(f"{case.id} {case.title}", spinner_style="cyan")

    def finished(self, result: Result) -> None:
        """Write one line, under a heading when a new kind begins."""
        heading = _heading(result.case)
        if heading != self._heading:
            self._heading = heading
            self._console.print()
            self._console.print(Text(heading, "bold cyan"))
        self._console.print(_line(result), soft_wrap=True)

    def end(self, results: Sequence[Result], duration_s: float) -> None:
        """Write the failures in full, and the count."""
        for result in results:
            if result.verdict is Verdict.FAILED:
                self._write_failure(result)
        counted = Counter(result.verdict for result in results)
        summary = Text("\n")
        for verdict in Verdict:
            if counted[verdict] or verdict is not Verdict.PENDING:
                style = STYLES[verdict] if counted[verdict] else "dim"
                summary.append(f"{counted[verdict]} {verdict.value}", style).append(" · ", "dim")
        summary.append(f"{duration_s:.1f} s", "dim")
        self._console.print(summary)

    def _write_failure(self, result: Result) -> None:
        self._console.print()
        title = Text(f"{result.case.id} {result.case.title}", "bold red")
        self._console.print(Rule(title, align="left", style="red"))
        self._console.print(Text(result.reason, "bold"))
        self._console.print(Padding(_difference(result.expected, result.found), (0, 0, 0, 2)))
        if result.transcript:
            self._console.print(Text("what went over the wire", "bold"))
            lines = Text("\n".join(result.transcript), "dim")
            self._console.print(Padding(lines, (0, 0, 0, 2)))


def _heading(case: Case) -> str:
    kind = HEADINGS.get(case.kind, case.kind)
    examined = EXAMINED.get(case.phase)
    return kind if examined is None else f"{kind} · {examined}"


def _line(result: Result) -> Text:
    line = Text(f"  {MARKS[result.verdict]} ", STYLES[result.verdict])
    line.append(f"{result.case.id:<{ID_WIDTH}}", "bold")
    title = result.case.title
    if result.verdict is Verdict.PENDING:
        return line.append(title).append(f"  pending: {result.reason}", "yellow")
    milliseconds = round(result.duration_s * 1000)
    return line.append(f"{title:<{TITLE_WIDTH}}").append(f"{milliseconds:>6} ms", "dim")


def _difference(expected: str, found: str) -> Text:
    """Show both; if both have many lines, in one text with the differences marked."""
    if "\n" not in expected or "\n" not in found:
        text = Text()
        text.append("expected  ", "green").append(f"{_indented(expected)}\n")
        return text.append("found     ", "red").append(_indented(found))
    text = Text("- expected", "green").append("  ").append("+ found\n", "red")
    for line in ndiff(expected.splitlines(), found.splitlines()):
        if not line.startswith("?"):
            style = {"-": "green", "+": "red"}.get(line[0], "dim")
            text.append(f"{line}\n", style)
    text.rstrip()
    return text


def _indented(value: str) -> str:
    return value.replace("\n", "\n          ")
