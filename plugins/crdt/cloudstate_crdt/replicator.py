"""Replicating one service's entities over a transport."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Collection, Coroutine
from contextlib import AsyncExitStack
from hashlib import blake2b
from random import Random
from types import TracebackType
from typing import Self, assert_never

import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Cluster, Members
from cloudstate_crdt.departed import Departed
from cloudstate_crdt.errors import TooFewReplicas
from cloudstate_crdt.registry import Registry
from cloudstate_crdt.replica_work import ReplicaInstruction, ReplicaWork
from cloudstate_crdt.replicas import Change, Consistency, Replicas
from cloudstate_crdt.replication.limits import Limits
from cloudstate_crdt.replication.machine import ReplicationMachine
from cloudstate_crdt.replication.words import (
    Adopt,
    Broadcast,
    Changed,
    Flush,
    GapSuspected,
    Input,
    Instruction,
    Join,
    Keep,
    LoadDigests,
    MembersChanged,
    Read,
    ReadDigests,
    ReadTraces,
    Received,
    Report,
    ScanTraces,
    Send,
    Settle,
    Ticked,
    Unsure,
)

__all__ = ["Replicator", "topic_of"]

log = structlog.get_logger()

#: How often the machine learns what time it is.
_TICK_S = 0.1

#: How many bytes may wait to be sent. More are dropped, and found missing by their receivers.
_MAX_OUTGOING_BYTES = 32 * 2**20

#: A node joins, or all have agreed on something: what they report for information.
_NO_REASON_TO_WORRY = ("node_not_known", "departed_forgotten", "forgotten_elsewhere")

#: How long a node that stops goes on sending.
_FAREWELL_S = 1.0


class Replicator:
    """Brings changes to the other nodes and takes in theirs, while the context is open.

    Implements `Dissemination`. Everything that decides is in `ReplicationMachine`. As long as this
    node is the only member and has nobody to forget, nothing is done at all.
    """

    def __init__(
        self,
        persistence_id: str,
        replicas: Replicas,
        cluster: Cluster,
        clock: Clock,
        registry: Registry,
        *,
        random: Random,
        limits: Limits | None = None,
    ) -> None:
        """Keep what it is given.

        Args:
            persistence_id: Whose entities they are; the same on all nodes.
            replicas: This node's copies, which know already who is forgotten in them.
            cluster: This node among the others.
            clock: The time.
            registry: The types that are known; the same on all nodes.
            random: Where chance comes from. No two processes of a node may have the same.
            limits: The bounds of everything.
        """
        self._topic = topic_of(persistence_id)
        self._replicas = replicas
        self._cluster = cluster
        self._clock = clock
        self._machine = ReplicationMachine(
            cluster.node,
            random.getrandbits(64),
            registry,
            random.randrange,
            cluster.transport.max_message_bytes,
            limits,
            replicas.retired,
        )
        self._work = ReplicaWork(replicas, clock, self._topic, self._give)
        self._loading: asyncio.Task[None] | None = None
        self._scanning: asyncio.Task[None] | None = None
        self._open = AsyncExitStack()
        self._is_open = False
        self._is_needed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._waited = 0
        self._flush_is_due = False
        self._outgoing: deque[Broadcast | Send] = deque()
        self._outgoing_bytes = 0
        self._has_outgoing = asyncio.Event()
        self._has_sent = asyncio.Event()
        self._has_sent.set()

    # --- Dissemination ---------------------------------------------------------------

    @property
    def members(self) -> Collection[str]:
        return self._cluster.members.epochs.keys()

    async def changed(self, entity_id: str, delta: Change, consistency: str) -> None:
        if not self._is_needed:
            return
        if consistency == Consistency.LOCAL:
            self._give(Changed(entity_id, delta, consistency))
            return
        if not self._is_open:
            raise self._too_few(consistency)
        self._waited += 1
        number = self._waited
        stored = self._waiters[number] = asyncio.get_running_loop().create_future()
        try:
            self._give(Changed(entity_id, delta, consistency, number))
            await stored
        finally:
            del self._waiters[number]

    def unsure(self, entity_id: str) -> None:
        if self._is_needed:
            self._give(Unsure(entity_id))

    def _too_few(self, consistency: str) -> TooFewReplicas:
        members = self._cluster.members
        is_all = consistency == Consistency.ALL
        needed = len(members.epochs) if is_all else members.majority
        return TooFewReplicas(1, needed, "this node is stopping")

    # --- Life ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        transport = self._cluster.transport
        async with AsyncExitStack() as stack:
            self._give(Ticked(self._clock.monotonic_s()))
            self._is_open = True
            stack.push_async_callback(self._close)
            await stack.enter_async_context(transport.listen(self._topic, self._received))
            stack.enter_context(transport.on_gap(lambda: self._give(GapSuspected())))
            stack.enter_context(self._cluster.on_change(self._members_changed))
            self._members_changed(self._cluster.members)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._say_farewell()
        await self._open.aclose()

    async def _say_farewell(self) -> None:
        """Send what is left: the others need not wait for it until this node is back."""
        self._flush()
        try:
            async with self._clock.timeout(_FAREWELL_S):
                await self._has_sent.wait()
        except TimeoutError:
            log.warning("changes_left_unsent", topic=self._topic)

    async def _close(self) -> None:
        self._is_open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_exception(self._too_few(Consistency.MAJORITY))

    def _begin(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _members_changed(self, members: Members) -> None:
        if not self._is_needed and self._need(members):
            self._is_needed = True
            self._begin(self._tick())
            self._begin(self._send_all())
            self._load()
        self._give(MembersChanged(members))

    def _need(self, members: Members) -> bool:
        """Whether there is anybody to talk to, or anybody's writing to forget."""
        retired = self._replicas.retired.departed
        return len(members.epochs) > 1 or bool(Departed(members.forgotten).without(retired))

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(_TICK_S)
            self._give(Ticked(self._clock.monotonic_s()))

    # --- The machine -----------------------------------------------------------------

    def _received(self, sender: str, message: bytes) -> None:
        self._give(Received(sender, message))

    def _give(self, given: Input) -> None:
        for instruction in self._machine.receive(given):
            self._carry_out(instruction)
        if self._machine.has_unsent and not self._flush_is_due:
            # What else comes in this turn of the loop is sent together with it.
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        self._give(Flush())

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Broadcast() | Send():
                self._post(instruction)
            case LoadDigests():
                self._load()
            case ScanTraces():
                self._scanning = self._started_instead_of(self._scanning, instruction)
            case Join() | Read() | ReadDigests() | ReadTraces() | Adopt() | Keep():
                self._start(instruction)
            case Settle():
                self._settle(instruction)
            case Report():
                tell = log.info if instruction.what in _NO_REASON_TO_WORRY else log.warning
                tell(instruction.what, topic=self._topic, **instruction.fields)
            case _:
                assert_never(instruction)

    def _start(self, instruction: ReplicaInstruction) -> asyncio.Task[None] | None:
        return self._begin(self._work.work(instruction)) if self._is_open else None

    def _started_instead_of(
        self, earlier: asyncio.Task[None] | None, instruction: ReplicaInstruction
    ) -> asyncio.Task[None] | None:
        if earlier is not None:
            earlier.cancel()
        return self._start(instruction)

    def _load(self) -> None:
        self._loading = self._started_instead_of(self._loading, LoadDigests())

    def _settle(self, settle: Settle) -> None:
        waiter = self._waiters.get(settle.waiter)
        if waiter is None or waiter.done():
            return
        if settle.failure:
            waiter.set_exception(TooFewReplicas(settle.stored, settle.needed, settle.failure))
        else:
            waiter.set_result(None)

    # --- Sending ---------------------------------------------------------------------

    def _post(self, message: Broadcast | Send) -> None:
        if self._outgoing_bytes > _MAX_OUTGOING_BYTES:
            # Whoever misses it asks for it, or compares.
            return
        self._outgoing.append(message)
        self._outgoing_bytes += len(message.message)
        self._has_outgoing.set()
        self._has_sent.clear()

    async def _send_all(self) -> None:
        while True:
            await self._has_outgoing.wait()
            while self._outgoing:
                message = self._outgoing.popleft()
                self._outgoing_bytes -= len(message.message)
                await self._send(message)
            self._has_outgoing.clear()
            self._has_sent.set()

    async def _send(self, message: Broadcast | Send) -> None:
        transport = self._cluster.transport
        try:
            match message:
                case Broadcast():
                    await transport.broadcast(self._topic, message.message)
                case Send():
                    await transport.send(message.to, self._topic, message.message)
        except Exception as error:  # as good as lost on the way
            log.warning("message_not_sent", topic=self._topic, error=str(error))


_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,150}")


def topic_of(persistence_id: str) -> str:
    """Return the topic that the nodes talk about a service's entities under."""
    if _PLAIN.fullmatch(persistence_id):
        return f"crdt/{persistence_id}"
    return f"crdt/-{blake2b(persistence_id.encode(), digest_size=16).hexdigest()}"
