"""How a call of the protocol ends with an error."""

from __future__ import annotations

from typing import Any

import grpc
import structlog
from grpc import aio

__all__ = ["end_with_error"]

_log = structlog.get_logger(__name__)


async def end_with_error(
    context: aio.ServicerContext[Any, Any], code: grpc.StatusCode, details: str
) -> None:
    """End a call with an error, if it has not ended.

    The other end may have gone away, or the server have stopped, since it was decided on. That is
    no failure of the user function, and gRPC would put it into the log as one.

    Raises:
        AbortError: As gRPC expects it of a call that is ended.
    """
    try:
        await context.abort(code, details)
    except aio.UsageError as error:
        _log.debug("call_has_ended", code=code.name, error=str(error))
