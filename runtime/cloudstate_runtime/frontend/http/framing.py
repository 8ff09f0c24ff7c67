"""How the elements of a stream become the body of an HTTP response, with no I/O."""

from __future__ import annotations

from typing import ClassVar, Protocol

__all__ = ["EventFraming", "Framing", "LineFraming", "RawFraming", "framing_for"]

_EVENTS = "text/event-stream"
_LINES = "application/x-ndjson"


class Framing(Protocol):
    """One way to tell elements apart.

    Attributes:
        content_type: What the response is; None if that is for the first element to say.
        heartbeat: What may be sent to a client between two elements; empty for nothing.
        error_is_an_end: Whether the body is complete after an error. If not, the client knows by
            its missing end that elements are missing.
    """

    content_type: ClassVar[str | None]
    heartbeat: ClassVar[bytes]
    error_is_an_end: ClassVar[bool]

    def element(self, body: bytes) -> bytes:
        """Return what is sent for an element."""
        ...

    def error(self, status: bytes) -> bytes:
        """Return what is sent in the end for an error, a `google.rpc.Status` as JSON."""
        ...


class EventFraming:
    """Server-sent events: an element is an event, an error is an event of that name."""

    content_type: ClassVar[str | None] = _EVENTS
    heartbeat: ClassVar[bytes] = b":\n\n"
    error_is_an_end: ClassVar[bool] = True

    def element(self, body: bytes) -> bytes:
        return b"data: " + _data(body) + b"\n\n"

    def error(self, status: bytes) -> bytes:
        return b"event: error\ndata: " + _data(status) + b"\n\n"


def _data(body: bytes) -> bytes:
    # A line break ends a field; the client puts the lines of several fields together again.
    if b"\n" in body or b"\r" in body:
        body = b"\ndata: ".join(body.splitlines())
    return body


class LineFraming:
    """A JSON document on each line; an error is one with nothing but `error`, on the last line."""

    content_type: ClassVar[str | None] = _LINES
    heartbeat: ClassVar[bytes] = b""
    error_is_an_end: ClassVar[bool] = False

    def element(self, body: bytes) -> bytes:
        # Between its tokens JSON may have line breaks; inside of them it never has.
        return b" ".join(body.splitlines()) + b"\n"

    def error(self, status: bytes) -> bytes:
        return b'{"error":' + status + b"}\n"


class RawFraming:
    """The bytes of `google.api.HttpBody`, one after another; there is no room for an error."""

    content_type: ClassVar[str | None] = None
    heartbeat: ClassVar[bytes] = b""
    error_is_an_end: ClassVar[bool] = False

    def element(self, body: bytes) -> bytes:
        return body

    def error(self, status: bytes) -> bytes:
        del status
        return b""


def framing_for(accept: str) -> Framing:
    """Return what a client gets that accepts this: events if it asks for them, else lines.

    Args:
        accept: The header `Accept`; empty for none. A range such as `*/*` asks for nothing.
    """
    events, lines = _quality(accept, _EVENTS), _quality(accept, _LINES)
    return EventFraming() if events > 0 and events >= lines else LineFraming()


def _quality(accept: str, kind: str) -> float:
    """Return how much a type is wanted (RFC 9110, section 12.4.2); 0 if it is not named."""
    for part in accept.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        if name == kind:
            weights = (each[2:] for each in parameters if each.startswith("q="))
            return _number(next(weights, "1"))
    return 0.0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
