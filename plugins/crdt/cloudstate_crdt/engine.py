"""How a replicated entity is driven in the runtime: its copy, its user function, its clients."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import count
from typing import Protocol

import structlog
from google.protobuf.any_pb2 import Any

from cloudstate.crdt_pb2 import CrdtDelta, CrdtStreamIn, CrdtStreamOut
from cloudstate.entity_pb2 import SideEffect
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import (
    CloudstateError,
    DeadlineExceeded,
    UserFunctionError,
    UserFunctionUnavailable,
)
from cloudstate_core.handler import Conditions, Outcome, Request
from cloudstate_core.kind import RuntimeHost
from cloudstate_core.links import Rpc
from cloudstate_core.store import EntityKey
from cloudstate_crdt.calls import Call
from cloudstate_crdt.copies import Copies
from cloudstate_crdt.entity_errors import EntityCrashed, EntityDeleted, EntityTerminating
from cloudstate_crdt.errors import NestedTooDeep
from cloudstate_crdt.function_end import FunctionEnd
from cloudstate_crdt.instructions import (
    Answer,
    Cancelled,
    ClientLeft,
    CommandArrived,
    Commit,
    Committed,
    CopyChanged,
    CopyNotRead,
    CopyRead,
    Crash,
    Emit,
    EndStream,
    FoundDeleted,
    Input,
    Instruction,
    MessageArrived,
    NotCommitted,
    Opening,
    ReadCopy,
    RefuseAll,
    Report,
    Send,
    StreamLost,
    TimedOut,
)
from cloudstate_crdt.machine import CrdtMachine
from cloudstate_crdt.replicas import DELETED, Change, Deleted, Dissemination
from cloudstate_crdt.spread import consistency_of, kept_as
from cloudstate_crdt.translation.faults import TranslationFault
from cloudstate_crdt.translation.translation import Portion, View
from cloudstate_crdt.viewing import Viewer

__all__ = ["HANDLE", "CrdtEngine", "Home", "conditions_without_names"]

log = structlog.get_logger()

#: The protocol's method for this kind.
HANDLE: Rpc[CrdtStreamIn, CrdtStreamOut] = Rpc(
    "/cloudstate.crdt.Crdt/handle", CrdtStreamIn, CrdtStreamOut
)


class Home(Protocol):
    """What an entity needs of the place where all of its service live.

    Attributes:
        entity: The service.
        host: What the runtime offers.
        copies: This node's copies.
        dissemination: The way to the other nodes.
        node: The name of this node.
        output_type_urls: For each command, the type its replies must have.
    """

    entity: DeployedEntity
    host: RuntimeHost
    copies: Copies
    dissemination: Dissemination
    node: str
    output_type_urls: Mapping[str, str]

    def asked(self, engine: CrdtEngine, command_id: int) -> None:
        """A command, or its cancellation, is to be answered within the relay timeout."""
        ...

    def answered(self, engine: CrdtEngine, command_id: int) -> None:
        """It was answered."""
        ...

    def became_idle(self, engine: CrdtEngine) -> None:
        """Nobody waits for anything."""
        ...

    def ended(self, engine: CrdtEngine) -> None:
        """It must not be used further."""
        ...


class CrdtEngine:
    """One entity in memory.

    Attributes:
        entity_id: Which.
        is_over: Whether it takes no more commands.
    """

    def __init__(self, entity_id: str, home: Home) -> None:
        """Prepare; `open` starts."""
        self.entity_id = entity_id
        self.is_over = False
        self._home = home
        self._host = home.host
        self._key = EntityKey(home.entity.persistence_id, entity_id)
        service = home.entity.service_name
        self._machine = CrdtMachine(service, entity_id, home.output_type_urls)
        self._viewer = Viewer(home.node)
        # What comes of an instruction while it is carried out.
        self._later: deque[Input] = deque()
        self._is_working = False
        self._ids = count(1)
        self._calls: dict[int, Call] = {}
        self._function: FunctionEnd | None = None
        self._missed_news = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: AbstractContextManager[None] | None = None
        self._cause: Exception | None = None

    # --- For its home ----------------------------------------------------------------

    async def open(self) -> None:
        """Bring the user function to the state that the copy has.

        Raises:
            CloudstateError: The copy cannot be read now, or nobody serves the entity.
        """
        copies = self._home.copies
        self._listening = copies.listening(self.entity_id, self.copy_changed)
        self._listening.__enter__()
        await copies.read(self.entity_id, self._start)

    def _start(self, copy: Change | None) -> None:
        if self.is_over:
            return  # nobody wants it any more
        if not isinstance(copy, Deleted):
            stream = self._host.link.open_stream(HANDLE)
            self._function = FunctionEnd(stream, self._host.clock, self)
        view = self._seen(copy)
        assert not isinstance(view, Portion), "the first look is at the whole"
        self._feed(Opening(view))

    def begin(self, call: Call) -> None:
        """Send a command; its answers go to `call`."""
        call.command_id = command_id = next(self._ids)
        self._calls[command_id] = call
        request = call.request
        self._home.asked(self, command_id)
        self._feed(
            CommandArrived(
                command_id, request.command, request.payload, request.metadata, call.streamed
            )
        )

    def leave(self, call: Call) -> None:
        """Say that the client of a stream takes nothing any more."""
        call.is_left = True
        if call.is_answered and not call.is_committing:
            self._calls.pop(call.command_id, None)
        if call.command_id:
            self._feed(ClientLeft(call.command_id))

    def time_out(self, command_id: int) -> None:
        """Say that a command, or its cancellation, was not answered in time."""
        error = DeadlineExceeded(
            f"the user function did not answer within {self._host.relay_timeout_s:g} s"
        )
        call = self._calls.get(command_id)
        if call is not None and not call.is_answered:
            call.fail(error)
        self._cause = error
        self._feed(TimedOut(command_id))

    def copy_changed(self) -> None:
        """Say that the copy may be another than it was, or be seen otherwise."""
        # A user function that takes its messages slowly is told less often.
        if self._is_sending():
            self._missed_news = True
        else:
            self._feed(CopyChanged())

    def end_streams(self) -> None:
        """End the streams of all clients, with nothing wrong."""
        for command_id, call in tuple(self._calls.items()):
            if call.streamed:
                call.end()
                self._feed(ClientLeft(command_id))

    def is_idle(self) -> bool:
        """Return whether nobody waits for anything."""
        return not self._tasks and self._machine.is_idle() and not self._is_sending()

    def _is_sending(self) -> bool:
        return self._function is not None and self._function.is_sending()

    async def aclose(self) -> None:
        """Let go of everything; what is being stored is stored first."""
        self.is_over = True
        self._fail_all(EntityTerminating())
        if self._listening is not None:
            self._listening.__exit__(None, None, None)
            self._listening = None
        if self._function is not None:
            await self._function.aclose()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- The machine -----------------------------------------------------------------

    def _feed(self, input_: Input) -> None:
        if self._is_working:
            self._later.append(input_)
            return
        self._is_working = True
        try:
            for instruction in self._machine.receive(input_):
                self._perform(instruction)
            while self._later:
                for instruction in self._machine.receive(self._later.popleft()):
                    self._perform(instruction)
        finally:
            self._is_working = False
        self._note_idleness()

    def _note_idleness(self) -> None:
        # A task that runs looks again when it has run.
        if not self._tasks and self.is_idle():
            self._home.became_idle(self)

    def _perform(self, instruction: Instruction) -> None:
        match instruction:
            case Send(message):
                self._send(message)
            case Commit(_, command_id):
                call = None
                if not instruction.is_cancelled:
                    call = self._answered(command_id)
                    call.is_committing = True
                self._run(self._commit(instruction, call))
            case Answer(command_id, action):
                self._answered(command_id).answer(Outcome(action), ends=True)
                del self._calls[command_id]
            case Emit(command_id, action, side_effects, ends):
                self._emit(command_id, Outcome(action, side_effects), ends=ends)
            case Cancelled(command_id):
                self._home.answered(self, command_id)
            case ReadCopy():
                self._run(self._read_copy())
            case EndStream():
                self._send(None)
            case RefuseAll():
                self._refuse_all()
            case Report(text):
                self._report(text)
            case Crash(reason, detail):
                self._crash(reason, detail)

    # --- Clients ---------------------------------------------------------------------

    def _answered(self, command_id: int) -> Call:
        self._home.answered(self, command_id)
        call = self._calls[command_id]
        call.is_answered = True
        return call

    def _emit(self, command_id: int, outcome: Outcome, *, ends: bool) -> None:
        call = self._calls.get(command_id)
        if call is None:
            return  # its client is about to say that it has left
        call.emit(outcome, ends=ends)
        if call.has_ended and not ends:
            # It has too much to take, and may never say so.
            self._feed(ClientLeft(command_id))
        if call.has_ended and not call.is_committing:
            del self._calls[command_id]

    def _refuse_all(self) -> None:
        for command_id, call in tuple(self._calls.items()):
            if call.is_answered:
                if call.streamed:
                    call.end()
                continue
            self._answered(command_id).refuse()
            del self._calls[command_id]

    def _fail_all(self, error: CloudstateError) -> None:
        for command_id, call in tuple(self._calls.items()):
            self._home.answered(self, command_id)
            # What is being stored is answered by whoever stores it.
            if not call.is_committing:
                call.fail(error)
                del self._calls[command_id]
            elif call.streamed:
                call.fail(error)

    # --- Work that takes its time ----------------------------------------------------

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._has_run)

    def _has_run(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("entity_failed", entity_id=self.entity_id, exc_info=error)
        self._note_idleness()

    async def _commit(self, commit: Commit, call: Call | None) -> None:
        what = commit.change.WhichOneof("action")
        try:
            outcome, change = await self._storing(commit, call, what)
        except EntityDeleted as error:
            self._settle(commit, call, error)
            self._feed(FoundDeleted())
            return
        except Exception as error:
            failed = self._understood(error)
            self._settle(commit, call, failed)
            has_changed = what is not None
            if has_changed:
                self._cause = failed
                # It may be stored all the same.
                self._home.dissemination.unsure(self.entity_id)
            self._feed(NotCommitted(commit.operation, has_changed))
            return
        # Others may change the state again, while this one's client waits for the other nodes.
        self._feed(Committed(commit.operation))
        try:
            if change is not None:
                consistency = consistency_of(commit.change.write_consistency)
                await self._home.dissemination.changed(self.entity_id, change, consistency)
        except Exception as error:
            self._settle(commit, call, error)
        else:
            self._settle(commit, call, outcome)

    def _storing(
        self, commit: Commit, call: Call | None, what: str | None
    ) -> Awaitable[tuple[Outcome, Change | None]]:
        if call is None:
            request = Request(self._home.entity.service_name, commit.name, Any())
            outcome = Outcome(commit.action, _asynchronous(commit.side_effects))
        else:
            asked = commit.change.write_consistency
            note = b"" if what is None else kept_as(consistency_of(asked))
            request = call.request
            outcome = Outcome(commit.action, commit.side_effects, note=note)
        if what is None:
            return self._without_change(request, outcome)
        update: CrdtDelta | Deleted = commit.change.update if what == "update" else DELETED
        return self._home.copies.change(self.entity_id, update, request, outcome, self.copy_changed)

    async def _without_change(self, request: Request, outcome: Outcome) -> tuple[Outcome, None]:
        return await self._host.commit(request, self._key, (), outcome), None

    def _settle(self, commit: Commit, call: Call | None, result: Outcome | Exception) -> None:
        if call is None:
            return
        call.is_committing = False
        if isinstance(result, Exception):
            call.fail(result)
        else:
            call.answer(result, ends=commit.ends)
        if commit.ends or call.is_left or isinstance(result, Exception) or call.has_ended:
            self._calls.pop(commit.command_id, None)

    def _understood(self, error: Exception) -> Exception:
        """Return what to tell the client about an error."""
        if isinstance(error, TranslationFault | NestedTooDeep):
            detail = f"entity {self.entity_id!r}: {error}"
            self._report(f"Unexpected entity state: {detail}")
            return EntityCrashed(detail=detail)
        return error

    async def _read_copy(self) -> None:
        try:
            await self._home.copies.read(self.entity_id, self._look)
        except Exception as error:
            self.lost(error)

    def _look(self, copy: Change | None) -> None:
        # Looking is the dear part, and what was looked at is not shown once more.
        if self._machine.may_compare():
            self._feed(CopyRead(self._seen(copy)))
        else:
            self._feed(CopyNotRead())

    def _seen(self, copy: Change | None) -> View | Portion | Deleted | None:
        if copy is None or isinstance(copy, Deleted):
            return copy
        return self._viewer.look(copy, self._home.dissemination.members)

    # --- The stream ------------------------------------------------------------------

    def _send(self, message: CrdtStreamIn | None) -> None:
        if message is not None and message.HasField("stream_cancelled"):
            self._home.asked(self, message.stream_cancelled.id)
        assert self._function is not None, "there is a stream before there is a message"
        self._function.send(message)

    def received(self, message: CrdtStreamOut) -> None:
        """Take what the user function says."""
        self._feed(MessageArrived(message))

    def has_sent(self) -> None:
        """Tell the user function of what came while it took its messages."""
        if self._missed_news:
            self._missed_news = False
            self._feed(CopyChanged())
        self._note_idleness()

    def lost(self, error: Exception) -> None:
        """Give the entity up for what became of its stream, or of its copy."""
        if self._cause is None:
            self._cause = error
        self._feed(StreamLost("Unexpected entity termination", _detail(error)))

    # --- Trouble ---------------------------------------------------------------------

    def _crash(self, reason: str, detail: str) -> None:
        cause = self._cause or UserFunctionError(reason, detail=detail)
        is_mere_end = isinstance(cause, UserFunctionUnavailable) and not self._calls
        if not is_mere_end:
            if isinstance(cause, UserFunctionError | DeadlineExceeded):
                self._report(f"{cause}: {cause.detail}" if cause.detail else str(cause))
            self._host.instrument.entity_crashed(self._home.entity, self.entity_id, cause)
        is_its_fault = isinstance(cause, UserFunctionError) and not isinstance(
            cause, UserFunctionUnavailable
        )
        error = EntityCrashed if is_its_fault else EntityTerminating
        self.is_over = True
        self._fail_all(error(detail=f"{cause}: {detail}"))
        self._home.ended(self)

    def _report(self, text: str) -> None:
        self._host.report(f"{self._home.entity.service_name}: {text}")


def conditions_without_names(conditions: Conditions | None) -> Conditions | None:
    """Return conditions under which something may be done any number of times."""
    if conditions is None or not conditions.message_hops:
        return None
    return Conditions(message_hops=conditions.message_hops)


def _asynchronous(side_effects: Sequence[SideEffect]) -> list[SideEffect]:
    """Return side effects that nobody waits for, since nobody is there any more."""
    copies = []
    for side_effect in side_effects:
        copy = SideEffect()
        copy.CopyFrom(side_effect)
        copy.synchronous = False
        copies.append(copy)
    return copies


def _detail(error: Exception) -> str:
    detail = error.detail if isinstance(error, CloudstateError) else ""
    return detail or str(error)
