from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import UserFunctionError
from cloudstate_core.log import configure
from cloudstate_core.log_instrument import LogInstrument
from cloudstate_core.settings import LogSettings

ENTITY = DeployedEntity("test.Type", "example.Cart", "cart", None, {}, "cart.proto")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test sets up is gone after it."""
    root = logging.getLogger()
    level = root.level
    monkeypatch.delenv("NO_COLOR", raising=False)
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    root.setLevel(level)
    for handler in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        root.removeHandler(handler)


def set_up(settings: LogSettings, stream: io.StringIO) -> None:
    """Configure as a process does in which nothing else logs; pytest would count as something."""
    logging.getLogger().handlers.clear()
    configure(settings, stream)


def logged_as(settings: LogSettings, stream: io.StringIO, event: str = "happened", **keys) -> str:
    set_up(settings, stream)
    structlog.get_logger().info(event, **keys)
    return stream.getvalue()


def test_importing_sets_up_nothing() -> None:
    code = """
import logging, structlog
import cloudstate.cloudstate, cloudstate_core.cli, cloudstate_core.host.app, cloudstate_core.plugin
assert not structlog.is_configured()
assert logging.getLogger().handlers == []
assert logging.getLogger().level == logging.WARNING
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_a_file_gets_json() -> None:
    line = logged_as(LogSettings(), io.StringIO(), entity_id="e1", count=3)

    entry = json.loads(line)
    assert (entry["event"], entry["entity_id"], entry["count"]) == ("happened", "e1", 3)
    assert entry["level"] == "info"
    assert entry["timestamp"].endswith("Z")
    assert line.count("\n") == 1


def test_a_terminal_gets_colours() -> None:
    line = logged_as(LogSettings(), Terminal(), entity_id="e1")

    assert "\x1b[" in line
    assert "e1" in line


def test_a_terminal_that_wants_no_colours_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b" not in logged_as(LogSettings(), Terminal(), entity_id="e1")


def test_the_form_can_be_chosen() -> None:
    console = logged_as(LogSettings(format="console"), io.StringIO(), entity_id="e1")
    structlog.reset_defaults()
    as_json = logged_as(LogSettings(format="json"), Terminal())

    assert "entity_id=e1" in console
    assert "\x1b" not in console
    assert json.loads(as_json)["event"] == "happened"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_less_severe_messages_are_left_out(level, expected: list[str]) -> None:
    stream = io.StringIO()
    set_up(LogSettings(level=level), stream)

    for each in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), each)(each)
        logging.getLogger("some.library").log(getattr(logging, each.upper()), "library %s", each)

    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert [event for event in events if "library" not in event] == expected
    assert [event for event in events if "library" in event] == [f"library {e}" for e in expected]


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "console"])
@pytest.mark.parametrize(
    "nasty",
    [
        "\x1b[31mred",
        "two\nlines",
        "back\rto the start",
        "\x9b31m",
        "\u2028line",
        "\u202eesrever",
        "\x00",
        "\x7f",
        "\ud800",
    ],
)
def test_a_value_cannot_steer_the_terminal_or_forge_a_line(
    stream, nasty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream.truncate(0)
    stream.seek(0)
    settings = LogSettings(format="json" if not stream.isatty() else "console")

    class Odd:
        def __repr__(self) -> str:
            return nasty

    text = logged_as(
        settings, stream, nasty, plain=nasty, deep={"k": [nasty]}, keyed={nasty: 1}, odd=Odd()
    )

    content = text.removesuffix("\n")
    assert not any(each in content for each in nasty if not each.isprintable())
    assert text.count("\n") == 1


def test_what_the_standard_library_logs_is_escaped_as_well() -> None:
    stream = io.StringIO()
    set_up(LogSettings(), stream)

    logging.getLogger("some.library").warning("got %s", "\x1b[31m\nforged")

    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry["logger"] == "some.library"
    assert entry["event"] == "got \\x1b[31m\\x0aforged"


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_traceback_shows_where_and_no_variables(format_) -> None:
    stream = io.StringIO()
    set_up(LogSettings(format=format_), stream)

    def inner() -> None:
        payload = "the payload " + "itself"
        raise ValueError(f"\x1b[2J{len(payload)}")

    try:
        inner()
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)

    assert "in inner" in stream.getvalue()
    assert "the payload itself" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_an_application_that_logs_its_own_way_keeps_it() -> None:
    root = logging.getLogger()
    chosen = list(root.handlers)
    processor = structlog.processors.KeyValueRenderer()
    structlog.configure(processors=[processor])
    assert chosen, "pytest has handlers of its own here"

    configure(LogSettings(level="debug"), io.StringIO())

    assert root.handlers == chosen
    assert root.level == logging.WARNING
    assert structlog.get_config()["processors"] == [processor]


def test_a_reader_that_went_away_stops_nobody() -> None:
    stream = io.StringIO()
    set_up(LogSettings(), stream)
    stream.close()

    structlog.get_logger().error("nobody reads this")


def test_entities_that_come_and_go_are_details() -> None:
    with structlog.testing.capture_logs() as entries:
        LogInstrument().entity_activated(ENTITY, "e1")
        LogInstrument().entity_passivated(ENTITY, "e1")
        LogInstrument().command_handled(ENTITY, "Add", 0.1)

    assert [(entry["event"], entry["log_level"]) for entry in entries] == [
        ("entity_activated", "debug"),
        ("entity_passivated", "debug"),
    ]
    assert {entry["entity_id"] for entry in entries} == {"e1"}
    assert {entry["service"] for entry in entries} == {"example.Cart"}


def test_a_crash_is_a_warning_with_what_the_client_does_not_see() -> None:
    with structlog.testing.capture_logs() as entries:
        LogInstrument().entity_crashed(ENTITY, "e1", UserFunctionError("broke", detail="at once"))

    (entry,) = entries
    assert (entry["event"], entry["log_level"]) == ("entity_crashed", "warning")
    assert (entry["error"], entry["detail"], entry["exc_info"]) == ("broke", "at once", None)
    assert (entry["entity_type"], entry["entity_id"]) == ("test.Type", "e1")


def test_a_crash_by_a_defect_is_logged_with_its_origin() -> None:
    error = KeyError()

    with structlog.testing.capture_logs() as entries:
        LogInstrument().entity_crashed(ENTITY, "e1", error)

    assert entries[0]["exc_info"] is error
    assert entries[0]["error"] == "KeyError"
