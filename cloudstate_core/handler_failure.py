"""What a handler raised, as a failure of its command and of nothing else.

An event loop ends when `SystemExit` or `KeyboardInterrupt` reaches it, and whoever catches
`Exception` misses both. A handler that calls `sys.exit` would so end a process in which others are
served.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from functools import partial

__all__ = ["failure_of"]


def failure_of(error: BaseException) -> Exception:
    """Return what a handler raised as an exception that fails the command.

    Args:
        error: What was caught around a call of the application's code.

    Returns:
        `error` itself if it is an `Exception`; else a `RuntimeError` with it as its cause.

    Raises:
        BaseException: `error`, if it is not the handler's: the command was cancelled, its
            generator is closed, or somebody has pressed Ctrl-C.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, asyncio.CancelledError | GeneratorExit) or (
        isinstance(error, KeyboardInterrupt) and _may_come_from_the_keyboard()
    ):
        raise error
    failure = RuntimeError(f"raised {error!r}, which ends the command and not the process")
    failure.__cause__ = error
    return failure


def _may_come_from_the_keyboard() -> bool:
    """Return whether Ctrl-C raises `KeyboardInterrupt` here.

    Python does that, and `asyncio.run` at the second time, both in the main thread. A process that
    serves hears of Ctrl-C by its event loop, in no handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    handled_by = signal.getsignal(signal.SIGINT)
    return handled_by is signal.default_int_handler or isinstance(handled_by, partial)
