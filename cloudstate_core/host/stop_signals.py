"""SIGTERM and SIGINT, as events that can be waited for."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

__all__ = ["StopSignals", "drain_unless_cut_off", "stop_signals"]

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


async def drain_unless_cut_off(
    drain: Callable[[float], Awaitable[None]], grace_s: float, signals: StopSignals
) -> None:
    """Drain for at most `grace_s` seconds, or until a second signal.

    Args:
        drain: Takes the grace in seconds; is called again with 0 if the second signal comes.
        grace_s: How long what runs may take to finish.
        signals: Where the second signal shows.
    """
    draining = asyncio.ensure_future(drain(grace_s))
    cut_off = asyncio.create_task(signals.now.wait())
    await asyncio.wait((draining, cut_off), return_when=asyncio.FIRST_COMPLETED)
    cut_off.cancel()
    if not draining.done():
        await drain(0)
    await draining
