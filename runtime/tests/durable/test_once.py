"""A command with a key has its effect once, and every attempt gets the same answer.

Random clients send their commands again until they hear an answer, and sometimes once more. Stores
fail before or after they have done what they were asked, clients stop listening, and the runtime
ends in the middle and starts again, under a new epoch.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any as AnyType

import pytest
from runtime_doubles.engines import order
from runtime_doubles.functions import Function, serving
from runtime_doubles.running import SETTINGS, deployed, running
from runtime_doubles.sum_kind import SumKind, sum_in

from cloudstate_core.clock import SystemClock
from cloudstate_core.durable.remembered import Memory
from cloudstate_core.errors import CloudstateError, StoreUnavailable
from cloudstate_core.handler import Conditions, Request
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import StateStore
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing import FaultyStore
from cloudstate_runtime.runtime import Runtime
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import open_store

OpenStore = Callable[[], AnyType]

KEYS, ENTITIES, CLIENTS = 60, 3, 6


class UnreliableStore(FaultyStore):
    """Fails now and then, before or after it has done what it was asked."""

    def __init__(self, inner: StateStore, random: Random) -> None:
        super().__init__(inner, fail_at=None)
        self._random = random
        self.is_reliable = True

    async def _call(self, ask: Callable[[], Awaitable[AnyType]]) -> AnyType:
        chance = 1.0 if self.is_reliable else self._random.random()
        if chance < 0.1:
            raise StoreUnavailable("it was not done")
        result = await ask()
        if chance < 0.25:
            raise StoreUnavailable("it was done")
        return result


class World:
    """Clients, and a runtime that comes and goes."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.runtime: Runtime | None = None
        self.amounts = {f"key-{n}": random.randrange(1, 1000) for n in range(KEYS)}
        self.answers: dict[str, list[bytes]] = defaultdict(list)
        self.attempts = self.runtimes = 0

    @property
    def heard(self) -> int:
        """How many answers were heard."""
        return sum(map(len, self.answers.values()))

    def request(self, key: str) -> Request:
        entity_id = f"e{int(key.removeprefix('key-')) % ENTITIES}"
        return order(entity_id, self.amounts[key], conditions=Conditions(command_key=key))

    async def client(self, keys: list[str]) -> None:
        """Send each command until it is answered, and perhaps again after that."""
        for key in keys:
            wanted = self.random.choice((1, 1, 2, 3))
            while len(self.answers[key]) < wanted:
                await self.attempt(key)

    async def attempt(self, key: str) -> None:
        runtime = self.runtime
        if runtime is None:
            await asyncio.sleep(0)
            return
        self.attempts += 1
        call = asyncio.ensure_future(runtime.handler.handle(self.request(key)))
        if self.random.random() < 0.3:
            for _ in range(self.random.randrange(12)):
                await asyncio.sleep(0)
            call.cancel()  # the client has left, or its answer is lost
        try:
            outcome = await call
        except (CloudstateError, asyncio.CancelledError):
            return
        self.answers[key].append(
            outcome.action.SerializeToString() + f"@{outcome.version}".encode()
        )

    async def check(self, store: StateStore) -> None:
        for key in self.amounts:
            assert len(set(self.answers[key])) == 1, f"{key} was answered differently"
        for number in range(ENTITIES):
            names = [key for key in self.amounts if int(key[4:]) % ENTITIES == number]
            assert await sum_in(store, f"e{number}") == (
                sum(self.amounts[name] for name in names),
                len(names),
            )


async def lived(seed: int, function: Function, open_store: OpenStore) -> World:
    """Run all clients to their end, through as many runtimes as it takes, and check."""
    random = Random(seed)
    world = World(random)
    names = [*world.amounts, *random.sample(sorted(world.amounts), KEYS // 2)]
    random.shuffle(names)
    clients = [
        asyncio.create_task(world.client(names[number::CLIENTS])) for number in range(CLIENTS)
    ]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_end, clients)
        while not all(client.done() for client in clients):
            async with open_store() as inner:
                store = UnreliableStore(inner, random)
                async with _runtime(function, store) as runtime:
                    await deployed(runtime)
                    store.is_reliable, world.runtime = False, runtime
                    world.runtimes += 1
                    enough = world.heard + random.randrange(3, 25)
                    while world.heard < enough and not all(each.done() for each in clients):
                        await asyncio.sleep(0)
                    world.runtime, store.is_reliable = None, True
        await asyncio.gather(*clients)
    async with open_store() as inner:
        await world.check(inner)
    return world


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _runtime(function: Function, store: StateStore) -> AnyType:
    settings = replace(SETTINGS, drain_grace_s=0.0)
    return running(
        function, store=store, plugins=Plugins(kinds={"toy": SumKind()}), settings=settings
    )


def in_memory() -> OpenStore:
    store = MemoryStore(SystemClock())

    @asynccontextmanager
    async def open_it() -> AsyncIterator[StateStore]:
        yield store

    return open_it


@pytest.fixture
async def function() -> AsyncIterator[Function]:
    async with serving() as function:
        yield function


async def test_any_schedule_over_memory(function: Function) -> None:
    worlds = [await lived(seed, function, in_memory()) for seed in range(25)]

    attempts, runtimes = (
        sum(each.attempts for each in worlds),
        sum(each.runtimes for each in worlds),
    )
    print(
        f"PROMISE P5 attempts={attempts} runtimes={runtimes} doubled=0 wrong_answers=0 target=0 ok"
    )
    # It is not the faults that are missing.
    assert attempts > 2 * 25 * KEYS
    assert runtimes > 4 * 25


async def test_any_schedule_over_a_file(function: Function, tmp_path: Path) -> None:
    for seed in range(3):
        data_dir = tmp_path / f"{seed}"
        await lived(
            seed, function, lambda at=data_dir: open_store(SqliteSettings(), at, SystemClock())
        )


async def test_without_memory_commands_have_their_effect_twice(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "write_of", lambda *_: None)

    with pytest.raises(AssertionError):  # noqa: PT012 - any of these seeds may show it
        for seed in range(5):
            await lived(seed, function, in_memory())


async def test_memory_outside_of_the_commit_is_found_out(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = FaultyStore.commit

    async def in_two(self: FaultyStore, what: AnyType) -> None:
        for write in what.writes:
            await commit(self, type(what)(what.key, what.epoch, (write,)))

    monkeypatch.setattr(UnreliableStore, "commit", in_two)

    with pytest.raises(AssertionError):  # noqa: PT012 - any of these seeds may show it
        for seed in range(20):
            await lived(seed, function, in_memory())
