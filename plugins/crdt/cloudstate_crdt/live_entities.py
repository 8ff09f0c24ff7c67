"""All replicated entities of one service that are in memory on this node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import structlog

from cloudstate_core.addressing import Addressing
from cloudstate_core.due_order import DueOrder
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import LimitExceeded, Stopping
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.store import EntityKey
from cloudstate_crdt.calls import Call, StreamedCall, UnaryCall
from cloudstate_crdt.copies import Copies
from cloudstate_crdt.engine import CrdtEngine, conditions_without_names
from cloudstate_crdt.entity_errors import EntityTerminating
from cloudstate_crdt.replicas import Consistency, Dissemination
from cloudstate_crdt.spread import kept_consistency

__all__ = ["MAX_STREAMS", "LiveEntities", "open_live_entities"]

log = structlog.get_logger()

K = TypeVar("K", bound=Hashable)

#: How many clients may have a stream at one entity at the same time.
MAX_STREAMS = 10_000

#: What a caller is told who finds too many waiting: about the time a few commands take.
_RETRY_AFTER_S = 0.1

#: How often to look for what is due.
_MIN_SWEEP_S = 0.01
_MAX_SWEEP_S = 3600.0

#: How long an entity may take to let go. Links have their own limit, which is shorter.
_CLOSE_TIMEOUT_S = 5.0


class _Live:
    """An entity in memory.

    Attributes:
        engine: What drives it.
        opening: Brings it to the state that the copy has.
        is_open: Whether it has that for certain.
        waiting: How many commands are not answered.
        streams: How many clients have a stream.
    """

    __slots__ = ("engine", "is_open", "opening", "streams", "waiting")

    def __init__(self, engine: CrdtEngine, opening: asyncio.Task[None]) -> None:
        self.engine = engine
        self.opening = opening
        self.is_open = False
        self.waiting = 0
        self.streams = 0

    async def opened(self) -> None:
        if not self.opening.done():
            await asyncio.wait((self.opening,))
        self.opening.result()
        self.is_open = True

    def settled(self) -> None:
        self.waiting -= 1


class LiveEntities:
    """Brings commands to the entities that they are for.

    Attributes:
        entity: The service.
        host: What the runtime offers.
        copies: This node's copies.
        dissemination: The way to the other nodes.
        node: The name of this node.
        output_type_urls: For each command, the type its replies must have.
    """

    def __init__(
        self,
        entity: DeployedEntity,
        host: RuntimeHost,
        copies: Copies,
        dissemination: Dissemination,
        node: str,
    ) -> None:
        """Start empty; `open_live_entities` runs it."""
        self.entity = entity
        self.host = host
        self.copies = copies
        self.dissemination = dissemination
        self.node = node
        self.output_type_urls: Mapping[str, str] = {
            name: method.output_type_url for name, method in entity.methods.items()
        }
        self._members = frozenset(dissemination.members)
        self._limits = host.limits(entity)
        self._addressing = Addressing(entity, passes_metadata=self._limits.passes_metadata)
        self._live: dict[str, _Live] = {}
        self._idle: DueOrder[CrdtEngine] = DueOrder(self._limits.passivation_timeout_s)
        self._asked: DueOrder[tuple[CrdtEngine, int]] = DueOrder(host.relay_timeout_s)
        self._named: dict[tuple[str, str], asyncio.Event] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._something_ended = asyncio.Event()

    # --- Requests --------------------------------------------------------------------

    async def handle(self, request: Request) -> Outcome:
        """Carry out a command with one answer."""
        entity_id, request = self._addressing.read(request)
        if request.conditions is not None and request.conditions.command_key:
            return await self._once(entity_id, request, request.conditions.command_key)
        call = UnaryCall(request)
        live = self._enter(entity_id, call)
        if not live.is_open:
            await self._wait_until_open(live, call)
        self._begin(live, call)
        return await call.outcome()

    async def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        """Carry out a command with a stream of answers."""
        entity_id, request = self._addressing.read(request, streamed=True)
        if self._is_stopping:
            raise Stopping("the runtime is stopping")
        # An answer is remembered, and a stream is none.
        conditions = request.conditions
        if conditions is not None and conditions.command_key:
            request = replace(request, conditions=conditions_without_names(conditions))
        call = StreamedCall(request)
        live = self._enter(entity_id, call)
        await self._wait_until_open(live, call)
        self._begin(live, call)
        key = EntityKey(self.entity.persistence_id, entity_id)
        follows = replace(request, conditions=conditions_without_names(conditions))
        live.streams += 1
        try:
            async for outcome, is_stored in call.elements():
                if is_stored or not _passes_on(outcome):
                    yield outcome
                else:
                    yield await self.host.commit(follows, key, (), outcome)
                if outcome.action.HasField("failure"):
                    return
        finally:
            live.streams -= 1
            live.engine.leave(call)

    async def _once(self, entity_id: str, request: Request, command_key: str) -> Outcome:
        """Carry out a command to which its caller gave a name, unless that was done before.

        While a command of the same name runs, also for a caller that has left, this one waits.
        """
        name = (entity_id, command_key)
        while (running := self._named.get(name)) is not None:
            await running.wait()
        settled = self._named[name] = asyncio.Event()

        def settle() -> None:
            if self._named.get(name) is settled:
                del self._named[name]
            settled.set()

        call = UnaryCall(request)
        try:
            key = EntityKey(self.entity.persistence_id, entity_id)
            before = await self.host.recalled(request, key)
            if before is not None:
                await self._has_spread(entity_id, kept_consistency(before.note))
                settle()
                return before
            call.when_settled(settle)
            live = self._enter(entity_id, call)
            await self._wait_until_open(live, call)
            self._begin(live, call)
        except BaseException:
            settle()
            raise
        return await call.outcome()

    async def _has_spread(self, entity_id: str, consistency: str) -> None:
        """Return when as many nodes have an entity's state as it is said to need.

        Raises:
            TooFewReplicas: They did not say so in time.
        """
        if consistency == Consistency.LOCAL:
            return
        state = await self.copies.state(entity_id)
        if state is not None:
            # All of it, since nobody knows any more which part was the command's.
            await self.dissemination.changed(entity_id, state, consistency)

    # --- Entities --------------------------------------------------------------------

    def _enter(self, entity_id: str, call: Call) -> _Live:
        """Find the entity that a command is for, or bring it to life, and count the command."""
        live = self._live.get(entity_id) or self._activate(entity_id)
        self._check_room(live, call)
        live.waiting += 1
        self._idle.remove(live.engine)
        call.when_settled(live.settled)
        return live

    def _begin(self, live: _Live, call: Call) -> None:
        if live.engine.is_over:
            call.fail(EntityTerminating())
        else:
            live.engine.begin(call)

    async def _wait_until_open(self, live: _Live, call: Call) -> None:
        try:
            await live.opened()
        except BaseException:
            call.fail(EntityTerminating())
            # Its caller may have left while the entity came to life without it.
            if live.engine.is_idle():
                self.became_idle(live.engine)
            raise

    async def bring_into_memory(self, entity_id: str) -> None:
        """Return when the user function has an entity's state; see `HomeOfEntities`."""
        live = self._live.get(entity_id) or self._activate(entity_id)
        await live.opened()
        while not (live.engine.is_over or live.engine.is_idle()):
            self._something_ended.clear()
            await self._something_ended.wait()

    def _check_room(self, live: _Live, call: Call) -> None:
        if live.waiting >= self._limits.max_waiting_commands:
            raise LimitExceeded(
                f"too many commands wait for this entity: at most "
                f"{self._limits.max_waiting_commands} may",
                retry_after_s=_RETRY_AFTER_S,
            )
        if call.streamed and live.streams >= MAX_STREAMS:
            raise LimitExceeded(
                f"too many clients have a stream at this entity: at most {MAX_STREAMS} may"
            )

    def _activate(self, entity_id: str) -> _Live:
        while len(self._live) >= self._limits.max_active_entities:
            longest_idle = self._idle.take_first()
            if longest_idle is None:
                raise LimitExceeded(
                    f"too many entities are busy: at most {self._limits.max_active_entities} of "
                    "one service may be in memory",
                    retry_after_s=_RETRY_AFTER_S,
                )
            self._passivate(longest_idle)
        engine = CrdtEngine(entity_id, self)
        opening = asyncio.create_task(self._open(engine))
        # Whoever has waited for it may have left.
        opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        live = self._live[entity_id] = _Live(engine, opening)
        return live

    async def _open(self, engine: CrdtEngine) -> None:
        try:
            await engine.open()
        except Exception:
            self.ended(engine)
            raise
        self.host.instrument.entity_activated(self.entity, engine.entity_id)

    def _passivate(self, engine: CrdtEngine) -> None:
        self.ended(engine)
        self.host.instrument.entity_passivated(self.entity, engine.entity_id)

    def asked(self, engine: CrdtEngine, command_id: int) -> None:
        """Count the time of a command, or of its cancellation."""
        self._asked.add((engine, command_id), self.host.clock.monotonic_s())

    def answered(self, engine: CrdtEngine, command_id: int) -> None:
        """Count it no more."""
        self._asked.remove((engine, command_id))

    def became_idle(self, engine: CrdtEngine) -> None:
        """Let an entity leave memory after a while."""
        self._something_ended.set()
        live = self._live.get(engine.entity_id)
        if live is not None and live.engine is engine and not live.waiting:
            self._idle.add(engine, self.host.clock.monotonic_s())

    def ended(self, engine: CrdtEngine) -> None:
        """Drop an entity from memory; the next command starts another one."""
        self._idle.remove(engine)
        live = self._live.get(engine.entity_id)
        if live is None or live.engine is not engine:
            return
        del self._live[engine.entity_id]
        engine.is_over = True
        task = asyncio.create_task(self._close(engine))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, engine: CrdtEngine) -> None:
        try:
            async with self.host.clock.timeout(_CLOSE_TIMEOUT_S):
                await engine.aclose()
        except TimeoutError:
            log.warning("engine_does_not_close", service=self.entity.service_name)
        except Exception:
            log.exception("engine_failed_to_close", service=self.entity.service_name)
        finally:
            self._something_ended.set()

    def members_may_have_changed(self) -> None:
        """Let every entity look at its copy, if a vote among other nodes looks otherwise now."""
        members = frozenset(self.dissemination.members)
        if members == self._members:
            return  # one of them can be reached again, or cannot
        self._members = members
        for live in self._live.values():
            live.engine.copy_changed()

    # --- Time ------------------------------------------------------------------------

    async def passivate_idle(self) -> None:
        """Let entities leave memory when they are due; runs until cancelled."""
        await self._sweep(self._idle, self._passivate)

    async def end_silence(self) -> None:
        """Give up entities whose user functions do not answer; runs until cancelled."""

        def time_out(asked: tuple[CrdtEngine, int]) -> None:
            engine, command_id = asked
            engine.time_out(command_id)

        await self._sweep(self._asked, time_out)

    async def _sweep(self, order: DueOrder[K], act: Callable[[K], None]) -> None:
        clock = self.host.clock
        while True:
            wait_s = order.next_in_s(clock.monotonic_s())
            await clock.sleep(min(max(wait_s, _MIN_SWEEP_S), _MAX_SWEEP_S))
            self._act_on_due(order, act)

    def _act_on_due(self, order: DueOrder[K], act: Callable[[K], None]) -> None:
        # Apart from the loop that sleeps, which would hold what it has looked at last.
        for key in order.take_due(self.host.clock.monotonic_s()):
            try:
                act(key)
            except Exception:  # an instrument's, say; the others are due all the same
                log.exception("entity_failed", service=self.entity.service_name)

    # --- The end ---------------------------------------------------------------------

    def end_streams(self) -> None:
        """End the streams of all clients, with nothing wrong, and begin no more."""
        self._is_stopping = True
        for live in self._live.values():
            live.engine.end_streams()

    async def drain(self) -> None:
        """Let what runs finish for a moment, and let go of every entity."""
        try:
            async with self.host.clock.timeout(_CLOSE_TIMEOUT_S):
                while not all(live.engine.is_idle() for live in self._live.values()):
                    self._something_ended.clear()
                    await self._something_ended.wait()
        except TimeoutError:
            log.warning("commands_given_up", service=self.entity.service_name)
        for live in tuple(self._live.values()):
            self.ended(live.engine)
        if self._closing:
            await asyncio.wait(self._closing)


def _passes_on(outcome: Outcome) -> bool:
    return bool(outcome.side_effects) or outcome.action.HasField("forward")


@asynccontextmanager
async def open_live_entities(entities: LiveEntities) -> AsyncIterator[LiveEntities]:
    """Run the entities of a service, and let go of them in the end."""
    sweeping = [
        asyncio.create_task(entities.passivate_idle()),
        asyncio.create_task(entities.end_silence()),
    ]
    try:
        yield entities
    finally:
        await entities.drain()
        for task in sweeping:
            task.cancel()
        await asyncio.wait(sweeping)
