"""What the cases of the store contract have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar, Protocol

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import StoreUnavailable
from cloudstate_core.store import (
    SLICES,
    AmendValue,
    AppendEvents,
    Commit,
    EnqueueMessage,
    EntityKey,
    PutSnapshot,
    PutValue,
    Received,
    RememberedReply,
    RememberReply,
    Snapshot,
    StateStore,
    StoredValue,
    Write,
)
from cloudstate_core.testing.clock import ManualClock

__all__ = [
    "ALL_SLICES",
    "FaultInjector",
    "OpenStore",
    "StoreContractSetting",
    "amended",
    "append",
    "commit",
    "data_of",
    "everything",
    "key",
    "payload",
    "put_and_amend",
    "traces_of",
    "wait_until_well",
]

OpenStore = Callable[[], AbstractAsyncContextManager[StateStore]]

ALL_SLICES = range(SLICES)

# A store gets this many chances to be well again when nothing fails any more.
_ATTEMPTS = 5


class FaultInjector(Protocol):
    """Lets something below the store fail: the disk, the network, the database."""

    def fail_at(self, call: int, *, lasting: bool) -> None:
        """Let a call fail, counted from 1 from now on; if `lasting`, all later calls as well."""
        ...

    def stop(self) -> bool:
        """Let nothing fail any more, and return whether the chosen call was reached."""
        ...


class StoreContractSetting(ABC):
    """The fixtures of the cases; a backend provides `open_store`."""

    #: Whether all is there again after the store was closed and opened.
    durable: ClassVar[bool] = True

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock that the store is to be opened with; some cases move it."""
        return ManualClock()

    @pytest.fixture
    @abstractmethod
    def open_store(self) -> OpenStore:
        """Return what opens the store, empty at first; each call opens the same one."""

    @pytest.fixture
    def faults(self) -> FaultInjector | None:
        """Return what makes the store of `open_store` fail from below, if there is such a thing."""
        return None

    @pytest.fixture
    async def store(self, open_store: OpenStore) -> AsyncIterator[StateStore]:
        """Return the open store."""
        async with open_store() as store:
            yield store

    @pytest.fixture
    def needs_durability(self) -> None:
        """Skip the case if nothing outlives the store."""
        if not self.durable:
            pytest.skip("nothing outlives this store")


def key(entity_id: str = "e", persistence_id: str = "things") -> EntityKey:
    return EntityKey(persistence_id, entity_id)


def payload(content: str | bytes = b"") -> Any:
    data = content.encode() if isinstance(content, str) else content
    return Any(type_url="type.googleapis.com/example.Thing", value=data)


async def commit(
    store: StateStore, *writes: Write, entity: EntityKey | None = None, epoch: int = 0
) -> None:
    """Commit writes about an entity, about `key()` if none is named."""
    await store.commit(Commit(entity or key(), epoch, writes))


async def append(
    store: StateStore, entity: EntityKey, expected: int, *contents: str | bytes, epoch: int = 0
) -> None:
    """Append events that hold these contents."""
    events = [payload(content) for content in contents]
    await store.commit(Commit(entity, epoch, (AppendEvents(expected, events),)))


async def put_and_amend(
    store: StateStore,
    content: str,
    *amendments: str,
    entity: EntityKey | None = None,
    epoch: int = 0,
) -> None:
    """Put the value of an entity that has none yet, and amend it."""
    await commit(store, PutValue(0, payload(content)), entity=entity, epoch=epoch)
    for revision, amendment in enumerate(amendments, 1):
        write = AmendValue(revision, payload(amendment))
        await commit(store, write, entity=entity, epoch=epoch)


def amended(revision: int, content: str, *amendments: str) -> StoredValue:
    """Return a value of these contents."""
    return StoredValue(revision, payload(content), tuple(map(payload, amendments)))


async def wait_until_well(store: StateStore) -> None:
    """Return when a store below which nothing fails any more can take commits."""
    for attempt in range(_ATTEMPTS):
        try:
            await store.check()
            return
        except StoreUnavailable:
            if attempt == _ATTEMPTS - 1:
                raise


async def data_of(store: StateStore, entity: EntityKey) -> list[bytes]:
    """Return the contents of all events of an entity."""
    return [event.payload.value for event in await store.events(entity, after=0, limit=100_000)]


def everything(name: str, *, sequence: int, revision: int) -> tuple[Write, ...]:
    """Return one write of each type, for an entity that is at this sequence and revision."""
    return (
        AppendEvents(sequence, [payload(f"{name} 1"), payload(f"{name} 2")], {"by": name}),
        PutSnapshot(sequence + 2, payload(f"{name} snapshot")),
        PutValue(revision, payload(f"{name} value")),
        EnqueueMessage(f"{name} out", "somewhere", payload(f"{name} message"), {"by": name}),
        RememberReply(f"{name} command", b"digest", f"{name} reply".encode()),
        Received(f"{name} in"),
    )


async def traces_of(store: StateStore, entity: EntityKey, name: str) -> list[bool]:
    """Return for each write of `everything` whether it is there."""
    contents = await data_of(store, entity)
    logged = list(await store.log(ALL_SLICES, after={}, limit=100_000))
    outbox = await store.outbox(ALL_SLICES, limit=100_000)
    reply = await store.remembered_reply(entity, f"{name} command")
    value = await store.value(entity)
    snapshot = await store.snapshot(entity)
    return [
        f"{name} 1".encode() in contents,
        f"{name} 2".encode() in contents,
        [each.metadata for each in logged if each.key == entity].count({"by": name}) == 2,
        _is_state(snapshot, f"{name} snapshot"),
        _is_value(value, f"{name} value"),
        f"{name} out" in [message.message_id for message in outbox],
        reply == RememberedReply(b"digest", f"{name} reply".encode()),
    ]


def _is_state(snapshot: Snapshot | None, content: str) -> bool:
    return snapshot is not None and snapshot.state == payload(content)


def _is_value(stored: StoredValue, content: str) -> bool:
    return stored.value == payload(content)
