"""Refusing HTTP requests by their heads, before they are read further."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import httptools

from cloudstate_core.door import Door
from cloudstate_core.errors import LimitExceeded
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.http.errors import Response, refusal_response

__all__ = ["Gate", "response_bytes"]

#: With room for so many requests, those that come in one turn of the loop are not counted.
_PLENTY = 256

_CLOSE = (b"connection", b"close")


class Gate:
    """Says of each request whether there is room for it, and what to answer if not."""

    def __init__(self, door: Door, is_command: Callable[[str, str], bool]) -> None:
        """Keep the collaborators.

        Args:
            door: Says whom to refuse.
            is_command: Says by method and path whether a request is for a user function, with a
                body that has an end. Nothing else is refused here.
        """
        self._door = door
        self._is_command = is_command
        self._error: LimitExceeded | None = None
        self._answers: dict[bool, bytes] = {}

    def lets_in(self, method: bytes, url: bytes) -> bool:
        """Return whether a request is to be read; count it either way."""
        door = self._door
        room = door.room()
        if room > _PLENTY:
            return True
        if not self._is_command(method.decode("latin-1"), _path(url)):
            return True
        if room > 0:
            door.expect(1)
            return True
        door.turned_away(1)
        return False

    def answer(self, *, keep_alive: bool) -> bytes:
        """Return what to send to a client that was not let in."""
        error = self._door.refusal()
        if error is not self._error:
            # The same for the same, so that it is made once.
            self._error = error
            refusal = Refusal(error.status, str(error), error.retry_after_s, error.http_status)
            response = refusal_response(refusal)
            self._answers = {
                True: response_bytes(response),
                False: response_bytes(response, _CLOSE),
            }
        return self._answers[keep_alive]


def response_bytes(response: Response, *headers: tuple[bytes, bytes]) -> bytes:
    """Return a whole response as it is sent."""
    head = [b"HTTP/1.1 %d %b\r\n" % (response.status, _phrase(response.status))]
    head += [b"%b: %b\r\n" % header for header in (*response.headers, *headers)]
    length = b"content-length: %d\r\n\r\n" % len(response.body)
    return b"".join((*head, length, response.body))


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:  # one that is customary, and no standard
        return b""


def _path(url: bytes) -> str:
    try:
        return str(httptools.parse_url(url).path.decode("latin-1"))
    except (httptools.HttpParserInvalidURLError, AttributeError):
        return ""  # whoever reads it says what is wrong
