"""Which headers pass between clients and user functions, with no I/O.

Reserved are the names that the transports and this runtime use for themselves: a client must not be
able to pass for either of them, nor a user function to break a response apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cloudstate.entity_pb2 import Metadata as WireMetadata

__all__ = [
    "CONDITION_HEADERS",
    "IDEMPOTENCY_KEY",
    "IF_MATCH",
    "MAX_HEADERS_BYTES",
    "grpc_headers",
    "http_headers",
    "is_passed_on",
]

#: Clients take so much in all by default (gRPC: 8 KiB of metadata) and give the call up beyond it.
#: And the time to compress a header for HTTP/2 grows with the square of its length.
MAX_HEADERS_BYTES = 8 * 1024

#: What HTTP/2 counts for each header beside its name and value (RFC 9113, section 6.5.2).
_HEADER_OVERHEAD_BYTES = 32

_RESERVED_PREFIXES = (":", "grpc-", "x-cloudstate-")

#: They belong to one connection, not to the request (RFC 9110, section 7.6.1).
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)

#: They say under what conditions a command is carried out, which is for the runtime to see to: a
#: user function that copied them into calls of its own would make conditions of those.
IDEMPOTENCY_KEY = "idempotency-key"
IF_MATCH = "if-match"
CONDITION_HEADERS = frozenset((IDEMPOTENCY_KEY, IF_MATCH))

_NOT_PASSED_ON = _HOP_BY_HOP | CONDITION_HEADERS

#: They say how the response's bytes are to be read, which is for the front end to say.
_FRAMING = frozenset(("content-encoding", "content-length", "content-type", "date", "server"))

_HTTP_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HTTP_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_GRPC_NAME = re.compile(r"[0-9a-z_.-]+")
_GRPC_VALUE = re.compile(r"[\x20-\x7e]*")


def is_passed_on(name: str) -> bool:
    """Return whether a header of a client becomes metadata.

    Args:
        name: In lower case.
    """
    return not (name.startswith(_RESERVED_PREFIXES) or name in _NOT_PASSED_ON)


def http_headers(metadata: WireMetadata) -> Iterator[tuple[str, str | None]]:
    """Yield the response headers for the metadata of a reply; None as value for one to drop.

    Only text is sent; a value of bytes has no form in a header. What does not fit any more is
    dropped.
    """
    left = MAX_HEADERS_BYTES
    for entry in metadata.entries:
        name, value = entry.key, entry.string_value
        size = len(name) + len(value) + _HEADER_OVERHEAD_BYTES
        legal = (
            size <= left
            and entry.WhichOneof("value") == "string_value"
            and _HTTP_NAME.fullmatch(name)
            and _HTTP_VALUE.fullmatch(value)
            and is_passed_on(name.lower())
            and name.lower() not in _FRAMING
        )
        if legal:
            left -= size
        yield name, value if legal else None


def grpc_headers(metadata: WireMetadata) -> Iterator[tuple[str, str | None]]:
    """Yield the initial metadata for the metadata of a reply; None as value for one to drop.

    Only text is sent, under a name in lower case. What does not fit any more is dropped.
    """
    left = MAX_HEADERS_BYTES
    for entry in metadata.entries:
        name, value = entry.key.lower(), entry.string_value
        size = len(name) + len(value) + _HEADER_OVERHEAD_BYTES
        legal = (
            size <= left
            and entry.WhichOneof("value") == "string_value"
            and _GRPC_NAME.fullmatch(name)
            and not name.endswith("-bin")
            and _GRPC_VALUE.fullmatch(value)
            and is_passed_on(name)
            and name not in _FRAMING
        )
        if legal:
            left -= size
        yield name, value if legal else None
