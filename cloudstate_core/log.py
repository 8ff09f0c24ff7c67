"""How this process logs: coloured lines for people, JSON for machines.

Importing this module, or any other of ours, sets nothing up. Whoever owns the process (the command
line, or an application that starts itself) calls `configure` once; a library stays silent about
where its messages go.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import TextIO, cast

import structlog
from structlog.types import EventDict, Processor

from cloudstate_core.settings import LogSettings

__all__ = ["configure", "escape_control_characters"]

# Control characters move the cursor or forge lines; direction marks make a line read differently
# from what it is; surrogates cannot be written at all.
_UNSAFE = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_IN_LINES = re.compile(f"[{_UNSAFE}]")
_IN_TRACEBACKS = re.compile(f"(?![\n\t])[{_UNSAFE}]")

#: What structlog's own processors put there; these have several lines.
_TRACEBACKS = ("exception", "stack")


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send what structlog and the standard library log to one stream, in one form.

    An application that has set either of them up already keeps what it has chosen for it.

    Args:
        settings: The level and the form.
        stream: Where to. Defaults to the standard error stream.
    """
    stream = sys.stderr if stream is None else stream
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    renderer = _renderer(settings, stream)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        escape_control_characters,
    ]
    if not structlog.is_configured():
        structlog.configure(
            processors=[*shared, renderer],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Lenient(stream))),
        )
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_handler(stream, shared, renderer))
        root.setLevel(level)


def _renderer(settings: LogSettings, stream: TextIO) -> Processor:
    terminal = stream.isatty()
    if settings.format == "json" or (settings.format == "auto" and not terminal):
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=terminal and not os.environ.get("NO_COLOR"),
        # A rich traceback would show local variables, and payloads with them.
        exception_formatter=structlog.dev.plain_traceback,
    )


def _handler(stream: TextIO, shared: list[Processor], renderer: Processor) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                escape_control_characters,
                renderer,
            ],
        )
    )
    return handler


class _Lenient:
    """A stream whose reader may go away without stopping whoever logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def escape_control_characters(_logger: object, _method: str, event: EventDict) -> EventDict:
    r"""Write every control character in a value as an escape such as `\x1b`.

    Values come from clients: an entity id must not forge a line or steer somebody's terminal.
    """
    for key, value in event.items():
        if key in _TRACEBACKS and isinstance(value, str):
            event[key] = _IN_TRACEBACKS.sub(_escape, value)
        elif not key.startswith("_"):
            event[key] = _safe(value)
    return event


def _safe(value: object) -> object:
    match value:
        case str():
            return _IN_LINES.sub(_escape, value)
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(_safe(str(key))): _safe(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_safe(inner) for inner in value]
        case _:
            return _safe(repr(value))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
