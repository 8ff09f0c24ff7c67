"""A body that is a stream of messages: a JSON document on each line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from google.protobuf.any_pb2 import Any as PackedAny

from cloudstate_core.errors import LimitExceeded, MalformedRequest
from cloudstate_runtime.frontend.http.asgi import Receive

__all__ = ["MessageLines", "is_lines"]

_KINDS = ("application/x-ndjson", "application/ndjson")


def is_lines(content_type: str | None) -> bool:
    """Return whether a body has a document on each line, and not one in all."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() in _KINDS


class MessageLines(AsyncIterator[PackedAny]):
    """The messages of a request, read when they are asked for and not before.

    An empty line is no message.

    Args:
        receive: Brings the parts of the body.
        read: Makes the request message for a line.
        type_url: What an `Any` with a request message says.
        max_bytes: The longest line.
    """

    def __init__(
        self, receive: Receive, read: Callable[[bytes], bytes], type_url: str, max_bytes: int
    ) -> None:
        self._receive = receive
        self._read = read
        self._type_url = type_url
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._searched_bytes = self._line_number = 0
        self._has_all = False

    async def __anext__(self) -> PackedAny:
        """Return the next message.

        Raises:
            MalformedRequest: If a line is no such message, with its number.
            LimitExceeded: If a line is too long or what it holds too deep or too large.
        """
        while True:
            line = self._next_line()
            if line is None:
                await self._receive_more()
            elif line.strip():
                return PackedAny(type_url=self._type_url, value=self._message(line))

    def _next_line(self) -> bytes | None:
        """Return the next line; None if it is not complete."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._searched_bytes)
        if end < 0 and self._has_all:
            if not buffer:
                raise StopAsyncIteration
            end = len(buffer)
        if end > self._max_bytes or (end < 0 and len(buffer) > self._max_bytes):
            raise LimitExceeded(
                f"line {self._line_number + 1}: expected at most {self._max_bytes} bytes, "
                "found more"
            )
        if end < 0:
            self._searched_bytes = len(buffer)
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        self._searched_bytes = 0
        self._line_number += 1
        return line

    async def _receive_more(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            # Whoever reads on is about to be told to stop; what is missing must not look complete.
            raise MalformedRequest("the connection ended before the request")
        self._buffer += message["body"]
        self._has_all = not message["more_body"]

    def _message(self, line: bytes) -> bytes:
        try:
            return self._read(line)
        except MalformedRequest as error:
            raise MalformedRequest(f"line {self._line_number}: {error}") from error
        except LimitExceeded as error:
            raise LimitExceeded(f"line {self._line_number}: {error}") from error
