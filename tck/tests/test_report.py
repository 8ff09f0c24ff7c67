from __future__ import annotations

import io
import json

from rich.console import Console

from cloudstate_tck.case import Case, Phase, Result, Verdict
from cloudstate_tck.report import Report, as_json


async def run(examination):
    """Examine nothing."""


def case(id_: str, title: str, phase: Phase = Phase.MODEL) -> Case:
    return Case(id_, title, "eventsourced", phase, frozenset(), run)


PASSED = Result(case("E1", "it holds"), Verdict.PASSED, 0.0123)
PENDING = Result(case("E2", "it may hold"), Verdict.PENDING, reason="there is no such service")
FAILED = Result(
    case("EP3", "it does [not] hold", Phase.PROXY),
    Verdict.FAILED,
    0.5,
    reason="the reply to command 2",
    expected='Reply {\n  id: 2\n  text: "a"\n}',
    found='Reply {\n  id: 2\n  text: "b"\n}',
    transcript=("proxy → x: Command {", "}"),
)
SHORT = Result(
    case("EP4", "likewise", Phase.PROXY),
    Verdict.FAILED,
    reason="the status",
    expected="200",
    found="500",
)


def written(*results: Result, terminal: bool = False, width: int = 100) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, highlight=False)
    report = Report(console)
    report.start("user function 127.0.0.1:8080", len(results))
    for result in results:
        with report.running(result.case):
            pass
        report.finished(result)
    report.end(list(results), 1.234)
    return stream.getvalue()


def test_each_case_has_a_line_under_the_heading_of_its_kind_and_side():
    text = written(PASSED, PENDING, FAILED)

    assert text.count("Event sourced entities · user function\n") == 1
    assert text.count("Event sourced entities · proxy\n") == 1
    assert "✓ E1   it holds" in text
    assert "12 ms" in text
    assert "· E2   it may hold  pending: there is no such service" in text
    assert "✗ EP3  it does [not] hold" in text


def test_a_failure_shows_reason_difference_and_wire():
    text = written(FAILED)

    assert "the reply to command 2" in text
    assert '-   text: "a"' in text
    assert '+   text: "b"' in text
    assert "    id: 2" in text
    assert "what went over the wire" in text
    assert "proxy → x: Command {" in text


def test_a_short_failure_shows_expected_before_found():
    text = written(SHORT)

    assert text.index("expected  200") < text.index("found     500")


def test_the_summary_counts_every_verdict_and_says_how_long_it_took():
    assert "1 passed · 2 failed · 1 pending · 1.2 s" in written(PASSED, PENDING, FAILED, SHORT)
    assert "1 passed · 0 failed · 1.2 s" in written(PASSED)


def test_without_a_terminal_there_are_no_control_characters():
    assert "\x1b" not in written(PASSED, PENDING, FAILED)
    assert "\x1b" in written(PASSED, PENDING, FAILED, terminal=True)


def test_a_line_is_not_wrapped_in_a_narrow_window():
    [line] = [line for line in written(PENDING, width=30).splitlines() if "E2" in line]

    assert line.endswith("there is no such service")


def test_json_holds_the_summary_and_every_case():
    data = json.loads(as_json([PASSED, PENDING, FAILED]))

    assert data["summary"] == {"passed": 1, "failed": 1, "pending": 1}
    assert data["cases"][0] == {
        "id": "E1",
        "title": "it holds",
        "kind": "eventsourced",
        "examines": "model",
        "verdict": "passed",
        "duration_s": 0.0123,
        "reason": "",
        "expected": "",
        "found": "",
        "transcript": [],
    }
    assert data["cases"][2]["found"] == FAILED.found
    assert data["cases"][2]["transcript"] == list(FAILED.transcript)
