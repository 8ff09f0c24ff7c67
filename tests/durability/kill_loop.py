"""A server that is killed again and again, and clients that remember what it promised them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import grpc.aio

from cloudstate_core.clock import SystemClock
from cloudstate_core.store import EntityKey
from cloudstate_sqlite.plugin import SqliteBackend

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "shopping_cart"

#: The user that all clients write to, besides a user of their own: several writers, one entity.
SHARED = "shared"

_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
_READY_TIMEOUT_S = 20.0


def cloudstate_run(data_dir: Path) -> list[str]:
    """Return the command line that a user would type."""
    return [
        str(Path(sys.executable).parent / "cloudstate"),
        "run",
        "shoppingcart.shopping_cart_entity:entity",
        "--port=0",
        f"--data={data_dir}",
    ]


@dataclass
class Acknowledged:
    """What the server said it had done: for each user, the products it added, in order."""

    products: dict[str, list[str]] = field(default_factory=dict)
    starts_s: list[float] = field(default_factory=list)

    def add(self, user: str, product: str) -> None:
        """Note an answer."""
        self.products.setdefault(user, []).append(product)

    def count(self) -> int:
        """Return how many answers there were."""
        return sum(len(products) for products in self.products.values())


@dataclass(frozen=True)
class Verdict:
    """What became of the promises."""

    acknowledged: int
    stored: int
    lost: list[str]
    doubled: list[str]
    gaps: list[str]

    def is_clean(self) -> bool:
        """Return whether every promise was kept."""
        return not (self.lost or self.doubled or self.gaps)


@asynccontextmanager
async def running(
    command: Sequence[str], folder: Path = EXAMPLE
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Start a server, yield it with its port as soon as it says that it is ready, and kill it.

    Args:
        command: The command line.
        folder: Where it runs and finds its modules.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(folder)},
    )
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            port = await _port_of(process)
        drain = asyncio.create_task(_read_all(process))
        yield process, port
        drain.cancel()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def kill_again_and_again(
    command: Sequence[str], *, kills: int, clients: int, random: Random
) -> Acknowledged:
    """Start, load and kill a server `kills` times; return what it acknowledged."""
    acknowledged = Acknowledged()
    for round_ in range(kills):
        began_s = asyncio.get_running_loop().time()
        async with running(command) as (_, port):
            acknowledged.starts_s.append(asyncio.get_running_loop().time() - began_s)
            # The server leaves this block killed, in the middle of whatever it does.
            await _load(port, round_, clients, random.uniform(0.02, 0.4), acknowledged)
    return acknowledged


async def judge(acknowledged: Acknowledged, data_dir: Path) -> Verdict:
    """Compare what was promised with what is on disk."""
    from shoppingcart.domain_pb2 import ItemAdded  # found beside the example

    stored_count, lost, doubled, gaps = 0, [], [], []
    backend = SqliteBackend()
    async with backend.open(backend.settings_type(), data_dir, SystemClock()) as store:
        for user, promised in acknowledged.products.items():
            events = await _all_events(store, EntityKey("shopping-cart", user))
            products = [ItemAdded.FromString(e.payload.value).item.productId for e in events]
            stored_count += len(products)
            seen = set(products)
            lost += [f"{user}: {product}" for product in promised if product not in seen]
            doubled += [f"{user}: {p}" for p in seen if products.count(p) > 1]
            if [event.sequence for event in events] != list(range(1, len(events) + 1)):
                gaps.append(f"{user}: {[event.sequence for event in events]}")
    return Verdict(acknowledged.count(), stored_count, lost, doubled, gaps)


async def _all_events(store, key):  # the store's own types
    found: list = []
    while page := await store.events(key, after=len(found), limit=1000):
        found += page
    return found


async def _load(
    port: int, round_: int, clients: int, duration_s: float, acknowledged: Acknowledged
) -> None:
    tasks = [
        asyncio.create_task(_client(port, f"{round_}-{number}", acknowledged))
        for number in range(clients)
    ]
    await asyncio.wait(tasks, timeout=duration_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _client(port: int, name: str, acknowledged: Acknowledged) -> None:
    """Add numbered products, one after another, to an own cart and to the shared one."""
    from shoppingcart.shoppingcart_pb2 import AddLineItem
    from shoppingcart.shoppingcart_pb2_grpc import ShoppingCartStub

    own = name.partition("-")[2]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        cart = ShoppingCartStub(channel)
        number = 0
        while True:
            number += 1
            for user in (f"user-{own}", SHARED):
                product = f"{name}-{number}"
                await cart.AddItem(
                    AddLineItem(user_id=user, product_id=product, name=product, quantity=1)
                )
                acknowledged.add(user, product)


async def _port_of(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    output = []
    async for line in process.stdout:
        output.append(line.decode())
        found = _ADDRESS.search(output[-1])
        if found is not None:
            return int(found.group(1))
    raise AssertionError(f"the server ended before it was ready:\n{''.join(output)}")


async def _read_all(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    async for _ in process.stdout:
        pass
