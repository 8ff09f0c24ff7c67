"""One node as a process: store, runtime and front door, from the first to the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from random import Random

import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.errors import CloudstateError
from cloudstate_core.host.stop_signals import drain_unless_cut_off, stop_signals
from cloudstate_core.links import FunctionLink
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import StateStore, StoreBackend
from cloudstate_runtime.admin import open_admin
from cloudstate_runtime.cluster.desk import node_commands
from cloudstate_runtime.durable.parking import Parking
from cloudstate_runtime.frontend.port import Port, open_port
from cloudstate_runtime.runtime import NO_SECTIONS, Runtime, open_runtime
from cloudstate_runtime.settings import RuntimeSettings

__all__ = ["Node", "open_node", "serve"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is open.

    Attributes:
        runtime: What serves.
        port: Where clients come in.
    """

    runtime: Runtime
    port: Port

    @property
    def address(self) -> str:
        """Host and port of the front door, as a client writes them."""
        host, port = self.port.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def drain(self, grace_s: float) -> None:
        """Say that nothing new is taken, and finish what runs, for at most `grace_s` seconds."""
        self.runtime.begin_drain(grace_s)
        await self.port.drain(grace_s)


@asynccontextmanager
async def open_node(
    settings: RuntimeSettings,
    plugins: Plugins,
    backend: StoreBackend,
    store_settings: object,
    functions: Mapping[str, FunctionLink],
    *,
    clock: Clock,
    random: Random,
    sections: Mapping[str, object] = NO_SECTIONS,
) -> AsyncIterator[Node]:
    """Open a node: first the store, then the runtime, then the port; close in reverse.

    Args:
        settings: How to serve.
        plugins: What is installed.
        backend: Where state is kept.
        store_settings: An instance of the backend's settings type.
        functions: The way to each user function, by a name for people.
        clock: The time.
        random: For the spread of retries.
        sections: All sections of the settings, by name, for the front ends.

    Raises:
        ConfigurationError: The store or the port cannot be had. Nothing stays open.
    """
    async with (
        backend.open(store_settings, settings.data_dir, clock) as store,
        open_runtime(
            settings, plugins, store, functions, clock=clock, random=random, sections=sections
        ) as runtime,
        _open_admin(backend, settings, runtime, store, clock),
        open_port(plugins.frontends.values(), runtime, settings.host, settings.port) as port,
    ):
        yield Node(runtime, port)


def _open_admin(
    backend: StoreBackend,
    settings: RuntimeSettings,
    runtime: Runtime,
    store: StateStore,
    clock: Clock,
) -> AbstractAsyncContextManager[None]:
    if not backend.durable:
        return nullcontext()  # nobody owns the data directory
    parking = Parking(store, runtime.delivery.unparked)
    return open_admin(settings.data_dir, parking, clock, more=node_commands(runtime.cluster))


async def serve(node: Node, grace_s: float, on_ready: Callable[[Node], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal cuts that off.

    Args:
        node: An open node.
        grace_s: How long requests may take to finish, in seconds.
        on_ready: Called once, when every user function is served.

    Raises:
        CloudstateError: The node has no part in its cluster any more. It was drained all the same.
    """
    cluster = node.runtime.cluster
    with stop_signals() as signals:
        ready = asyncio.create_task(node.runtime.wait_until_deployed())
        stop = asyncio.create_task(signals.drain.wait())
        left_out = asyncio.create_task(cluster.left_out.wait())
        await asyncio.wait((ready, stop, left_out), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            on_ready(node)
        ready.cancel()
        await asyncio.wait((stop, left_out), return_when=asyncio.FIRST_COMPLETED)
        for task in (stop, left_out):
            task.cancel()
        log.info("draining", grace_s=grace_s)
        await drain_unless_cut_off(node.drain, grace_s, signals)
    if cluster.left_out.is_set():
        raise CloudstateError(
            f"node {cluster.node.name!r} has stopped: {cluster.reason}; start it again to have it "
            "join as a new node"
        )
