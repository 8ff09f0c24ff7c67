"""A store that fails at a call that the test chooses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from cloudstate_core.errors import StoreUnavailable
from cloudstate_core.store import (
    Commit,
    EntityKey,
    LoggedEvent,
    OutboxMessage,
    ParkedMessage,
    RememberedReply,
    Snapshot,
    StateStore,
    StoredEvent,
    StoredValue,
)

__all__ = ["FaultyStore"]

T = TypeVar("T")


class FaultyStore(StateStore):
    """Passes every call on to another store, but the chosen one fails with `StoreUnavailable`.

    That is how to find out that whoever uses a store survives a failure at every point: run the
    same thing with `fail_at` 1, 2, 3 and so on, until `has_failed` stays false::

        for fail_at in itertools.count(1):
            store = FaultyStore(MemoryStore(clock), fail_at=fail_at)
            ...  # what is to be tested; then look at `store.inner`
            if not store.has_failed:
                break

    Attributes:
        inner: The other store.
        calls: How many calls there were, the failed one included.
        has_failed: Whether the chosen call was reached.

    Args:
        inner: The other store.
        fail_at: Which call fails, counted from 1; None for none.
        after_effect: Whether the chosen call has its effect all the same. A store that answers
            `StoreUnavailable` may have done what it was asked.
        lasting: Whether all later calls fail as well; they have no effect.
    """

    def __init__(
        self,
        inner: StateStore,
        *,
        fail_at: int | None,
        after_effect: bool = False,
        lasting: bool = False,
    ) -> None:
        self.inner = inner
        self.calls = 0
        self.has_failed = False
        self._fail_at = fail_at
        self._after_effect = after_effect
        self._lasting = lasting

    async def claim(self, slices: Sequence[int]) -> int:
        return await self._call(lambda: self.inner.claim(slices))

    async def commit(self, commit: Commit) -> None:
        await self._call(lambda: self.inner.commit(commit))

    async def snapshot(self, key: EntityKey) -> Snapshot | None:
        return await self._call(lambda: self.inner.snapshot(key))

    async def events(self, key: EntityKey, *, after: int, limit: int) -> list[StoredEvent]:
        return await self._call(lambda: self.inner.events(key, after=after, limit=limit))

    async def last_sequence(self, key: EntityKey) -> int:
        return await self._call(lambda: self.inner.last_sequence(key))

    async def value(self, key: EntityKey) -> StoredValue:
        return await self._call(lambda: self.inner.value(key))

    async def remembered_reply(self, key: EntityKey, command_key: str) -> RememberedReply | None:
        return await self._call(lambda: self.inner.remembered_reply(key, command_key))

    async def log(
        self, slices: range, *, after: Mapping[int, int], limit: int
    ) -> list[LoggedEvent]:
        return await self._call(lambda: self.inner.log(slices, after=after, limit=limit))

    async def outbox(self, slices: range, *, after: int = 0, limit: int) -> list[OutboxMessage]:
        return await self._call(lambda: self.inner.outbox(slices, after=after, limit=limit))

    async def acknowledge(self, message_ids: Sequence[str]) -> None:
        await self._call(lambda: self.inner.acknowledge(message_ids))

    async def park(self, message_id: str, reason: str) -> bool:
        return await self._call(lambda: self.inner.park(message_id, reason))

    async def unpark(self, message_ids: Sequence[str]) -> list[str]:
        return await self._call(lambda: self.inner.unpark(message_ids))

    async def parked(self, *, after: int = 0, limit: int) -> list[ParkedMessage]:
        return await self._call(lambda: self.inner.parked(after=after, limit=limit))

    async def offsets(self, consumer: str) -> dict[int, int]:
        return await self._call(lambda: self.inner.offsets(consumer))

    async def save_offsets(self, consumer: str, offsets: Mapping[int, int]) -> None:
        await self._call(lambda: self.inner.save_offsets(consumer, offsets))

    async def keys(
        self, persistence_id: str, *, prefix: str = "", after: str = "", limit: int
    ) -> list[EntityKey]:
        return await self._call(
            lambda: self.inner.keys(persistence_id, prefix=prefix, after=after, limit=limit)
        )

    async def delete(self, key: EntityKey, epoch: int) -> None:
        await self._call(lambda: self.inner.delete(key, epoch))

    async def check(self) -> None:
        await self._call(self.inner.check)

    async def _call(self, ask: Callable[[], Awaitable[T]]) -> T:
        self.calls += 1
        is_chosen = self.calls == self._fail_at
        if is_chosen and self._after_effect:
            await ask()
        if is_chosen or (self.has_failed and self._lasting):
            self.has_failed = True
            raise StoreUnavailable(f"call {self.calls} of the store fails, as the test wants it")
        return await ask()
