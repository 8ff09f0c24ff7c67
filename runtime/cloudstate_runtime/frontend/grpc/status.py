"""From a refusal to the trailers that end a call."""

from __future__ import annotations

import base64

from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RichStatus

from cloudstate.entity_pb2 import Failure
from cloudstate_core.failure_code import code_of
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.wire import encoded_text

__all__ = [
    "DEADLINE",
    "ETAG",
    "OK_TRAILERS",
    "RESPONSE_HEADERS",
    "STREAM_DEADLINE",
    "Aborted",
    "failure_refusal",
    "trailers",
]

Header = tuple[bytes, bytes]

RESPONSE_HEADERS: list[Header] = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
]

#: Follows those of an answer whose entity has a version.
ETAG = b"etag"

OK_TRAILERS: list[Header] = [(b"grpc-status", b"0")]

DEADLINE = Refusal(Status.DEADLINE_EXCEEDED, "the deadline passed before there was an answer")
STREAM_DEADLINE = Refusal(
    Status.DEADLINE_EXCEEDED, "the deadline passed before the end of the stream"
)

#: Clients refuse a block of headers above 8 KiB, and a byte of text may take three there.
_MAX_MESSAGE_BYTES = 2048


class Aborted(Exception):
    """A call is to end with a status.

    Attributes:
        refusal: The status.
    """

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.message)


def failure_refusal(failure: Failure) -> Refusal:
    """Return the status of a failure that a user function answered."""
    return Refusal(code_of(failure) or Status.UNKNOWN, failure.description)


def trailers(refusal: Refusal) -> list[Header]:
    """Return the trailers for a status other than OK."""
    message = _short(refusal.message)
    result = [
        (b"grpc-status", str(int(refusal.status)).encode()),
        (b"grpc-message", encoded_text(message)),
    ]
    if refusal.retry_after_s is not None:
        details = _retry_details(refusal, message)
        result.append((b"grpc-status-details-bin", base64.b64encode(details).rstrip(b"=")))
    return result


def _retry_details(refusal: Refusal, message: str) -> bytes:
    delay, packed = Duration(), PackedAny()
    delay.FromNanoseconds(round((refusal.retry_after_s or 0.0) * 1e9))
    packed.Pack(RetryInfo(retry_delay=delay))
    rich = RichStatus(code=refusal.status, message=message, details=[packed])
    return bytes(rich.SerializeToString())


def _short(message: str) -> str:
    data = message.encode(errors="replace")
    if len(data) <= _MAX_MESSAGE_BYTES:
        return message
    return data[:_MAX_MESSAGE_BYTES].decode(errors="ignore") + "…"
