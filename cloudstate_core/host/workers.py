"""Threads for handlers that block, so that they hold nobody up: neither others nor the end."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import structlog

__all__ = ["Workers", "leave_stuck_workers_behind"]

_NAME = "cloudstate-worker"

# An idle thread ends by itself as soon as it has heard of the shutdown.
_PATIENCE_S = 0.5

_log = structlog.get_logger("cloudstate.host")


class Workers(ThreadPoolExecutor):
    """A bounded number of threads that nobody waits for when the event loop ends.

    Make it the default executor of the loop.
    """

    def __init__(self, max_workers: int) -> None:
        """Start no thread yet."""
        super().__init__(max_workers, thread_name_prefix=_NAME)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        # By now everything has ended that was given time to.
        super().shutdown(wait=False, cancel_futures=True)


def leave_stuck_workers_behind() -> None:
    """End the process if a handler still blocks its thread; else return.

    Call it when everything is closed. The interpreter itself would wait for such a thread for
    ever, and a thread cannot be stopped.
    """
    workers = [each for each in threading.enumerate() if each.name.startswith(_NAME)]
    patience_ends_s = time.monotonic() + _PATIENCE_S
    for each in workers:
        each.join(max(0.0, patience_ends_s - time.monotonic()))
    stuck = [each for each in workers if each.is_alive()]
    if stuck:
        _log.warning("handlers_left_behind", threads=len(stuck))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
