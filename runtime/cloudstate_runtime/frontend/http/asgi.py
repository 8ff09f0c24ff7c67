"""ASGI's messages: whole bodies in, whole responses out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from http import HTTPStatus
from typing import Any

import structlog

from cloudstate.entity_pb2 import Metadata as WireMetadata
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.headers import http_headers
from cloudstate_runtime.frontend.http.errors import Response, error_response
from cloudstate_runtime.frontend.http.incoming import Headers

__all__ = [
    "ClientGone",
    "Message",
    "Receive",
    "Send",
    "reply_headers",
    "send_response",
    "too_large",
    "whole_body",
]

log = structlog.get_logger()

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: A body that is too large is read up to this many times the limit and thrown away, so that the
#: client gets to read why, instead of a reset connection.
_DISCARDED_BODIES = 4

_CLOSE = (b"connection", b"close")


class ClientGone(Exception):
    """The connection ended before the request was complete; there is nobody to answer."""


async def whole_body(headers: Headers, receive: Receive, max_bytes: int) -> bytes | None:
    """Return the whole body; None if it is too large, after the client had time to send it.

    Raises:
        ClientGone: If it never came.
    """
    if _is_hopeless(headers, max_bytes):
        return None
    parts, size = bytearray(), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message["body"])
        if size <= max_bytes:
            parts += message["body"]
        if not message["more_body"]:
            return bytes(parts) if size <= max_bytes else None
        if size > max_bytes * _DISCARDED_BODIES:
            return None


def _is_hopeless(headers: Headers, max_bytes: int) -> bool:
    """Return whether a body is too large and the client may be told before it has sent it."""
    announced = headers.content_length or 0
    return announced > max_bytes and (
        headers.expects_continue or announced > max_bytes * _DISCARDED_BODIES
    )


def too_large(max_bytes: int) -> Response:
    """Return the response to a body that is too large."""
    return error_response(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        Status.RESOURCE_EXHAUSTED,
        f"expected at most {max_bytes} bytes of body, found more",
        _CLOSE,
    )


def reply_headers(metadata: WireMetadata, version: int | None) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers for the metadata of a reply of an entity of that version, if it has one."""
    for name, value in http_headers(metadata):
        if value is None or (name.lower() == "etag" and version is not None):
            log.warning("reply_header_dropped", name=name)
        else:
            yield name.encode(), value.encode("latin-1")


async def send_response(response: Response, send: Send) -> None:
    """Send a whole response."""
    headers = list(response.headers)
    if response.status != HTTPStatus.NO_CONTENT:
        headers.append((b"content-length", b"%d" % len(response.body)))
    if response.version is not None:
        headers.append((b"etag", b'"%d"' % response.version))
    await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
