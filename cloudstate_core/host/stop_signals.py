"""SIGTERM and SIGINT, as events that can be waited for."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["StopSignals", "stop_signals"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """What the operator asked for.

    Attributes:
        drain: Set by the first signal: take nothing new, finish what runs.
        now: Set by the second one: finish nothing.
    """

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.now = asyncio.Event()

    def receive(self) -> None:
        """Take one signal."""
        if self.drain.is_set():
            self.now.set()
        self.drain.set()


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Have SIGTERM and SIGINT set events instead of ending the process.

    Outside the main thread, and on systems that cannot do it, signals keep their usual meaning and
    the events are set by nobody.
    """
    signals = StopSignals()
    loop = asyncio.get_running_loop()
    handled = []
    for number in _SIGNALS:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, signals.receive)
            handled.append(number)
    try:
        yield signals
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
