"""P6: three processes over NATS; one is killed and restarted, and so is the NATS server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from three_nodes import COUNTERS, HERE, Nodes

from cloudstate_nats.testing import NatsServer, start_nats_server

UPDATES = 30_000
CLIENTS = 100

#: From when the NATS server accepts connections again.
CONVERGED_WITHIN_S = 15.0


CLOUDSTATE = (str(Path(sys.executable).parent / "cloudstate"),)
FORGETFUL = (sys.executable, str(HERE / "forgetful_node.py"))


def command_of(
    program: Sequence[str], folder: Path, nats: NatsServer
) -> Callable[[str], Sequence[str]]:
    """Return what a user would type for a node of a name."""
    return lambda name: [
        *program,
        "run",
        "tally:entity",
        "--port=0",
        f"--data={folder / name}",
        f"--node={name}",
        f"--transport={nats.address}",
    ]


async def run(nodes: Nodes, nats: NatsServer, updates: int, within_s: float) -> dict[str, float]:
    """Load the nodes, break things meanwhile, and return what converged when after that."""
    await nodes.until_joined()
    load = asyncio.create_task(nodes.load(updates, CLIENTS, seed=1))
    await nodes.until_done(updates // 3)
    await nodes.nodes["b"].kill()
    await nodes.nodes["b"].start()
    await nodes.until_done(updates * 5 // 6)
    await asyncio.to_thread(nats.stop)
    # What is changed now, nobody else hears of.
    await load
    await asyncio.to_thread(nats.start)
    return await nodes.converged_after_s(within_s)


@pytest.mark.timeout(300)
async def test_three_nodes_converge_and_count_exactly(tmp_path: Path) -> None:
    with start_nats_server() as nats:
        async with Nodes(command_of(CLOUDSTATE, tmp_path, nats)) as nodes:
            after_s = sorted((await run(nodes, nats, UPDATES, CONVERGED_WITHIN_S)).values())

    assert nodes.done == UPDATES // CLIENTS * CLIENTS
    assert nodes.sent_again > 0
    assert len(after_s) == len(COUNTERS)
    median_s, p99_s = after_s[len(after_s) // 2], after_s[len(after_s) * 99 // 100]
    print(
        f"PROMISE P6 processes=3 updates={nodes.done} sent_again={nodes.sent_again} killed=1 "
        f"nats_restarts=1 counters={len(after_s)} diverged=0 median_s={median_s:.2f} "
        f"p99_s={p99_s:.2f} after heal ok"
    )


@pytest.mark.timeout(120)
async def test_nodes_that_repair_nothing_are_found(tmp_path: Path) -> None:
    with start_nats_server() as nats:
        async with Nodes(command_of(FORGETFUL, tmp_path, nats)) as nodes:
            after_s = await run(nodes, nats, 900, within_s=2.0)

    assert len(after_s) < len(COUNTERS)
