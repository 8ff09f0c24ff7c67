"""What an attempt to deliver a message amounts to, by what was raised. No I/O."""

from __future__ import annotations

from cloudstate_core.errors import (
    AlreadyReceived,
    CloudstateError,
    LimitExceeded,
    RequestError,
    Stopping,
    StoreUnavailable,
)
from cloudstate_runtime.durable.machine import Verdict

__all__ = ["reason_of", "verdict_of"]


def verdict_of(error: Exception) -> str:
    """Return the verdict on an attempt that ended with an error."""
    match error:
        case AlreadyReceived():
            return Verdict.DONE
        # Neither the message nor its target has anything to do with these.
        case Stopping() | StoreUnavailable():
            return Verdict.NOT_NOW
        case LimitExceeded(retry_after_s=retry_after_s) if retry_after_s is not None:
            return Verdict.NOT_NOW
        case RequestError(retryable=False):
            return Verdict.REFUSED
        case _:
            return Verdict.FAILED


def reason_of(error: Exception) -> str:
    """Return what an operator needs to know of an error."""
    if not isinstance(error, CloudstateError):
        return f"an error of type {type(error).__name__}; see the log of the runtime"
    return f"{error}: {error.detail}" if error.detail else str(error)
