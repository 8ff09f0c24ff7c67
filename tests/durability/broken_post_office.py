"""A post office whose store is broken on purpose, so that the chaos test can be seen to find it.

The first argument says how:

* `forgets-what-came`: that a message was received is not noted;
* `posts-later`: a message is written after the commit that it belongs to;
* `forgets-answers`: what was answered under a key is not remembered.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from random import Random

from post_office import receiver, sender

from cloudstate_core.clock import SystemClock
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import load_plugins
from cloudstate_core.store import Commit, EnqueueMessage, Received, RememberReply
from cloudstate_runtime.node import open_node, serve
from cloudstate_runtime.settings import RuntimeSettings
from cloudstate_sqlite.plugin import SqliteBackend

_LEFT_OUT = {
    "forgets-what-came": Received,
    "posts-later": EnqueueMessage,
    "forgets-answers": RememberReply,
}


class BrokenBackend(SqliteBackend):
    """Leaves writes of one kind out of their commits."""

    name = "broken"

    def __init__(self, how: str) -> None:
        self._left_out = _LEFT_OUT[how]

    def open(self, settings, data_dir, clock):
        return _Opened(super().open(settings, data_dir, clock), self._left_out)


class _Opened:
    def __init__(self, inner, left_out) -> None:
        self._inner = inner
        self._left_out = left_out
        self._later: set[asyncio.Task] = set()

    async def __aenter__(self):
        store = await self._inner.__aenter__()
        write = store.commit

        async def commit(whole: Commit) -> None:
            kept = tuple(w for w in whole.writes if not isinstance(w, self._left_out))
            if kept:
                await write(replace(whole, writes=kept))
            if self._left_out is EnqueueMessage and len(kept) < len(whole.writes):
                posted = tuple(w for w in whole.writes if isinstance(w, EnqueueMessage))
                task = asyncio.create_task(self._post(write, replace(whole, writes=posted)))
                self._later.add(task)
                task.add_done_callback(self._later.discard)

        store.commit = commit
        return store

    async def _post(self, write, commit: Commit) -> None:
        await asyncio.sleep(0.05)
        await write(commit)

    async def __aexit__(self, *error: object) -> None:
        await self._inner.__aexit__(*error)


async def main(how: str, data_dir: Path) -> None:
    """Serve until killed."""
    plugins = load_plugins()
    clock = SystemClock()
    backend = BrokenBackend(how)
    settings = RuntimeSettings(port=0, data_dir=data_dir)
    link = LocalLink(UserFunction([sender, receiver], plugins), clock)
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
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
