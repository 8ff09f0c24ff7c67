"""This node's copies of the entities of one service: in the store, and in memory while in use.

One change at a time is made to a copy, in the order in which they were asked for; but a change may
be made while those before it are still being stored. What could not be stored is thrown away with
the copy in memory, and the next who needs it reads the store. Nothing is shown before it is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

from cloudstate.crdt_pb2 import CrdtDelta
from cloudstate_core.errors import StoreUnavailable
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.store import AmendValue, PutValue
from cloudstate_crdt.clock_watch import ClockWatch
from cloudstate_crdt.copy_in_use import Changed, CopyInUse, Waiting
from cloudstate_crdt.departed import Departed, Retired, Trace
from cloudstate_crdt.entity_errors import EntityDeleted
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.replicas import DELETED, Change, Deleted
from cloudstate_crdt.stored_copies import StoredCopies
from cloudstate_crdt.stored_form import StoredForm
from cloudstate_crdt.translation.deltas import state_type_of, write
from cloudstate_crdt.translation.translation import Writer

__all__ = ["Changed", "Copies"]


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
        self._me = me
        self._form = form
        self._host = host
        self._stored = StoredCopies(persistence_id, form, host)
        self._clock_watch = ClockWatch(host.clock)

    # --- For who serves an entity ----------------------------------------------------

    @contextmanager
    def listening(self, entity_id: str, changed: Changed) -> Iterator[None]:
        """Keep a copy in memory, and call `changed` when others have changed it."""
        with self._stored.using(entity_id) as copy:
            copy.listeners.append(changed)
            try:
                yield
            finally:
                copy.listeners.remove(changed)

    async def read(self, entity_id: str, look: Callable[[Change | None], None]) -> None:
        """Show what is stored: call `look` with the copy, which it must neither change nor keep.

        Raises:
            StoreError: It cannot be read now.
        """
        with self._stored.using(entity_id) as copy:
            async with copy.turn:
                await self._stored.fill_durable(entity_id, copy)
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
        with self._stored.using(entity_id) as copy:
            async with copy.turn:
                await self._stored.fill(entity_id, copy)
                change, write = self._apply(entity_id, copy, update)
            # Whoever has the next turn gets it after this has begun.
            try:
                key = self._stored.key(entity_id)
                outcome = await self._host.commit(request, key, (write,), outcome)
            except BaseException:
                copy.not_stored()
                raise
            copy.stored()
            copy.notify(but=changer)
        return outcome, change

    def _apply(
        self, entity_id: str, copy: CopyInUse, update: CrdtDelta | Deleted
    ) -> tuple[Change, PutValue | AmendValue]:
        """Change the copy in memory; return the change, and what stores it."""
        try:
            change = self._changed(entity_id, copy, update)
            assert copy.state is not None
            write, extent = self._form.write_grown(copy.state, change, copy.extent, copy.revision)
        except BaseException:
            copy.forget()
            raise
        copy.begin(extent)
        return change, write

    def _changed(self, entity_id: str, copy: CopyInUse, update: CrdtDelta | Deleted) -> Change:
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

    # --- For replication -------------------------------------------------------------

    async def join(self, entity_id: str, change: Change) -> bool:
        with self._stored.using(entity_id) as copy:
            joined: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            copy.joins.append((change, joined))
            if copy.joining is None:
                copy.joining = asyncio.create_task(self._take_in_all(entity_id, copy))
            return await joined

    async def state(self, entity_id: str) -> Change | None:
        with self._stored.using(entity_id) as copy:
            async with copy.turn:
                await self._stored.fill_durable(entity_id, copy)
                state = copy.state
                return state.copy() if isinstance(state, Lattice) else state

    def digests(self) -> AsyncIterator[tuple[str, bytes]]:
        return self._stored.digests()

    async def _take_in_all(self, entity_id: str, copy: CopyInUse) -> None:
        """Take in what waits until nothing does: all that waits at once in one commit."""
        try:
            with self._stored.using(entity_id):
                while copy.joins:
                    await self._take_in(entity_id, copy)
        finally:
            copy.joining = None

    async def _take_in(self, entity_id: str, copy: CopyInUse) -> None:
        joins: list[Waiting] = []
        try:
            async with copy.turn:
                joins, copy.joins = copy.joins, []
                await self._stored.fill(entity_id, copy)
                has_changed, write = self._join_all(entity_id, copy, joins)
            if write is None:
                await self._all_stored(copy)
            else:
                await self._stored.store(entity_id, copy, write)
        except Exception as error:
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
        if write is not None:
            copy.notify()
        for (_, joined), changed in zip(joins, has_changed, strict=True):
            if not joined.done():
                joined.set_result(changed)

    def _join_all(
        self, entity_id: str, copy: CopyInUse, joins: Sequence[Waiting]
    ) -> tuple[list[bool], PutValue | AmendValue | None]:
        """Join in memory; return which have changed anything, and what stores it."""
        try:
            changes = [self._joined(entity_id, copy, *each) for each in joins]
            has_changed = [change is not None for change in changes]
            taken = [change for change in changes if change is not None]
            if not taken:
                return has_changed, None
            assert copy.state is not None
            write, extent = self._form.write_joined(copy.state, taken, copy.extent, copy.revision)
        except BaseException:
            copy.forget()
            raise
        copy.begin(extent)
        return has_changed, write

    @staticmethod
    async def _all_stored(copy: CopyInUse) -> None:
        """Return when what is in memory is stored: what changes nothing may be covered by that."""
        failures = copy.failures
        await copy.settled()
        if copy.failures != failures:
            raise StoreUnavailable("a change before this one could not be stored")

    def _joined(
        self, entity_id: str, copy: CopyInUse, change: Change, joined: asyncio.Future[bool]
    ) -> Change | None:
        """Join one change in memory; return what it has brought, None if nothing."""
        state = copy.state
        if isinstance(state, Deleted):
            return None
        if isinstance(change, Deleted):
            copy.state = DELETED
            return DELETED
        self._clock_watch.look_at(entity_id, change)
        if self._stored.retired:
            # It may have been on its way when its writers were forgotten.
            change = change.copy()
            self._stored.retired.strip(change)
        if state is None:
            copy.state = change.copy()
            return change
        try:
            state.expect_same_type(change)
            return change if state.join(change) else None
        except Exception as error:  # a type's own; what else waits is none the worse for it
            if not joined.done():
                joined.set_exception(error)
            return None

    # --- Writers that are forgotten --------------------------------------------------

    @property
    def retired(self) -> Retired:
        return self._stored.retired

    async def load_retired(self) -> None:
        """Know again which writers are forgotten; to be called before anything else.

        Raises:
            StoreError: It cannot be read now.
        """
        await self._stored.load_retired()

    async def keep_retired(self, retired: Retired) -> None:
        await self._stored.keep_retired(retired)

    def use_retired(self, retired: Retired) -> None:
        self._stored.use_retired(retired)

    async def trace(self, entity_id: str, departed: Departed) -> Trace:
        with self._stored.using(entity_id) as copy:
            async with copy.turn:
                await self._stored.fill_durable(entity_id, copy)
                return (
                    Trace.of(copy.state, departed) if isinstance(copy.state, Lattice) else Trace()
                )

    def traces(self, departed: Departed) -> AsyncIterator[tuple[str, Trace]]:
        return self._stored.traces(departed)

    async def adopt(self, entity_id: str, departed: Departed) -> Change | None:
        with self._stored.using(entity_id) as copy:
            async with copy.turn:
                await self._stored.fill(entity_id, copy)
                state = copy.state
                if not isinstance(state, Lattice) or not state.must_adopt(departed):
                    return None
                try:
                    change = state.adopt(self._me, departed)
                    write, extent = self._form.write_joined(
                        state, [change], copy.extent, copy.revision
                    )
                except BaseException:
                    copy.forget()
                    raise
                copy.begin(extent)
            await self._stored.store(entity_id, copy, write)
            copy.notify()
        return change
