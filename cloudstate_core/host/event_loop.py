"""How a process that serves is run: which event loop it has, and what the collector looks at."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog

try:
    import uvloop
except ImportError:  # there is none for Windows
    _new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
else:
    _new_loop = uvloop.new_event_loop

__all__ = ["run_in_fastest_loop", "spare_what_stays"]

_log = structlog.get_logger("cloudstate.host")


def run_in_fastest_loop(process: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end in a loop of its own: uvloop's where there is one.

    A task or callback of a handler that calls `sys.exit` ends itself, and the process goes on.

    Raises:
        SystemExit: The coroutine itself raised it.
    """
    tasks: list[asyncio.Task[None]] = []

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await process

    with asyncio.Runner(loop_factory=_new_loop) as runner:
        error = _exit_in(partial(runner.run, run()))
        while error is not None and not tasks[0].done():
            _log.error("task_called_exit", exc_info=error)
            # The loop was stopped in the middle of a turn, and the rest of that is still due.
            error = _exit_in(partial(runner.get_loop().run_until_complete, tasks[0]))
        tasks[0].result()


def _exit_in(run: Callable[[], None]) -> SystemExit | None:
    try:
        run()
    except SystemExit as error:
        return error
    return None


#: After so many collections of the middle generation everything is looked at. Middle ones come with
#: every 7,000 objects that stay (700 x 10, which is Python's own), so there are at most about a
#: million objects of which nobody knows whether they are garbage.
_MIDDLE_COLLECTIONS_PER_FULL_ONE = 150


def spare_what_stays() -> None:
    """Let the garbage collector leave alone what there is now; to be called when all is set up.

    Modules, descriptors and handlers live as long as the process. Looking at all of them again and
    again would stop everything for 20 ms each time, and take a twentieth of a long replay.

    What comes later is looked at as a whole less often than usual: with some thousand entities in
    memory that too takes 10 to 35 ms, and under full load it would come every other second, which
    is all of the slowest hundredth of the requests.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _MIDDLE_COLLECTIONS_PER_FULL_ONE)
