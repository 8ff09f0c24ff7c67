"""The four shapes that a method can have."""

from __future__ import annotations

from typing import Protocol

from cloudstate_core.value import value

__all__ = ["STREAM", "STREAM_IN", "STREAM_OUT", "UNARY", "Shape", "shape_of"]


@value
class Shape:
    """One shape.

    Attributes:
        client_streaming: Whether the caller sends a stream.
        server_streaming: Whether the caller receives a stream.
        decorator: What declares a handler for it.
        what: The shape in words.
    """

    client_streaming: bool
    server_streaming: bool
    decorator: str
    what: str


UNARY = Shape(False, False, "unary_handler", "one message and one reply")
STREAM_IN = Shape(True, False, "stream_in_handler", "a stream of messages and one reply")
STREAM_OUT = Shape(False, True, "stream_out_handler", "one message and a stream of replies")
STREAM = Shape(True, True, "stream_handler", "a stream of messages and a stream of replies")


class _Streams(Protocol):
    @property
    def client_streaming(self) -> bool: ...

    @property
    def server_streaming(self) -> bool: ...


def shape_of(method: _Streams) -> Shape:
    """Return the shape of a method, given its descriptor or whatever else knows."""
    if method.client_streaming:
        return STREAM if method.server_streaming else STREAM_IN
    return STREAM_OUT if method.server_streaming else UNARY
