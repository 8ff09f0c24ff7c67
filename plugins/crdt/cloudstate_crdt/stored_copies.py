"""One service's copies in the store of this node, and those of them that are in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog

from cloudstate_core.errors import CorruptState
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.store import AmendValue, Commit, EntityKey, PutValue, StoredValue
from cloudstate_crdt.copy_in_use import CopyInUse
from cloudstate_crdt.departed import Departed, Retired, Trace
from cloudstate_crdt.kept_retired import KeptRetired
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.replicas import digest_of
from cloudstate_crdt.stored_form import StoredForm

__all__ = ["StoredCopies"]

log = structlog.get_logger()

T = TypeVar("T")

#: How many keys are listed at once.
_PAGE = 500


class StoredCopies:
    """Reads copies, and writes them.

    A copy that holds something of writers that were forgotten since it was written is brought to
    what the others have when it is read, and then put as a whole with its next change.

    Attributes:
        form: How copies are stored.
        retired: Which writers are forgotten.
    """

    def __init__(self, persistence_id: str, form: StoredForm, host: RuntimeHost) -> None:
        """Start with nothing in memory."""
        self.form = form
        self.retired = Retired()
        self._persistence_id = persistence_id
        self._host = host
        self._kept_retired = KeptRetired(persistence_id, host.store, host.epoch)
        self._in_use: dict[str, CopyInUse] = {}

    def key(self, entity_id: str) -> EntityKey:
        """Return where the copy is stored."""
        return EntityKey(self._persistence_id, entity_id)

    # --- In memory -------------------------------------------------------------------

    @contextmanager
    def using(self, entity_id: str) -> Iterator[CopyInUse]:
        """Keep a copy in memory; what is in memory of it is the same for all who use it."""
        copy = self._in_use.get(entity_id)
        if copy is None:
            copy = self._in_use[entity_id] = CopyInUse()
        copy.users += 1
        try:
            yield copy
        finally:
            copy.users -= 1
            if not copy.users:
                del self._in_use[entity_id]

    async def fill(self, entity_id: str, copy: CopyInUse) -> None:
        """Have in memory what is stored, with what is under way. Its turn must be held.

        Raises:
            StoreError: It cannot be read now.
        """
        if not copy.is_read:
            await copy.settled()
            stored = await self._host.store.value(self.key(entity_id))
            copy.state, copy.extent = self.form.read(entity_id, stored)
            copy.revision, copy.is_read = stored.revision, True
            copy.retired = Retired()
        if copy.retired is not self.retired:
            copy.retired = self.retired
            if isinstance(copy.state, Lattice) and self.retired.apply(copy.state):
                copy.extent = None

    async def fill_durable(self, entity_id: str, copy: CopyInUse) -> None:
        """Have in memory what is stored, with nothing under way. Its turn must be held.

        Raises:
            StoreError: It cannot be read now.
        """
        await self.fill(entity_id, copy)
        await copy.settled()
        # What was under way may have failed.
        await self.fill(entity_id, copy)

    async def store(self, entity_id: str, copy: CopyInUse, write: PutValue | AmendValue) -> None:
        """Store a copy for which `CopyInUse.begin` was called.

        Raises:
            StoreError: It is not known to be stored, and not in memory any more.
        """
        try:
            commit = Commit(self.key(entity_id), self._host.epoch, (write,))
            await self._host.store.commit(commit)
        except BaseException:
            copy.not_stored()
            raise
        copy.stored()

    # --- All of them -----------------------------------------------------------------

    async def digests(self) -> AsyncIterator[tuple[str, bytes]]:
        """Go through all copies: entity id and digest."""
        async for entity_id, digest in self._all(self._digest):
            if digest is not None:
                yield entity_id, digest

    def _digest(self, entity_id: str, stored: StoredValue) -> bytes | None:
        if not self.retired:
            return self.form.digest(entity_id, stored)
        copy, _ = self.form.read(entity_id, stored)
        if isinstance(copy, Lattice):
            self.retired.apply(copy)
        return None if copy is None else digest_of(copy)

    async def traces(self, departed: Departed) -> AsyncIterator[tuple[str, Trace]]:
        """Go through all copies that have something of departed writers."""

        def trace_of(entity_id: str, stored: StoredValue) -> Trace:
            copy, _ = self.form.read(entity_id, stored)
            if not isinstance(copy, Lattice):
                return Trace()
            self.retired.apply(copy)
            return Trace.of(copy, departed)

        async for entity_id, trace in self._all(trace_of):
            if trace != Trace():
                yield entity_id, trace

    async def _all(self, look: Callable[[str, StoredValue], T]) -> AsyncIterator[tuple[str, T]]:
        store, after = self._host.store, ""
        while True:
            page = await store.keys(self._persistence_id, after=after, limit=_PAGE)
            for key in page:
                try:
                    seen = look(key.entity_id, await store.value(key))
                except CorruptState as error:
                    # One that cannot be read must not keep the others from being compared.
                    log.warning("copy_unreadable", entity_id=key.entity_id, error=str(error))
                else:
                    yield key.entity_id, seen
            if len(page) < _PAGE:
                return
            after = page[-1].entity_id

    # --- Writers that are forgotten --------------------------------------------------

    async def load_retired(self) -> None:
        """Know again which writers are forgotten. To be called before anything is read.

        Raises:
            StoreError: It cannot be read now.
        """
        self.retired = await self._kept_retired.load()

    async def keep_retired(self, retired: Retired) -> None:
        """Store which writers are forgotten; what is in memory stays as it is.

        Raises:
            StoreError: It is not known to be kept.
        """
        await self._kept_retired.save(retired)

    def use_retired(self, retired: Retired) -> None:
        """Forget these writers from now on, in every copy that is read or in memory."""
        self.retired = retired
