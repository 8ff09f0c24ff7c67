"""Clients who do random things to a few entities, and what may have come of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, product
from random import Random

from desk import NOTEBOOK, Desk
from google.protobuf.message import Message
from notebook.notebook_pb2 import AllLines, LineAdded, Lines, Page, Text

from cloudstate_core.anys import decode, pack_message
from cloudstate_core.clock import Clock
from cloudstate_core.errors import CloudstateError
from cloudstate_core.handler import Request
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import EntityKey, StateStore
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.faulty_store import FaultyStore
from cloudstate_eventsourced.plugin import EventSourcedKind
from cloudstate_runtime.runtime import Runtime, open_runtime
from cloudstate_runtime.settings import RuntimeSettings

ENTITIES = ("e", "f")
CLIENTS = 3
COMMANDS_PER_CLIENT = 8
PASSIVATION_TIMEOUT_S = 0.2

#: What a client does, with how often, and whether its lines may be stored.
COMMANDS = {"Write": (6, True), "Read": (2, True), "WriteAndFail": (2, False)} | {
    "WriteAndBreak": (1, False)
}


@dataclass
class Attempt:
    """One command of a client.

    Attributes:
        entity_id: For which entity.
        command: Which command.
        lines: What it asked to be written.
        began: When, by a counter of all that happens.
        ended: When it was answered.
        text: The answer; None if there was an error, or a failure.
    """

    entity_id: str
    command: str
    lines: list[str]
    began: int
    ended: int = 0
    text: list[str] | None = None


class PatientStore(FaultyStore):
    """A store whose check never fails: it is asked too often to be of interest."""

    async def check(self) -> None:
        await self.inner.check()


@dataclass
class World:
    """A store, the runtime that serves from it now, and what the clients have done.

    Attributes:
        store: Fails at the chosen call.
        clock: The time.
        random: Decides everything.
        attempts: Every command, in the order in which they were begun.
    """

    store: FaultyStore
    clock: ManualClock
    random: Random
    attempts: list[Attempt] = field(default_factory=list)
    _happened: Iterator[int] = field(default_factory=count)
    _runtime: Runtime | None = None
    _closed: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def run(self) -> None:
        """Let the clients do what they do, and something disturb them meanwhile."""
        async with self._closed:
            await self._take_over()
            clients = [self._client(number) for number in range(CLIENTS)]
            await asyncio.gather(*clients, self._disturb())

    async def _client(self, number: int) -> None:
        weights = [often for often, _ in COMMANDS.values()]
        for turn in range(COMMANDS_PER_CLIENT):
            await self._pause()
            (command,) = self.random.choices(list(COMMANDS), weights)
            lines = [f"{number}.{turn}.{n}" for n in range(self.random.randint(1, 3))]
            await self._attempt(self.random.choice(ENTITIES), command, lines)

    async def _attempt(self, entity_id: str, command: str, lines: list[str]) -> None:
        is_read = command == "Read"
        message: Message = Page(id=entity_id) if is_read else Lines(id=entity_id, lines=lines)
        attempt = Attempt(entity_id, command, [] if is_read else lines, next(self._happened))
        self.attempts.append(attempt)
        assert self._runtime is not None
        try:
            outcome = await self._runtime.handler.handle(
                Request(NOTEBOOK, command, pack_message(message))
            )
        except CloudstateError:
            return
        finally:
            attempt.ended = next(self._happened)
        if outcome.action.HasField("reply"):
            text = decode(outcome.action.reply.payload)
            assert isinstance(text, Text)
            attempt.text = text.text.split()

    async def _disturb(self) -> None:
        """Let entities leave memory, and other runtimes take over without asking the old one."""
        for what in self.random.choices(["passivate", "take over", "wait"], [2, 1, 3], k=6):
            await self._pause()
            if what == "passivate":
                await self.clock.advance(2 * PASSIVATION_TIMEOUT_S)
            elif what == "take over":
                await self._take_over()

    async def _take_over(self) -> None:
        while True:
            try:
                runtime = await self._closed.enter_async_context(_runtime(self.store, self.clock))
            except CloudstateError:
                continue  # the store fails at one call only
            await runtime.wait_until_deployed()
            self._runtime = runtime
            return

    async def _pause(self) -> None:
        for _ in range(self.random.randint(0, 12)):
            await asyncio.sleep(0)

    # Afterwards.

    async def check(self) -> None:
        """Compare what clients saw with what is stored.

        Raises:
            AssertionError: They do not fit.
        """
        for entity_id in ENTITIES:
            key = EntityKey(NOTEBOOK, entity_id)
            events = await self.store.inner.events(key, after=0, limit=9_999)
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            stored = [_line(decode(event.payload)) for event in events]
            own = [each for each in self.attempts if each.entity_id == entity_id]
            _check_writes(own, stored)
            _check_answers(own, stored)
            snapshot = await self.store.inner.snapshot(key)
            if snapshot is not None:
                lines = decode(snapshot.state)
                assert isinstance(lines, AllLines)
                assert list(lines.lines) == stored[: snapshot.sequence]


def _check_writes(attempts: list[Attempt], stored: list[str]) -> None:
    """Every command is stored as a whole, once, or not at all; one that failed is not."""
    left = list(stored)
    for attempt in attempts:
        found = [line for line in stored if line in attempt.lines]
        if not found:
            continue
        assert COMMANDS[attempt.command][1], f"{attempt} is stored though it failed"
        assert found == attempt.lines, f"{attempt} is stored in part or twice: {found}"
        first = stored.index(found[0])
        assert stored[first : first + len(found)] == found, f"{attempt} is torn apart"
        left = [line for line in left if line not in found]
    assert left == [], f"stored, and nobody wrote it: {left}"


def _check_answers(attempts: list[Attempt], stored: list[str]) -> None:
    """What was answered is stored, and what was seen was true then."""
    answered = [each for each in attempts if each.text is not None]
    for attempt in answered:
        seen = attempt.text or []
        assert seen == stored[: len(seen)], f"{attempt} saw what is not stored: {stored}"
        assert seen[len(seen) - len(attempt.lines) :] == attempt.lines
    for earlier, later in product(answered, answered):
        if earlier.ended < later.began:
            assert len(earlier.text or []) <= len(later.text or []), f"{later} forgot {earlier}"


def _line(event: object) -> str:
    assert isinstance(event, LineAdded)
    return event.line


@asynccontextmanager
async def _runtime(store: StateStore, clock: Clock) -> AsyncIterator[Runtime]:
    plugins = Plugins(kinds={"eventsourced": EventSourcedKind()})
    function = UserFunction(Desk(snapshot_every=4).entities, plugins)
    links = {"desk": LocalLink(function, clock)}
    settings = RuntimeSettings(passivation_timeout_s=PASSIVATION_TIMEOUT_S)
    async with open_runtime(
        settings, plugins, store, links, clock=clock, random=Random(1)
    ) as runtime:
        yield runtime


async def lived(seed: int, fail_at: int | None, *, after_effect: bool = False) -> World:
    """Return a world in which everything has happened that a seed stands for."""
    clock = ManualClock()
    store = PatientStore(MemoryStore(clock), fail_at=fail_at, after_effect=after_effect)
    world = World(store, clock, Random(seed))
    await world.run()
    return world
