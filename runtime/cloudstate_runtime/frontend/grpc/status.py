"""From a refusal to a gRPC status."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RichStatus

from cloudstate.entity_pb2 import Failure
from cloudstate_core.failure_code import code_of
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal

__all__ = ["ServicerContext", "abort", "failure_refusal", "retry_details"]

ServicerContext = grpc.aio.ServicerContext[Any, Any]

_CODES: dict[Status, grpc.StatusCode] = {Status(code.value[0]): code for code in grpc.StatusCode}

#: A status travels in a header. Clients refuse a block of headers above 8 KiB, and a character may
#: take three bytes for each byte of its UTF-8.
_MAX_MESSAGE_BYTES = 2048


def failure_refusal(failure: Failure) -> Refusal:
    """Return the status of a failure that a user function answered."""
    return Refusal(code_of(failure) or Status.UNKNOWN, failure.description)


def retry_details(refusal: Refusal) -> bytes | None:
    """Return what goes into the trailer `grpc-status-details-bin`; None for nothing."""
    if refusal.retry_after_s is None:
        return None
    delay = Duration()
    delay.FromNanoseconds(round(refusal.retry_after_s * 1e9))
    packed = PackedAny()
    packed.Pack(RetryInfo(retry_delay=delay))
    rich = RichStatus(code=refusal.status, message=_short(refusal.message), details=[packed])
    return bytes(rich.SerializeToString())


async def abort(context: ServicerContext, refusal: Refusal) -> NoReturn:
    """End a call with a status.

    Raises:
        grpc.aio.AbortError: Always; gRPC catches it.
    """
    details = retry_details(refusal)
    trailers = () if details is None else (("grpc-status-details-bin", details),)
    await context.abort(_CODES[refusal.status], _short(refusal.message), trailers)


def _short(message: str) -> str:
    data = message.encode(errors="replace")
    if len(data) <= _MAX_MESSAGE_BYTES:
        return message
    return data[:_MAX_MESSAGE_BYTES].decode(errors="ignore") + "…"
