"""A server that is broken on purpose: it answers first and stores afterwards.

It exists so that the kill test can be seen to find a loss.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from shoppingcart.shopping_cart_entity import entity

from cloudstate_core.clock import SystemClock
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import load_plugins
from cloudstate_core.store import Commit
from cloudstate_runtime.node import open_node, serve
from cloudstate_runtime.settings import RuntimeSettings
from cloudstate_sqlite.plugin import SqliteBackend


class AnsweringBeforeStoring(SqliteBackend):
    """Acknowledges a commit a while before it writes it."""

    name = "lossy"

    def open(self, settings, data_dir, clock):
        return _Opened(super().open(settings, data_dir, clock))


class _Opened:
    def __init__(self, inner) -> None:
        self._inner = inner
        self._later: set[asyncio.Task] = set()

    async def __aenter__(self):
        store = await self._inner.__aenter__()
        write = store.commit

        async def commit_later(commit: Commit) -> None:
            async def later() -> None:
                await asyncio.sleep(0.03)
                await write(commit)

            task = asyncio.create_task(later())
            self._later.add(task)
            task.add_done_callback(self._later.discard)

        store.commit = commit_later
        return store

    async def __aexit__(self, *error: object) -> None:
        await self._inner.__aexit__(*error)


async def main(data_dir: Path) -> None:
    """Serve until killed."""
    plugins = load_plugins()
    clock = SystemClock()
    backend = AnsweringBeforeStoring()
    settings = RuntimeSettings(port=0, data_dir=data_dir)
    link = LocalLink(UserFunction([entity], plugins), clock)
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            open_node(
                settings,
                plugins,
                backend,
                backend.settings_type(),
                {"here": link},
                clock=clock,
                random=Random(),
            )
        )
        await serve(node, 0.0, lambda node: print(f"ready at {node.address}", flush=True))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
