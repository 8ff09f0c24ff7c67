"""What replicating asks of this node's copies, done one instruction at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TypeVar, assert_never

import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.errors import CloudstateError
from cloudstate_crdt.departed import Trace
from cloudstate_crdt.errors import StateRefused
from cloudstate_crdt.replicas import Replicas, digest_of
from cloudstate_crdt.replication.words import (
    Adopt,
    Adopted,
    AdoptionFailed,
    Digested,
    Input,
    Join,
    Joined,
    JoinFailed,
    JoinRefused,
    Keep,
    KeepFailed,
    Kept,
    LoadDigests,
    Loaded,
    Read,
    ReadDigests,
    ReadTraces,
    ScanTraces,
    StateRead,
    Traced,
)

__all__ = ["ReplicaInstruction", "ReplicaWork"]

log = structlog.get_logger()

T = TypeVar("T")

ReplicaInstruction = (
    Join | Read | ReadDigests | LoadDigests | ScanTraces | ReadTraces | Adopt | Keep
)

#: How many digests or traces are given to the machine at once.
_GIVEN_AT_ONCE = 500

#: How long to wait until the store is asked again.
_STORE_PAUSE_S = 1.0


class ReplicaWork:
    """Carries out what concerns the copies, and gives the machine the answers."""

    def __init__(
        self, replicas: Replicas, clock: Clock, topic: str, give: Callable[[Input], None]
    ) -> None:
        """Keep what it is given.

        Args:
            replicas: The copies.
            clock: The time.
            topic: What the log calls the service by.
            give: Called with each answer.
        """
        self._replicas = replicas
        self._clock = clock
        self._topic = topic
        self._give = give

    def work(self, instruction: ReplicaInstruction) -> Coroutine[object, object, None]:
        """Return what is to be awaited; it does not raise."""
        match instruction:
            case Join():
                return self._join(instruction)
            case Read():
                return self._read(instruction)
            case ReadDigests():
                return self._read_digests(instruction)
            case LoadDigests():
                return self._repeated(self._load_digests, "digests_not_read")
            case ScanTraces():
                return self._repeated(lambda: self._scan_traces(instruction), "traces_not_read")
            case ReadTraces():
                return self._read_traces(instruction)
            case Adopt():
                return self._adopt(instruction)
            case Keep():
                return self._keep(instruction)
            case _:
                assert_never(instruction)

    # --- All copies ------------------------------------------------------------------

    async def _repeated(self, read_all: Callable[[], Awaitable[None]], failure: str) -> None:
        """Try until all copies could be read."""
        while True:
            try:
                return await read_all()
            except CloudstateError as error:
                log.warning(failure, topic=self._topic, error=str(error))
                await self._clock.sleep(_STORE_PAUSE_S)

    async def _load_digests(self) -> None:
        read: list[tuple[str, bytes | None]] = []
        async for entity_id, digest in self._replicas.digests():
            read.append((entity_id, digest))
            if len(read) == _GIVEN_AT_ONCE:
                self._give(Digested(read))
                read = []
        self._give(Digested(read))
        self._give(Loaded())

    async def _scan_traces(self, scan: ScanTraces) -> None:
        read: list[tuple[str, Trace]] = []
        async for entity_id, trace in self._replicas.traces(scan.departed):
            read.append((entity_id, trace))
            if len(read) == _GIVEN_AT_ONCE:
                self._give(Traced(scan.number, read, is_scan=True))
                read = []
        self._give(Traced(scan.number, read, is_scan=True, is_last=True))

    # --- Some copies -----------------------------------------------------------------

    async def _join(self, join: Join) -> None:
        try:
            has_changed = await self._replicas.join(join.entity_id, join.change)
        except StateRefused as error:
            self._give(JoinRefused(join, str(error)))
        except Exception as error:  # whatever it was, the change may not be stored
            self._give(JoinFailed(join, _described(error)))
        else:
            self._give(Joined(join, has_changed))

    async def _read(self, read: Read) -> None:
        try:
            state = await self._replicas.state(read.entity_id)
        except Exception as error:
            log.warning("copy_not_read", entity_id=read.entity_id, error=str(error))
            state = None
        self._give(StateRead(read, state))

    async def _read_digests(self, read: ReadDigests) -> None:
        async def digest(entity_id: str) -> bytes | None:
            state = await self._replicas.state(entity_id)
            return None if state is None else digest_of(state)

        self._give(Digested(*await _each(read.entity_ids, digest)))

    async def _read_traces(self, read: ReadTraces) -> None:
        async def trace(entity_id: str) -> Trace:
            return await self._replicas.trace(entity_id, read.departed)

        self._give(Traced(read.number, *await _each(read.entity_ids, trace)))

    # --- Departed writers ------------------------------------------------------------

    async def _adopt(self, adopt: Adopt) -> None:
        try:
            delta = await self._replicas.adopt(adopt.entity_id, adopt.departed)
        except Exception as error:
            self._give(AdoptionFailed(adopt.entity_id, _described(error)))
        else:
            self._give(Adopted(adopt.entity_id, delta))

    async def _keep(self, keep: Keep) -> None:
        try:
            await self._replicas.keep_retired(keep.retired)
        except Exception as error:
            self._give(KeepFailed(_described(error)))
            return
        # Nothing may come between these: what the machine sends has to be of the copies as they
        # are, and what they take in of those whom it hears.
        self._replicas.use_retired(keep.retired)
        self._give(Kept(keep.retired))


async def _each(
    entity_ids: Iterable[str], read: Callable[[str], Awaitable[T]]
) -> tuple[list[tuple[str, T]], list[str]]:
    """What could be read of some copies, and which could not."""
    found: list[tuple[str, T]] = []
    unread: list[str] = []
    for entity_id in entity_ids:
        try:
            found.append((entity_id, await read(entity_id)))
        except Exception as error:
            log.warning("copy_not_read", entity_id=entity_id, error=str(error))
            unread.append(entity_id)
    return found, unread


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
