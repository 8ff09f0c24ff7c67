"""One copy of an entity while somebody uses it: what is in memory of it, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cloudstate_crdt.departed import Retired
from cloudstate_crdt.replicas import Change
from cloudstate_crdt.stored_form import Extent

__all__ = ["Changed", "CopyInUse", "Waiting"]

#: Called, without waiting, when a copy may be another than whoever serves the entity knows.
Changed = Callable[[], None]

#: What another node has sent, and who waits to hear whether it changes anything.
Waiting = tuple[Change, "asyncio.Future[bool]"]


class CopyInUse:
    """One copy.

    Whoever changes it holds its turn until the commit has begun, so that several commits are under
    way at once, in the order of the turns, each building on what the one before it leaves. If one
    of them fails, what is in memory is thrown away, and the store refuses those that build on it.

    Attributes:
        turn: Held by the one who works on it.
        users: How many need it in memory.
        state: The copy; None if there is none.
        revision: What the store calls it, once all that is under way is stored.
        extent: How much is stored of it; None if the next write has to be of the whole.
        retired: Which writers are forgotten in it.
        is_read: Whether these are what the store has, with what is under way.
        failures: How often something was not stored.
        joins: What other nodes have sent and is not taken in.
        joining: Takes it in.
        listeners: Who wants to know of changes.
    """

    __slots__ = (
        "_all_settled",
        "_under_way",
        "extent",
        "failures",
        "is_read",
        "joining",
        "joins",
        "listeners",
        "retired",
        "revision",
        "state",
        "turn",
        "users",
    )

    def __init__(self) -> None:
        """Start with nothing read."""
        self.turn = asyncio.Lock()
        self.users = 0
        self.state: Change | None = None
        self.revision = 0
        self.extent: Extent | None = None
        self.retired = Retired()
        self.is_read = False
        self.failures = 0
        self.joins: list[Waiting] = []
        self.joining: asyncio.Task[None] | None = None
        self.listeners: list[Changed] = []
        self._under_way = 0
        self._all_settled: asyncio.Future[None] | None = None

    def forget(self) -> None:
        """Throw away what may not be what is stored."""
        self.state, self.revision, self.extent, self.is_read = None, 0, None, False
        self.failures += 1

    def notify(self, *, but: Changed | None = None) -> None:
        """Tell whoever listens that the copy has changed, or may have."""
        for changed in tuple(self.listeners):
            if changed != but:
                changed()

    # --- Commits that are under way --------------------------------------------------

    def begin(self, extent: Extent) -> None:
        """Take note that a commit of what is in memory is about to begin."""
        self.revision += 1
        self.extent = extent
        self._under_way += 1

    def stored(self) -> None:
        """Take note that one has ended well."""
        self._settle()

    def not_stored(self) -> None:
        """Take note that one has failed, or may have."""
        self.forget()
        self._settle()

    def _settle(self) -> None:
        self._under_way -= 1
        if not self._under_way and self._all_settled is not None:
            self._all_settled.set_result(None)
            self._all_settled = None

    async def settled(self) -> None:
        """Return when nothing is under way."""
        while self._under_way:
            if self._all_settled is None:
                self._all_settled = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._all_settled)
