"""How an event-sourced entity is driven in the runtime: store, user function, clock."""

from __future__ import annotations

from collections.abc import Mapping

from cloudstate.event_sourced_pb2 import (
    EventSourcedInit,
    EventSourcedStreamIn,
    EventSourcedStreamOut,
)
from cloudstate_core.drive import Driver
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import (
    CloudstateError,
    DeadlineExceeded,
    UserFunctionError,
    UserFunctionUnavailable,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.links import Rpc
from cloudstate_core.store import AppendEvents, EntityKey, PutSnapshot, StoredEvent, Write
from cloudstate_eventsourced.machine import (
    CommandArrived,
    Commit,
    Committed,
    Crash,
    EventSourcedMachine,
    InitSent,
    Input,
    Instruction,
    LoadSnapshot,
    Opening,
    Replay,
    Replayed,
    ReplyArrived,
    SendCommand,
    SendInit,
    SnapshotLoaded,
)

__all__ = ["HANDLE", "REPLAY_PAGE_EVENTS", "EventSourcedEngine"]

#: The protocol's method for this kind.
HANDLE: Rpc[EventSourcedStreamIn, EventSourcedStreamOut] = Rpc(
    "/cloudstate.eventsourced.EventSourced/handle", EventSourcedStreamIn, EventSourcedStreamOut
)

#: Events read from the store at a time: enough that the way there costs little for each, few
#: enough that a long history does not fill memory.
REPLAY_PAGE_EVENTS = 500

#: How long the reason for which a stream has ended may be on its way, in seconds.
_LAST_WORDS_TIMEOUT_S = 1.0


class EventSourcedEngine:
    """One activation of one entity."""

    def __init__(
        self,
        entity: DeployedEntity,
        entity_id: str,
        host: RuntimeHost,
        output_type_urls: Mapping[str, str],
    ) -> None:
        """Prepare; `open` starts.

        Args:
            entity: The service.
            entity_id: Which entity.
            host: What the runtime offers.
            output_type_urls: For each command, the type its reply must have.
        """
        self._entity = entity
        self._entity_id = entity_id
        self._key = EntityKey(entity.persistence_id, entity_id)
        self._host = host
        self._stream = host.link.open_stream(HANDLE)
        self._machine = EventSourcedMachine(entity_id, output_type_urls)
        self._driver: Driver[Input, Instruction] = Driver(self._machine, self._perform)
        self._request: Request | None = None
        self._outcome: Outcome | None = None

    @property
    def version(self) -> int:
        """Return the sequence of the last event."""
        return self._machine.sequence

    async def open(self) -> None:
        """Bring the user function to the state that the store holds."""
        await self._driver.run(Opening())

    async def handle(self, request: Request) -> Outcome:
        """Carry out one command."""
        self._request = request
        await self._driver.run(CommandArrived(request.command, request.payload, request.metadata))
        return self._answer()

    def fault(self) -> CloudstateError | None:
        """Return what came of the stream after the last reply."""
        return self._stream.unasked()

    async def aclose(self) -> None:
        """End the stream."""
        await self._stream.aclose()

    def _answer(self) -> Outcome:
        # An idle entity does not keep its last command in memory.
        outcome, self._outcome, self._request = self._outcome, None, None
        assert outcome is not None, "every command ends with an answer or an exception"
        return outcome

    async def _perform(self, instruction: Instruction) -> Input | None:
        match instruction:
            case SendCommand(message):
                return await self._ask(message)
            case Commit():
                await self._commit(instruction)
                return Committed()
            case LoadSnapshot():
                return await self._load_snapshot()
            case SendInit():
                return await self._start(instruction)
            case Replay(after):
                return await self._replay(after)
            case Crash(reason, detail):
                raise UserFunctionError(reason, detail=detail)

    async def _ask(self, message: EventSourcedStreamIn) -> ReplyArrived:
        try:
            return ReplyArrived(await self._stream.ask(message, self._host.relay_timeout_s))
        except TimeoutError:
            raise DeadlineExceeded(
                f"the user function did not answer within {self._host.relay_timeout_s:g} s"
            ) from None
        except UserFunctionUnavailable as gone:
            return await self._last_words(gone)

    async def _last_words(self, gone: UserFunctionUnavailable) -> ReplyArrived:
        """Return why the user function has ended the stream, if it said so; raise `gone` if not."""
        try:
            async with self._host.clock.timeout(_LAST_WORDS_TIMEOUT_S):
                return ReplyArrived(await self._stream.receive())
        except TimeoutError:
            raise gone from None

    async def _commit(self, commit: Commit) -> None:
        sequence = commit.expected_sequence + len(commit.events)
        answered = Outcome(commit.action, commit.side_effects, commit.restart, sequence)
        assert self._request is not None
        self._outcome = await self._host.commit(self._request, self._key, _writes(commit), answered)

    async def _load_snapshot(self) -> SnapshotLoaded:
        snapshot = await self._host.store.snapshot(self._key)
        if snapshot is None:
            return SnapshotLoaded(0, None)
        return SnapshotLoaded(snapshot.sequence, snapshot.state)

    async def _start(self, start: SendInit) -> InitSent | ReplyArrived:
        init = EventSourcedInit(service_name=self._entity.service_name, entity_id=self._entity_id)
        if start.snapshot is not None:
            init.snapshot.snapshot_sequence = start.sequence
            init.snapshot.snapshot.CopyFrom(start.snapshot)
        try:
            await self._stream.send(EventSourcedStreamIn(init=init))
        except UserFunctionUnavailable as gone:
            return await self._last_words(gone)
        return InitSent()

    async def _replay(self, after: int) -> Replayed | ReplyArrived:
        sequence = after
        while True:
            page = await self._host.store.events(
                self._key, after=sequence, limit=REPLAY_PAGE_EVENTS
            )
            try:
                await self._stream.send_all(map(_event_message, page))
            except UserFunctionUnavailable as gone:
                return await self._last_words(gone)
            if page:
                sequence = page[-1].sequence
            if len(page) < REPLAY_PAGE_EVENTS:
                return Replayed(sequence)


def _writes(commit: Commit) -> tuple[Write, ...]:
    if not commit.events:
        return ()
    append = AppendEvents(commit.expected_sequence, commit.events)
    if commit.snapshot is None:
        return (append,)
    sequence = commit.expected_sequence + len(commit.events)
    return append, PutSnapshot(sequence, commit.snapshot)


def _event_message(event: StoredEvent) -> EventSourcedStreamIn:
    message = EventSourcedStreamIn()
    sent = message.event  # looked up once, since that makes an object
    sent.sequence = event.sequence
    sent.payload.CopyFrom(event.payload)
    return message
