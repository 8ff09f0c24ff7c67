"""What an HTTP client sees when its request is not carried out, with no I/O.

Errors of this runtime are a `google.rpc.Status` as JSON. A failure that a user function answers is
its description as plain text (Cloudstate protocol, HTTP front end).
"""

from __future__ import annotations

import json
import math
from http import HTTPStatus

from cloudstate.entity_pb2 import Failure
from cloudstate_core.failure_code import code_of
from cloudstate_core.status import HTTP_STATUS, Status
from cloudstate_core.value import value
from cloudstate_runtime.frontend.calls import Refusal

__all__ = ["Response", "error_response", "failure_response", "refusal_response"]

Header = tuple[bytes, bytes]

_PLAIN = (b"content-type", b"text/plain; charset=utf-8")
_JSON = (b"content-type", b"application/json")
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


@value
class Response:
    """A whole response.

    Attributes:
        status: Such as 200.
        body: The body.
        headers: All headers but the length of the body and the version.
        version: Of the entity that has answered; None for none.
    """

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    version: int | None = None


def error_response(
    http_status: int,
    code: Status,
    message: str,
    *headers: Header,
    details: tuple[dict[str, str], ...] = (),
) -> Response:
    """Return an error of this runtime."""
    status = {"code": int(code), "message": message, "details": details}
    body = json.dumps(status, ensure_ascii=False, separators=(",", ":"))
    return Response(http_status, body.encode(errors="replace"), (_JSON, *headers))


def refusal_response(refusal: Refusal) -> Response:
    """Return the response for a request that was refused or failed."""
    if refusal.retry_after_s is None:
        return error_response(_http_status(refusal), refusal.status, refusal.message)
    whole_s = max(1, math.ceil(refusal.retry_after_s))
    retry_info = {"@type": _RETRY_INFO, "retryDelay": f"{refusal.retry_after_s:.9f}s"}
    return error_response(
        _http_status(refusal),
        refusal.status,
        refusal.message,
        (b"retry-after", str(whole_s).encode()),
        details=(retry_info,),
    )


def failure_response(failure: Failure) -> Response:
    """Return the response for a failure that a user function answered."""
    code = code_of(failure) or Status.UNKNOWN
    return Response(HTTP_STATUS[code], failure.description.encode(), (_PLAIN,))


def _http_status(refusal: Refusal) -> int:
    if refusal.http_status is not None:
        return refusal.http_status
    if refusal.status is Status.RESOURCE_EXHAUSTED and refusal.retry_after_s is None:
        # It will not get smaller by waiting.
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return HTTP_STATUS[refusal.status]
