"""The event loop that a process runs in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

try:
    import uvloop
except ImportError:  # there is none for Windows
    _new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
else:
    _new_loop = uvloop.new_event_loop

__all__ = ["run_in_fastest_loop"]


def run_in_fastest_loop(process: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end in a loop of its own: uvloop's where there is one."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(process)
