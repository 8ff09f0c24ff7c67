"""Random work for a store, and what a store holds after each part of it.

The same steps go into the store under test and into the memory store, which is the reference. After
a crash the store must hold exactly what the reference held after some number of steps, and that
number is at least as large as that of the steps that were answered before the crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import AlreadyReceived, SequenceConflict
from cloudstate_core.store import (
    SLICES,
    AmendValue,
    AppendEvents,
    Commit,
    DeleteValue,
    EnqueueMessage,
    EntityKey,
    PutSnapshot,
    PutValue,
    Received,
    RememberReply,
    StateStore,
    Write,
)
from cloudstate_core.stores import MemoryStore
from cloudstate_core.testing.clock import ManualClock

__all__ = ["Author", "Script", "Step", "contents", "contents_after_each", "play"]

#: Something that is asked of a store.
Step = Callable[[StateStore], Awaitable[object]]

_KEYS = [EntityKey("things", f"thing {n}") for n in range(6)]
_ALL_SLICES = range(SLICES)
_EPOCH = 10**6

# No entity has so many events, so a commit with this writes nothing.
_REFUSED = AppendEvents(10**9, [Any()])

# For how many events it is looked at what was noted with them.
_PROBED = 6


@dataclass(frozen=True, slots=True)
class Script:
    """Batches of steps; the steps of a batch are asked for at the same time."""

    batches: list[list[Step]]

    @property
    def steps(self) -> list[Step]:
        return [step for batch in self.batches for step in batch]


class Author:
    """Writes scripts in which every step succeeds if it comes after those before.

    Args:
        random: Decides what happens.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._sequences: dict[EntityKey, int] = {}
        self._revisions: dict[EntityKey, int] = {}
        self._amendable: set[EntityKey] = set()
        self._waiting: list[str] = []
        self._names = 0

    def script(self, batches: int) -> Script:
        """Write so many batches; a later script goes on where this one ends."""
        return Script([self._batch() for _ in range(batches)])

    def _batch(self) -> list[Step]:
        if self._random.random() < 0.25:
            return [self._other_work()]
        return [self._commit() for _ in range(self._random.choice([1, 1, 2, 5, 8]))]

    def _commit(self) -> Step:
        key = self._random.choice(_KEYS)
        self._names += 1
        name = f"message {self._names}"
        sequence, revision = self._sequences.get(key, 0), self._revisions.get(key, 0)
        count = self._random.choice([1, 1, 1, 2, 4])
        writes: list[Write] = [
            AppendEvents(sequence, [self._payload() for _ in range(count)], {"name": name}),
            # One message for each commit with events: the outbox is what the events say.
            EnqueueMessage(name, "somewhere", self._payload(), {"name": name}),
        ]
        if self._random.random() < 0.4:
            writes.append(PutSnapshot(sequence + count, self._payload(3000)))
        if self._random.random() < 0.6:
            writes.append(self._change_of_value(key, revision))
            self._revisions[key] = revision + 1
        if self._random.random() < 0.4:
            writes += (RememberReply(name, b"digest", b"reply"), Received(name))
        self._sequences[key] = sequence + count
        self._waiting.append(name)
        commit = Commit(key, _EPOCH, tuple(writes))
        return lambda store: store.commit(commit)

    def _change_of_value(self, key: EntityKey, revision: int) -> Write:
        if key in self._amendable and self._random.random() < 0.7:
            return AmendValue(revision, self._payload(100))
        if revision and self._random.random() < 0.3:
            self._amendable.discard(key)
            return DeleteValue(revision)
        self._amendable.add(key)
        return PutValue(revision, self._payload(500))

    def _other_work(self) -> Step:
        match self._random.choice(["acknowledge", "delete", "offsets", "claim", "park", "unpark"]):
            case "acknowledge":
                names, self._waiting = self._waiting[:3], self._waiting[3:]
                return lambda store: store.acknowledge(names)
            case "park":
                (name,) = self._waiting[-1:] or ("none",)
                return lambda store: store.park(name, f"why {name} is parked")
            case "unpark":
                names = self._waiting[-9:]
                return lambda store: store.unpark(names)
            case "delete":
                key = self._random.choice(_KEYS)
                self._sequences.pop(key, None)
                self._revisions.pop(key, None)
                self._amendable.discard(key)
                return lambda store: store.delete(key, _EPOCH)
            case "offsets":
                offsets = {self._random.randrange(1024): self._random.randrange(99)}
                return lambda store: store.save_offsets("reader", offsets)
            case _:
                return lambda store: store.claim([1, 2, 3])

    def _payload(self, most_bytes: int = 300) -> Any:
        return Any(
            type_url="t/x", value=self._random.randbytes(self._random.randint(0, most_bytes))
        )


async def contents(store: StateStore) -> list[object]:
    """Return all that is stored, in a form in which two stores can be compared."""
    log = await store.log(_ALL_SLICES, after={}, limit=10_000)
    found: list[object] = [
        log,
        await store.keys("things", limit=10_000),
        await store.offsets("reader"),
    ]
    for event in log[-_PROBED:]:
        name = event.metadata["name"]
        found += (
            await store.remembered_reply(event.key, name),
            await _is_received(store, event.key, name),
        )
    parked = await store.parked(limit=10_000)
    found.append([(p.message.message_id, p.reason) for p in parked])
    outbox = await store.outbox(_ALL_SLICES, limit=10_000)
    found.append([(m.message_id, m.sender, m.payload, m.metadata) for m in outbox])
    for key in _KEYS:
        events = await store.events(key, after=0, limit=10_000)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert await store.last_sequence(key) == len(events)
        found += [events, await store.snapshot(key), await store.value(key)]
    return found


async def _is_received(store: StateStore, key: EntityKey, message_id: str) -> bool:
    """Return whether a message is noted, without writing anything."""
    try:
        await store.commit(Commit(key, _EPOCH, (Received(message_id), _REFUSED)))
    except AlreadyReceived:
        return True
    except SequenceConflict:
        return False
    raise AssertionError("a commit that expects the impossible was accepted")


async def contents_after_each(steps: list[Step]) -> list[list[object]]:
    """Return what the reference holds after 0, 1, 2 ... steps."""
    reference = MemoryStore(ManualClock())
    history = [await contents(reference)]
    for step in steps:
        await step(reference)
        history.append(await contents(reference))
    return history


async def play(script: Script, store: StateStore) -> None:
    """Carry out a script; fail if a step fails."""
    for batch in script.batches:
        await asyncio.gather(*(step(store) for step in batch))
