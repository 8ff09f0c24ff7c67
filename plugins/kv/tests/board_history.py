"""Clients who do random things to a few entities, and what may have come of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise, product
from random import Random

from boards import PINBOARD, Boards
from google.protobuf.message import Message
from pinboard.pinboard_pb2 import Board, Note, Text, Texts

from cloudstate_core.anys import decode, pack_message
from cloudstate_core.clock import Clock
from cloudstate_core.errors import CloudstateError
from cloudstate_core.handler import Request
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import Commit, DeleteValue, EntityKey, PutValue, StateStore
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.faulty_store import FaultyStore
from cloudstate_kv.plugin import ValueKind
from cloudstate_runtime.runtime import Runtime, open_runtime
from cloudstate_runtime.settings import RuntimeSettings

ENTITIES = ("e", "f")
CLIENTS = 3
COMMANDS_PER_CLIENT = 8
PASSIVATION_TIMEOUT_S = 0.2

#: What a client does, with how often.
COMMANDS = {
    "Extend": 5,
    "Pin": 2,
    "Clear": 1,
    "Read": 3,
    "PinAndFail": 2,
    "PinAndBreak": 1,
}

CHANGING = frozenset({"Extend", "Pin", "Clear"})


@dataclass
class Attempt:
    """One command of a client.

    Attributes:
        entity_id: For which entity.
        command: Which command.
        texts: What it asked to be pinned; each text is asked for once in a world.
        began: When, by a counter of all that happens.
        ended: When it was answered.
        text: The answer; None if there was an error, or a failure.
        version: The revision that came with the answer.
    """

    entity_id: str
    command: str
    texts: list[str]
    began: int
    ended: int = 0
    text: str | None = None
    version: int | None = None


class RememberingStore(FaultyStore):
    """Remembers every value there was; its check never fails, being of no interest here.

    Attributes:
        values: For each entity the text of every revision; None where there was no value.
    """

    def __init__(self, inner: StateStore, *, fail_at: int | None, after_effect: bool) -> None:
        super().__init__(_Watched(inner, self), fail_at=fail_at, after_effect=after_effect)
        self.values: dict[str, list[str | None]] = {each: [None] for each in ENTITIES}

    async def check(self) -> None:
        await self.inner.check()


class _Watched(FaultyStore):
    """Never fails, and tells of each commit that was written."""

    def __init__(self, inner: StateStore, told: RememberingStore) -> None:
        super().__init__(inner, fail_at=None)
        self._told = told

    async def commit(self, commit: Commit) -> None:
        await super().commit(commit)
        if commit.key.entity_id not in self._told.values:
            return  # what the runtime keeps for itself
        for write in commit.writes:
            if isinstance(write, PutValue):
                self._told.values[commit.key.entity_id].append(_text_of(decode(write.value)))
            elif isinstance(write, DeleteValue):
                self._told.values[commit.key.entity_id].append(None)


@dataclass
class World:
    """A store, the runtime that serves from it now, and what the clients have done.

    Attributes:
        store: Fails at the chosen call.
        clock: The time.
        random: Decides everything.
        attempts: Every command, in the order in which they were begun.
    """

    store: RememberingStore
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
        for turn in range(COMMANDS_PER_CLIENT):
            await self._pause()
            (command,) = self.random.choices(list(COMMANDS), list(COMMANDS.values()))
            texts = [f"{number}.{turn}.{n}" for n in range(self.random.randint(1, 3))]
            await self._attempt(self.random.choice(ENTITIES), command, texts)

    async def _attempt(self, entity_id: str, command: str, texts: list[str]) -> None:
        is_bare = command in {"Read", "Clear"}
        message: Message = Board(id=entity_id) if is_bare else Texts(id=entity_id, texts=texts)
        attempt = Attempt(entity_id, command, [] if is_bare else texts, next(self._happened))
        self.attempts.append(attempt)
        assert self._runtime is not None
        try:
            outcome = await self._runtime.handler.handle(
                Request(PINBOARD, command, pack_message(message))
            )
        except CloudstateError:
            return
        finally:
            attempt.ended = next(self._happened)
        if outcome.action.HasField("reply"):
            answered = decode(outcome.action.reply.payload)
            attempt.text = answered.text if isinstance(answered, Text) else ""
            attempt.version = outcome.version

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
        """Compare what clients saw with every value there was.

        Raises:
            AssertionError: They do not fit.
        """
        for entity_id in ENTITIES:
            values = self.store.values[entity_id]
            stored = await self.store.inner.value(EntityKey(PINBOARD, entity_id))
            text = None if stored.value is None else _text_of(decode(stored.value))
            assert (stored.revision, text) == (len(values) - 1, values[-1])
            own = [each for each in self.attempts if each.entity_id == entity_id]
            _check_changes(own, values)
            _check_answers(own, values)


def _check_changes(attempts: list[Attempt], values: list[str | None]) -> None:
    """Each value came of the one before by one command that may change it, whole and once."""
    by_last = {attempt.texts[-1]: attempt for attempt in attempts if attempt.texts}
    made: set[str] = set()
    for before, after in pairwise(values):
        if after is None:
            assert before is not None, "what was not there was deleted"
            continue
        last = after.split()[-1]
        attempt = by_last[last]
        assert attempt.command in CHANGING, f"{attempt} is stored though it failed"
        assert last not in made, f"{attempt} is stored twice"
        made.add(last)
        assert after == _model(attempt, before), f"{attempt} made {after!r} of {before!r}"
    deletes = sum(after is None for after in values[1:])
    assert deletes <= sum(each.command == "Clear" for each in attempts)


def _model(attempt: Attempt, before: str | None) -> str:
    """Return what a command makes of a value."""
    if attempt.command == "Pin":
        return attempt.texts[-1]
    return " ".join([*(before or "").split(), *attempt.texts])


def _check_answers(attempts: list[Attempt], values: list[str | None]) -> None:
    """What was answered is stored, and what was seen was true then."""
    answered = [each for each in attempts if each.text is not None]
    for attempt in answered:
        assert attempt.version is not None
        assert attempt.version < len(values), f"{attempt} saw what is not stored"
        value = values[attempt.version]
        if attempt.command == "Clear":
            assert value is None, f"{attempt} left {value!r}"
        else:
            assert attempt.text == (value or ""), f"{attempt} saw what is not stored: {value!r}"
        if attempt.texts:
            assert (attempt.text or "").split()[-1] == attempt.texts[-1]
    for earlier, later in product(answered, answered):
        if earlier.ended < later.began:
            assert (earlier.version or 0) <= (later.version or 0), f"{later} forgot {earlier}"


def _text_of(note: object) -> str:
    assert isinstance(note, Note)
    return " ".join([*note.earlier, note.text])


@asynccontextmanager
async def _runtime(store: StateStore, clock: Clock) -> AsyncIterator[Runtime]:
    plugins = Plugins(kinds={"kv": ValueKind()})
    function = UserFunction(Boards().entities, plugins)
    links = {"boards": LocalLink(function, clock)}
    settings = RuntimeSettings(passivation_timeout_s=PASSIVATION_TIMEOUT_S)
    async with open_runtime(
        settings, plugins, store, links, clock=clock, random=Random(1)
    ) as runtime:
        yield runtime


async def lived(seed: int, fail_at: int | None, *, after_effect: bool = False) -> World:
    """Return a world in which everything has happened that a seed stands for."""
    clock = ManualClock()
    store = RememberingStore(MemoryStore(clock), fail_at=fail_at, after_effect=after_effect)
    world = World(store, clock, Random(seed))
    await world.run()
    return world
