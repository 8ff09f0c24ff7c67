"""A node as a process: what is printed when it is ready, and which event loop it runs in."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Coroutine, Mapping
from random import SystemRandom
from typing import Any, cast

import click

from cloudstate_core.cli.setup import Setup
from cloudstate_core.clock import Clock
from cloudstate_core.host.event_loop import run_in_fastest_loop, spare_what_stays
from cloudstate_core.host.workers import Workers, leave_stuck_workers_behind
from cloudstate_core.links import FunctionLink
from cloudstate_core.settings import HostSettings
from cloudstate_runtime.example_request import example_request
from cloudstate_runtime.node import Node, open_node, serve
from cloudstate_runtime.settings import RuntimeSettings
from cloudstate_runtime.store_choice import choose_store

__all__ = ["THREAD_SWITCH_INTERVAL_S", "open_and_serve", "run_in_loop"]

#: How long one thread may keep the interpreter while another waits for it. A store's thread gives
#: it up for every call into the disk and has to get it back from a busy event loop, which with the
#: interpreter's default of 5 ms takes longer than the disk.
THREAD_SWITCH_INTERVAL_S = 0.0005


#: What stands before an @ in an address.
_SECRETS = re.compile(r"[^/,@]*@")


def run_in_loop(process: Coroutine[Any, Any, None]) -> None:
    """Run a process to its end in an event loop of its own."""
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL_S)
    run_in_fastest_loop(process)
    leave_stuck_workers_behind()


async def open_and_serve(
    setup: Setup,
    settings: Mapping[str, object],
    functions: Mapping[str, FunctionLink],
    clock: Clock,
) -> None:
    """Open a node, say that it is ready, and serve until a signal.

    Raises:
        ConfigurationError: It cannot be opened as it is configured.
    """
    runtime_settings = cast("RuntimeSettings", settings["runtime"])
    workers = Workers(cast("HostSettings", settings["host"]).max_workers)
    asyncio.get_running_loop().set_default_executor(workers)
    backend = choose_store(runtime_settings.store, setup.plugins)
    store_settings = settings.get(backend.name) or backend.settings_type()
    async with open_node(
        runtime_settings,
        setup.plugins,
        backend,
        store_settings,
        functions,
        clock=clock,
        random=SystemRandom(),
        sections=settings,
    ) as node:
        waiting = [name for name in functions if name != "in this process"]
        if waiting:
            click.echo(f"waiting for the user function at {', '.join(waiting)} ...")
        where = backend.describe(store_settings, runtime_settings.data_dir)
        await serve(
            node,
            runtime_settings.drain_grace_s,
            lambda ready: _begin(welcome(ready, setup, where, runtime_settings.transport)),
        )


def _begin(words: str) -> None:
    click.echo(words)
    spare_what_stays()


def welcome(node: Node, setup: Setup, where: str, transport: str) -> str:
    """Return what is printed when a node is ready.

    Args:
        node: The node.
        setup: For the names of kinds.
        where: Where state is kept.
        transport: How it is connected with others; empty if it is the only one.
    """
    lines = [f"serving gRPC and HTTP on {node.address}"]
    entities = [entity for d in node.runtime.served.deployments for entity in d.entities]
    for entity in entities:
        kind = setup.plugins.kind_of(entity.entity_type)
        lines.append(f"  {entity.service_name} ({kind.name if kind is not None else '?'})")
    lines.append(f"state is kept {where}")
    if transport:
        cluster = node.runtime.cluster
        others = ", ".join(sorted(cluster.members.epochs.keys() - {cluster.node.name}))
        address = _SECRETS.sub("", transport)
        lines.append(f"node {cluster.node.name}, over {address}, with {others or 'nobody yet'}")
    lines += [
        "try:",
        f"  {example_request(entities[0], node.address)}",
        "Ctrl-C finishes what runs, and stops",
    ]
    return "\n".join(lines)
