"""A user function as a process: opens the server, serves until told to stop, drains."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import structlog

from cloudstate_core.host.server import HostServer, open_server
from cloudstate_core.host.stop_signals import StopSignals, stop_signals
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.settings import HostSettings

__all__ = ["run", "serve"]

_log = structlog.get_logger("cloudstate.host")

_WORKER_NAME = "cloudstate-worker"


def run(
    function: UserFunction, settings: HostSettings, on_ready: Callable[[HostServer], None]
) -> None:
    """Serve in an event loop of its own, until a signal; return when everything is closed.

    A handler that still runs in a thread when the grace is over cannot be stopped; then the
    process ends here.

    Raises:
        ConfigurationError: The address cannot be listened on. Nothing was opened.
    """
    asyncio.run(serve(function, settings, on_ready))
    stuck = [each for each in threading.enumerate() if each.name.startswith(_WORKER_NAME)]
    if stuck:
        _log.warning("handlers_left_behind", threads=len(stuck))
        sys.stdout.flush()
        sys.stderr.flush()
        # The interpreter would wait for these threads for ever.
        os._exit(0)


async def serve(
    function: UserFunction, settings: HostSettings, on_ready: Callable[[HostServer], None]
) -> None:
    """Serve in the running event loop until SIGTERM or SIGINT; a second signal cuts the drain off.

    Args:
        function: What to serve.
        settings: Where and how.
        on_ready: Called once, when the server listens.

    Raises:
        ConfigurationError: The address cannot be listened on. Nothing was opened.
    """
    asyncio.get_running_loop().set_default_executor(_Workers(settings.max_workers))
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(stop_signals())
        server = await stack.enter_async_context(open_server(function, settings))
        on_ready(server)
        await signals.drain.wait()
        _log.info("draining", streams=len(server.streams), grace_s=settings.drain_grace_s)
        await _drain(server, settings.drain_grace_s, signals)
    _log.info("stopped")


async def _drain(server: HostServer, grace_s: float, signals: StopSignals) -> None:
    draining = asyncio.create_task(server.drain(grace_s))
    cut_off = asyncio.create_task(signals.now.wait())
    await asyncio.wait((draining, cut_off), return_when=asyncio.FIRST_COMPLETED)
    cut_off.cancel()
    if not draining.done():
        await server.drain(0)
    await draining


class _Workers(ThreadPoolExecutor):
    """The threads for handlers that block: a bounded number, and not waited for at the end."""

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers, thread_name_prefix=_WORKER_NAME)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        # By now every stream has ended or the grace is over.
        super().shutdown(wait=False, cancel_futures=True)
