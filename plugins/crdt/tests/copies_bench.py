"""Copies with a store around them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any as AnyType

from google.protobuf.any_pb2 import Any

from cloudstate.crdt_pb2 import CrdtDelta
from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.store import Commit, EntityKey, Write
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.faulty_store import FaultyStore
from cloudstate_crdt import GCounter, Replica, standard_types
from cloudstate_crdt.copies import Copies
from cloudstate_crdt.replicas import Change, Deleted
from cloudstate_crdt.stored_form import StoredForm

TYPES = standard_types()
ME, OTHER = Replica("a", 3), Replica("b", 1)
REQUEST = Request("s", "c", Any())
OUTCOME = Outcome(ClientAction())


def nobody() -> None:
    """Whoever changes a copy and does not listen."""


@dataclass
class Bench:
    """Copies with a store around them.

    Attributes:
        begun: How many commits have begun.
        commits: What was committed, in order.
        gate: Commits wait for it.
    """

    max_state_bytes: int = 10_000
    clock: ManualClock = field(default_factory=ManualClock)
    begun: int = 0
    commits: list[tuple[Write, ...]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.inner = MemoryStore(self.clock)
        self.fail(None)

    def fail(self, at: int | None, **how: bool) -> None:
        """Let a call of the store fail, and have nothing in memory."""
        self.store = FaultyStore(self.inner, fail_at=at, **how)
        self.epoch = 0
        host: AnyType = self
        form = StoredForm(TYPES, self.max_state_bytes)
        self.copies = Copies("p", ME, form, host)
        bench = self

        class Gated(FaultyStore):
            async def commit(self, commit: Commit) -> None:
                bench.begun += 1
                await bench.gate.wait()
                bench.commits.append(commit.writes)
                await super().commit(commit)

        self.store.__class__ = Gated

    async def commit(
        self, request: Request, key: EntityKey, writes: Sequence[Write], outcome: Outcome
    ) -> Outcome:
        await self.store.commit(Commit(key, self.epoch, tuple(writes)))
        return outcome

    async def change(
        self, update: CrdtDelta | Deleted, changer: AnyType = nobody, entity_id: str = "e"
    ) -> Change:
        _, change = await self.copies.change(entity_id, update, REQUEST, OUTCOME, changer)
        return change

    async def stored(self, entity_id: str = "e") -> Change | None:
        stored = await self.inner.value(EntityKey("p", entity_id))
        return StoredForm(TYPES, 1).read(entity_id, stored)[0]


def total(copy: Change | None) -> int:
    assert isinstance(copy, GCounter), copy
    return copy.value
