"""A cluster of three processes under load, to which something happens every few seconds.

Nodes are killed, stopped, put back to an older copy of their store, or replaced by one without a
store after they were expelled and forgotten; the NATS server goes away and comes back. Now and then
the load rests, and every counter must be on every node what its clients were promised. One client
in ten asks for all nodes: what it was answered, every node must have.

    make soak MINUTES=10 SEED=1
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from tally import Amount
from test_three_nodes import CLOUDSTATE, command_of
from three_nodes import COUNTERS, NAMES, Nodes

from cloudstate_nats.testing import NatsServer, start_nats_server

CLIENTS = 30
CONVERGED_WITHIN_S = 30.0

#: How long nothing happens, in seconds, at most.
_QUIET_S = 3.0

#: How long something is away, in seconds, at most.
_AWAY_S = 4.0

_PAUSE_S = 0.05

#: Every so many-th client asks for all nodes; the others do not wait for any but their own.
_ASKS_FOR_ALL = 10


class Diverged(Exception):
    """Nodes do not have what clients were promised, or not in time."""


class Load:
    """Clients that add to counters until they are told to end, and rest when they are told to."""

    def __init__(self, nodes: Nodes, random: Random) -> None:
        self._nodes = nodes
        self._random = random
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self._busy = 0
        self._is_over = False
        self._everywhere: Counter[str] = Counter()  # what was answered by all nodes

    async def run(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                asks_for_all = number % _ASKS_FOR_ALL == 0
                clients.create_task(self._client(NAMES[number % 3], str(number), all=asks_for_all))

    def end(self) -> None:
        self._is_over = True

    @asynccontextmanager
    async def resting(self) -> AsyncIterator[None]:
        """Let every client finish its update, which takes all nodes, and begin no other."""
        self._may_go_on.clear()
        while self._busy:
            await asyncio.sleep(_PAUSE_S)
        yield
        self._may_go_on.set()

    async def _client(self, node: str, who: str, **asked: bool) -> None:
        nodes, random, number = self._nodes, self._random, 0
        while not self._is_over:
            await self._may_go_on.wait()
            self._busy += 1
            number += 1
            amount = Amount(id=random.choice(COUNTERS), value=random.randint(1, 3), **asked)
            while await nodes.answered(node, "Add", amount, f"{who}-{number}") is None:
                nodes.sent_again += 1
                await asyncio.sleep(_PAUSE_S)
            nodes.expected[amount.id] += amount.value
            nodes.done += 1
            if amount.all:
                self._everywhere[amount.id] += amount.value
                await self._check_one(amount.id)
            self._busy -= 1

    async def _check_one(self, counter: str) -> None:
        """Look whether any node has what all have said to have, if it runs."""
        name, expected = self._random.choice(NAMES), self._everywhere[counter]
        found = await self._nodes.answered(name, "Total", Amount(id=counter))
        if found is not None and found.value < expected:
            raise Diverged(
                f"{counter}: {expected} was answered by all nodes, found {found.value} at {name}"
            )


class Soak:
    """What happens to the nodes."""

    def __init__(
        self, nodes: Nodes, nats: NatsServer, folder: Path, seed: int, within_s: float
    ) -> None:
        self._nodes = nodes
        self._nats = nats
        self._folder = folder
        self._within_s = within_s
        self._random = Random(seed)
        self._load = Load(nodes, Random(seed + 1))
        self._began_s = time.monotonic()
        self.happened: Counter[str] = Counter()
        self.slowest_s = 0.0

    async def run(self, duration_s: float) -> None:
        """Let things happen for so long.

        Raises:
            Diverged: Something was lost, or doubled, or has not come everywhere.
        """
        happenings: list[Callable[[], Awaitable[str]]] = [
            *[self._kill, self._stop, self._cut_off] * 2,
            *[self._put_back, self._replace, self._compare],
        ]
        await self._nodes.until_joined()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._load.run())
            while time.monotonic() < self._began_s + duration_s:
                await asyncio.sleep(self._random.uniform(0.0, _QUIET_S))
                happening = self._random.choice(happenings)
                self.happened[happening.__name__.strip("_")] += 1
                self._say(await happening())
            self._say(await self._compare())
            self._load.end()

    def _say(self, what: str) -> None:
        passed_s = time.monotonic() - self._began_s
        print(f"{passed_s:6.0f} s  {self._nodes.done:8,} updates  {what}", flush=True)

    # --- What may happen -------------------------------------------------------------

    async def _kill(self) -> str:
        name = self._random.choice(NAMES)
        await self._nodes.nodes[name].kill()
        return f"{name} was killed, and is back after {await self._back_after_s(name):.1f} s"

    async def _stop(self) -> str:
        name = self._random.choice(NAMES)
        await self._stopped(name)
        return f"{name} was stopped, and is back after {await self._back_after_s(name):.1f} s"

    async def _cut_off(self) -> str:
        away_s = self._random.uniform(0.0, _AWAY_S)
        await asyncio.to_thread(self._nats.stop)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self._nats.start)
        return f"the nodes could not reach each other for {away_s:.1f} s"

    async def _put_back(self) -> str:
        name = self._random.choice(NAMES)
        store, copy = self._folder / name, self._folder / "copy"
        await self._stopped(name)
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(store, copy)
        await self._nodes.nodes[name].start()
        await asyncio.sleep(self._random.uniform(0.0, _AWAY_S))
        async with self._load.resting():
            await self._converged()
            await self._stopped(name)
            shutil.rmtree(store)
            shutil.copytree(copy, store)
            await self._nodes.nodes[name].start()
            after_s = await self._converged()
        return f"{name} was put back to an older store, and has everything after {after_s:.1f} s"

    async def _replace(self) -> str:
        name, other = self._random.sample(NAMES, 2)
        async with self._load.resting():
            await self._converged()
            await self._nodes.nodes[name].kill()
            shutil.rmtree(self._folder / name)
            await self._ask(other, "expel", "--forget", name)
            await self._nodes.nodes[name].start()
            after_s = await self._converged()
        return f"{name} was given up, and its successor has everything after {after_s:.1f} s"

    async def _compare(self) -> str:
        async with self._load.resting():
            return f"all {len(COUNTERS)} counters are exact, after {await self._converged():.1f} s"

    # --- Steps -----------------------------------------------------------------------

    async def _stopped(self, name: str) -> None:
        exit_code = await self._nodes.nodes[name].stop()
        if exit_code != 0:
            raise Diverged(f"node {name} ended with {exit_code}, expected 0")

    async def _back_after_s(self, name: str) -> float:
        away_s = self._random.uniform(0.0, _AWAY_S)
        await asyncio.sleep(away_s)
        await self._nodes.nodes[name].start()
        return away_s

    async def _ask(self, name: str, *words: str) -> None:
        command = [*CLOUDSTATE, "nodes", *words, f"--data={self._folder / name}"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise Diverged(f"{' '.join(words)!r} failed at node {name}: {output.decode()}")

    async def _converged(self) -> float:
        """Return after how many seconds everything is everywhere."""
        after_s = await self._nodes.converged_after_s(self._within_s)
        missing = [counter for counter in self._nodes.expected if counter not in after_s]
        if missing:
            found = [await self._totals(counter) for counter in missing]
            raise Diverged(f"not the same everywhere within {self._within_s:g} s: {found}")
        slowest_s = max(after_s.values(), default=0.0)
        self.slowest_s = max(self.slowest_s, slowest_s)
        return slowest_s

    async def _totals(self, counter: str) -> str:
        totals = {name: await node.total(counter) for name, node in self._nodes.nodes.items()}
        return f"{counter}: promised {self._nodes.expected[counter]}, found {totals}"


async def soak(
    minutes: float,
    seed: int,
    folder: Path,
    *,
    program: Sequence[str] = CLOUDSTATE,
    within_s: float = CONVERGED_WITHIN_S,
) -> bool:
    """Run a cluster for a while, tell what happens, and return whether it kept its promises.

    Args:
        minutes: How long.
        seed: Decides what happens, and roughly when.
        folder: Where the nodes have their stores.
        program: The command line of `cloudstate`.
        within_s: How long the nodes may take to have the same, once nothing happens.
    """
    with start_nats_server() as nats:
        async with Nodes(command_of(program, folder, nats)) as nodes:
            soaked = Soak(nodes, nats, folder, seed, within_s)
            failure: BaseException | None = None
            try:
                await soaked.run(minutes * 60)
            except* Diverged as diverged:
                failure = diverged.exceptions[0]
            if failure is not None:
                print(f"PROMISE P6 soak seed={seed} {failure} FAIL")
                return False
    happened = " ".join(f"{what}={times}" for what, times in sorted(soaked.happened.items()))
    print(
        f"PROMISE P6 soak seed={seed} updates={nodes.done} sent_again={nodes.sent_again} "
        f"{happened} diverged=0 slowest_convergence_s={soaked.slowest_s:.1f} ok"
    )
    return True


def main() -> None:
    """Soak, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = asyncio.run(soak(options.minutes, options.seed, Path(folder)))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
