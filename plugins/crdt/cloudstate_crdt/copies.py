"""This node's copies of the entities of one service: in the store, and in memory while in use.

One thing at a time is done to a copy, in the order in which it was asked for. What could not be
stored is thrown away with the copy in memory, and the next who needs it reads the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import structlog

from cloudstate.crdt_pb2 import CrdtDelta
from cloudstate_core.errors import CorruptState
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.store import Commit, EntityKey, PutValue
from cloudstate_crdt.clock_watch import ClockWatch
from cloudstate_crdt.entity_errors import EntityDeleted
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.replicas import DELETED, Change, Deleted
from cloudstate_crdt.stored_form import StoredForm
from cloudstate_crdt.translation.deltas import state_type_of, write
from cloudstate_crdt.translation.translation import Writer

__all__ = ["Changed", "Copies"]

log = structlog.get_logger()

#: Called, without waiting, when a copy may be another than whoever serves the entity knows.
Changed = Callable[[], None]

_Waiting = tuple[Change, "asyncio.Future[bool]"]

#: How many keys are listed at once.
_PAGE = 500


class _Copy:
    """One copy, while somebody uses it.

    Attributes:
        turn: Held by the one who works on it.
        users: How many need it in memory.
        state: The copy, as it is stored if nobody has its turn; None if there is none.
        revision: What the store calls it.
        is_read: Whether the two are what the store has.
        joins: What other nodes have sent and is not taken in.
        joining: Takes it in.
        listeners: Who wants to know of changes.
    """

    __slots__ = (
        "is_read",
        "joining",
        "joins",
        "listeners",
        "revision",
        "state",
        "turn",
        "users",
    )

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.users = 0
        self.state: Change | None = None
        self.revision = 0
        self.is_read = False
        self.joins: list[_Waiting] = []
        self.joining: asyncio.Task[None] | None = None
        self.listeners: list[Changed] = []

    def forget(self) -> None:
        """Throw away what may not be what is stored."""
        self.state, self.revision, self.is_read = None, 0, False

    def notify(self, *, but: Changed | None = None) -> None:
        for changed in tuple(self.listeners):
            if changed != but:
                changed()


class Copies:
    """The copies of one service's entities; implements `Replicas`."""

    def __init__(
        self, persistence_id: str, me: Replica, form: StoredForm, host: RuntimeHost
    ) -> None:
        """Start with nothing in memory.

        Args:
            persistence_id: Whose entities they are.
            me: As whom this node writes.
            form: How copies are stored.
            host: What the runtime offers.
        """
        self._persistence_id = persistence_id
        self._me = me
        self._form = form
        self._host = host
        self._in_use: dict[str, _Copy] = {}
        self._clock_watch = ClockWatch(host.clock)

    # --- For who serves an entity ----------------------------------------------------

    @contextmanager
    def listening(self, entity_id: str, changed: Changed) -> Iterator[None]:
        """Keep a copy in memory, and call `changed` when others have changed it."""
        with self._using(entity_id) as copy:
            copy.listeners.append(changed)
            try:
                yield
            finally:
                copy.listeners.remove(changed)

    @contextmanager
    def _using(self, entity_id: str) -> Iterator[_Copy]:
        copy = self._in_use.get(entity_id)
        if copy is None:
            copy = self._in_use[entity_id] = _Copy()
        copy.users += 1
        try:
            yield copy
        finally:
            copy.users -= 1
            if not copy.users:
                del self._in_use[entity_id]

    async def read(self, entity_id: str, look: Callable[[Change | None], None]) -> None:
        """Show what is stored: call `look` with the copy, which it must neither change nor keep.

        Raises:
            StoreError: It cannot be read now.
        """
        with self._using(entity_id) as copy:
            async with copy.turn:
                await self._fill(entity_id, copy)
                look(copy.state)

    async def change(
        self,
        entity_id: str,
        update: CrdtDelta | Deleted,
        request: Request,
        outcome: Outcome,
        changer: Changed,
    ) -> tuple[Outcome, Change]:
        """Apply what a user function has made of an entity, and store it with its command.

        Args:
            entity_id: Which.
            update: Its delta, or that it has deleted the entity.
            request: The command.
            outcome: What the user function answered.
            changer: Who of those that listen knows of it already.

        Returns:
            The outcome, with what is still to be done; and the change, for the other nodes.

        Raises:
            EntityDeleted: There is nothing to change any more. Nothing was stored.
            TranslationFault: The copy cannot take the delta. Nothing was stored.
            StateRefused: Likewise, or the copy would be too large. Nothing was stored.
            CloudstateError: As `RuntimeHost.commit` says.
        """
        with self._using(entity_id) as copy:
            async with copy.turn:
                await self._fill(entity_id, copy)
                try:
                    change = self._changed(entity_id, copy, update)
                    stored = self._form.write(DELETED if copy.state is None else copy.state)
                    outcome = await self._host.commit(
                        request, self._key(entity_id), (PutValue(copy.revision, stored),), outcome
                    )
                except BaseException:
                    copy.forget()
                    raise
                copy.revision += 1
            copy.notify(but=changer)
        return outcome, change

    def _changed(self, entity_id: str, copy: _Copy, update: CrdtDelta | Deleted) -> Change:
        if isinstance(update, Deleted):
            copy.state = DELETED
            return DELETED
        if isinstance(copy.state, Deleted):
            raise EntityDeleted
        if copy.state is None:
            copy.state = state_type_of(update).bottom(self._form.types)
        now_ms = round(self._host.clock.unix_time_s() * 1000)
        change = write(copy.state, update, Writer(self._me, now_ms))
        self._clock_watch.look_at(entity_id, change)
        return change

    def members_changed(self) -> None:
        """Tell whoever serves an entity that the members are others: votes count anew."""
        for copy in tuple(self._in_use.values()):
            copy.notify()

    # --- For replication -------------------------------------------------------------

    async def join(self, entity_id: str, change: Change) -> bool:
        with self._using(entity_id) as copy:
            joined: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            copy.joins.append((change, joined))
            if copy.joining is None:
                copy.joining = asyncio.create_task(self._take_in_all(entity_id, copy))
            return await joined

    async def state(self, entity_id: str) -> Change | None:
        with self._using(entity_id) as copy:
            async with copy.turn:
                await self._fill(entity_id, copy)
                state = copy.state
                return state.copy() if isinstance(state, Lattice) else state

    async def digests(self) -> AsyncIterator[tuple[str, bytes]]:
        store, after = self._host.store, ""
        while True:
            page = await store.keys(self._persistence_id, after=after, limit=_PAGE)
            for key in page:
                try:
                    value = (await store.value(key)).value
                    digest = None if value is None else self._form.digest(key.entity_id, value)
                except CorruptState as error:
                    # One that cannot be read must not keep the others from being compared.
                    log.warning("copy_unreadable", entity_id=key.entity_id, error=str(error))
                    continue
                if digest is not None:
                    yield key.entity_id, digest
            if len(page) < _PAGE:
                return
            after = page[-1].entity_id

    async def _take_in_all(self, entity_id: str, copy: _Copy) -> None:
        """Take in what waits until nothing does: all that waits at once in one commit."""
        try:
            with self._using(entity_id):
                while copy.joins:
                    async with copy.turn:
                        joins, copy.joins = copy.joins, []
                        await self._take_in(entity_id, copy, joins)
        finally:
            copy.joining = None

    async def _take_in(self, entity_id: str, copy: _Copy, joins: list[_Waiting]) -> None:
        try:
            await self._fill(entity_id, copy)
            changed = [self._joined(entity_id, copy, *each) for each in joins]
            if any(changed):
                await self._store(entity_id, copy)
        except Exception as error:
            copy.forget()
            for _, joined in joins:
                if not joined.done():
                    joined.set_exception(error)
            # It may be stored all the same.
            copy.notify()
            return
        except BaseException:
            for _, joined in joins:
                joined.cancel()
            raise
        if any(changed):
            copy.notify()
        for (_, joined), has_changed in zip(joins, changed, strict=True):
            if not joined.done():
                joined.set_result(has_changed)

    def _joined(
        self, entity_id: str, copy: _Copy, change: Change, joined: asyncio.Future[bool]
    ) -> bool:
        state = copy.state
        if isinstance(state, Deleted):
            return False
        if isinstance(change, Deleted):
            copy.state = DELETED
            return True
        self._clock_watch.look_at(entity_id, change)
        if state is None:
            copy.state = change.copy()
            return True
        try:
            state.expect_same_type(change)
            return state.join(change)
        except Exception as error:  # a type's own; what else waits is none the worse for it
            if not joined.done():
                joined.set_exception(error)
            return False

    async def _store(self, entity_id: str, copy: _Copy) -> None:
        assert copy.state is not None
        put = PutValue(copy.revision, self._form.write(copy.state))
        await self._host.store.commit(Commit(self._key(entity_id), self._host.epoch, (put,)))
        copy.revision += 1

    # --- The store -------------------------------------------------------------------

    def _key(self, entity_id: str) -> EntityKey:
        return EntityKey(self._persistence_id, entity_id)

    async def _fill(self, entity_id: str, copy: _Copy) -> None:
        """Read the copy, if what is in memory is not what is stored."""
        if copy.is_read:
            return
        stored = await self._host.store.value(self._key(entity_id))
        value = stored.value
        copy.state = None if value is None else self._form.read(entity_id, value)
        copy.revision, copy.is_read = stored.revision, True
