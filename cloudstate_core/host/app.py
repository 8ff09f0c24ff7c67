"""A user function as a process: opens the server, serves until told to stop, drains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from cloudstate_core.host.event_loop import run_in_fastest_loop, spare_what_stays
from cloudstate_core.host.proxy_caller import open_proxy_caller
from cloudstate_core.host.server import HostServer, open_server
from cloudstate_core.host.stop_signals import drain_unless_cut_off, stop_signals
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.host.workers import Workers, leave_stuck_workers_behind
from cloudstate_core.settings import HostSettings

__all__ = ["run", "serve"]

_log = structlog.get_logger("cloudstate.host")


def run(
    function: UserFunction, settings: HostSettings, on_ready: Callable[[HostServer], None]
) -> None:
    """Serve in an event loop of its own, until a signal; return when everything is closed.

    A handler that still runs in a thread when the grace is over cannot be stopped; then the
    process ends here.

    Raises:
        ConfigurationError: The address cannot be listened on. Nothing was opened.
    """
    run_in_fastest_loop(serve(function, settings, on_ready))
    leave_stuck_workers_behind()


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
    asyncio.get_running_loop().set_default_executor(Workers(settings.max_workers))
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(stop_signals())
        function.caller.connect(
            await stack.enter_async_context(
                open_proxy_caller(settings.proxy, settings.max_message_bytes)
            )
        )
        server = await stack.enter_async_context(open_server(function, settings))
        on_ready(server)
        spare_what_stays()
        await signals.drain.wait()
        _log.info("draining", streams=len(server.streams), grace_s=settings.drain_grace_s)
        await drain_unless_cut_off(server.drain, settings.drain_grace_s, signals)
    _log.info("stopped")
