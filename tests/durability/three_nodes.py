"""Three processes that replicate to each other, and clients that count what they were promised.

A client sends each of its updates to one node, always under the same key, until it is answered. So
every update has its effect exactly once, whatever is killed in between.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random
from typing import Self

import grpc.aio
from kill_loop import running
from tally import SERVICE, Amount

HERE = Path(__file__).resolve().parent
NAMES = ("a", "b", "c")
COUNTERS = (
    *(f"counter-{number}" for number in range(45)),
    *(f"map-{number}" for number in range(5)),
)

_CALL_TIMEOUT_S = 10.0
_PAUSE_S = 0.05


class Node:
    """One process, or what is left of it: its store."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._open = AsyncExitStack()
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None

    async def start(self) -> None:
        self._process, port = await self._open.enter_async_context(running(self._command, HERE))
        address = f"127.0.0.1:{port}"
        self._channel = await self._open.enter_async_context(grpc.aio.insecure_channel(address))

    async def stop(self) -> int:
        """Ask the process to end, and return its exit code."""
        assert self._process is not None, "it was started"
        self._process.terminate()
        exit_code = await self._process.wait()
        await self.kill()
        return exit_code

    async def kill(self) -> None:
        self._channel = None
        opened, self._open = self._open, AsyncExitStack()
        await opened.aclose()

    async def call(self, method: str, amount: Amount, key: str = "") -> Amount:
        """Send a command.

        Raises:
            grpc.aio.AioRpcError: It was not answered.
            ConnectionError: The process does not run.
        """
        if self._channel is None:
            raise ConnectionError("the node is down")
        send = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=Amount.SerializeToString,
            response_deserializer=Amount.FromString,
        )
        metadata = (("idempotency-key", key),) if key else ()
        return await send(amount, timeout=_CALL_TIMEOUT_S, metadata=metadata)

    async def total(self, counter: str) -> int:
        return (await self.call("Total", Amount(id=counter))).value


class Nodes:
    """All three, and what clients have had them add."""

    def __init__(self, command: Callable[[str], Sequence[str]]) -> None:
        self.nodes = {name: Node(command(name)) for name in NAMES}
        self.expected: Counter[str] = Counter()
        self.done = 0
        self.sent_again = 0

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(node.start() for node in self.nodes.values()))
        return self

    async def __aexit__(self, *unused: object) -> None:
        await asyncio.gather(*(node.kill() for node in self.nodes.values()))

    async def until_joined(self, within_s: float = 20.0) -> None:
        """Return when each has what the others were told meanwhile."""
        async with asyncio.timeout(within_s):
            number = 0
            while not await self._is_heard_everywhere(f"hello-{number}"):
                number += 1

    async def _is_heard_everywhere(self, counter: str) -> bool:
        for node in self.nodes.values():
            await node.call("Add", Amount(id=counter, value=1))
        for _ in range(10):
            if await self._is_everywhere(counter, len(NAMES)):
                return True
            await asyncio.sleep(_PAUSE_S)
        return False

    # --- Load ------------------------------------------------------------------------

    async def load(self, updates: int, clients: int, seed: int) -> None:
        """Have `updates` updates made by as many clients, spread over the nodes."""
        each = updates // clients
        await asyncio.gather(
            *(self._client(NAMES[n % 3], f"{seed}-{n}", each, Random(n)) for n in range(clients))
        )

    async def _client(self, name: str, who: str, updates: int, random: Random) -> None:
        for number in range(updates):
            counter, by = random.choice(COUNTERS), random.randint(1, 3)
            key = f"{who}-{number}"
            while await self.answered(name, "Add", Amount(id=counter, value=by), key) is None:
                self.sent_again += 1
                await asyncio.sleep(_PAUSE_S)
            self.expected[counter] += by
            self.done += 1

    async def answered(
        self, name: str, method: str, amount: Amount, key: str = ""
    ) -> Amount | None:
        """Send a node a command; return its answer, None if there is none."""
        with suppress(grpc.aio.AioRpcError, ConnectionError, asyncio.CancelledError):
            return await self.nodes[name].call(method, amount, key)
        # A call whose channel was closed is cancelled; this task is not.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        return None

    async def until_done(self, updates: int) -> None:
        while self.done < updates:
            await asyncio.sleep(0.01)

    # --- Convergence -----------------------------------------------------------------

    async def converged_after_s(self, within_s: float) -> dict[str, float]:
        """Return when each counter was what it should be on all nodes, in seconds from now.

        Counters that were not within `within_s` are left out.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        after_s: dict[str, float] = {}
        left = dict(self.expected)
        while left and loop.time() < began_s + within_s:
            for counter, expected in tuple(left.items()):
                if await self._is_everywhere(counter, expected):
                    after_s[counter] = loop.time() - began_s
                    del left[counter]
            await asyncio.sleep(0.01)
        return after_s

    async def _is_everywhere(self, counter: str, expected: int) -> bool:
        totals = await asyncio.gather(*(node.total(counter) for node in self.nodes.values()))
        return totals == [expected] * 3
