"""What gRPC needs to know of HTTP/2 beside what `h2` does, with no I/O."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings

from cloudstate_core.frontend import Limits
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.prepared import PreparedEncoder

__all__ = [
    "DEFAULT_WINDOW_BYTES",
    "MAX_STREAM_ID",
    "connection_window_bytes",
    "goaway_frame",
    "head_refusal",
    "open_connection",
    "request_line",
]

Header = tuple[bytes, bytes]

#: What a window is before anybody has said otherwise (RFC 9113, section 6.9.2).
DEFAULT_WINDOW_BYTES = 65_535

#: The last stream there could be.
MAX_STREAM_ID = 2**31 - 1

#: How much a client may send ahead on one stream. A message up to here needs no round trip.
_STREAM_WINDOW_BYTES = 256 * 1024

#: How many times the largest block of headers is still read, so that only its call is refused.
#: Beyond that the connection ends: headers that were not read leave its table unknown.
_READ_HEADERS_TIMES = 4

#: What one header counts for beside its name and value (RFC 9113, section 6.5.2).
_HEADER_BYTES = 32


def open_connection(limits: Limits) -> H2Connection:
    """Return the server's end of a connection that nothing was said on yet."""
    # What it would check and mend in headers is checked by `metadata_of` and by whoever makes them.
    connection = H2Connection(
        H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    connection.encoder = PreparedEncoder()
    # Initial values hold at once; changed ones would only once the client has confirmed them.
    connection.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams_per_connection,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_metadata_bytes,
            SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW_BYTES,
        },
    )
    connection.decoder.max_header_list_size = _READ_HEADERS_TIMES * limits.max_metadata_bytes
    return connection


def connection_window_bytes(limits: Limits) -> int:
    """Return how much a client may send ahead on all streams together.

    It is what fills every stream, so that streams that nobody reads hold no other one up.
    """
    return limits.max_streams_per_connection * _STREAM_WINDOW_BYTES


def goaway_frame(last_stream_id: int) -> bytes:
    """Return the frame that says which streams are the last (RFC 9113, section 6.8)."""
    payload = last_stream_id.to_bytes(4, "big") + int(ErrorCodes.NO_ERROR).to_bytes(4, "big")
    return len(payload).to_bytes(3, "big") + b"\x07\x00" + bytes(4) + payload


def request_line(headers: list[Header]) -> tuple[str, bytes | None, str, bool, int]:
    """Return path, timeout and encoding of a request, whether it is one of gRPC, and its length.

    The length is that of all headers, in bytes, as `MAX_HEADER_LIST_SIZE` counts them.
    """
    path, wanted_s, encoding = "", None, "identity"
    is_post = is_grpc = False
    size_bytes = _HEADER_BYTES * len(headers)
    for name, value in headers:
        size_bytes += len(name) + len(value)
        if name == b":path":
            path = value.decode("latin-1")
        elif name == b":method":
            is_post = value == b"POST"
        elif name == b"content-type":
            kind = value.partition(b";")[0].strip()
            is_grpc = kind in (b"application/grpc", b"application/grpc+proto")
        elif name == b"grpc-timeout":
            wanted_s = value
        elif name == b"grpc-encoding":
            encoding = value.decode("latin-1")
    return path, wanted_s, encoding, is_post and is_grpc, size_bytes


def head_refusal(encoding: str, size_bytes: int, limits: Limits) -> Refusal | None:
    """Return why a request is not read because of its headers; None if it is."""
    if size_bytes > limits.max_metadata_bytes:
        expected = f"expected at most {limits.max_metadata_bytes} bytes of headers"
        return Refusal(Status.RESOURCE_EXHAUSTED, f"{expected}, found {size_bytes}")
    if encoding not in ("identity", "gzip"):
        reason = f"expected grpc-encoding 'gzip' or none, found {encoding[:80]!r}"
        return Refusal(Status.UNIMPLEMENTED, reason)
    return None
