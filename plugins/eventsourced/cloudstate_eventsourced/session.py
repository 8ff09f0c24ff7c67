"""Rules of the user function's end of one event-sourced stream, with no I/O.

Give `receive` what came in, carry out the instructions it returns, and report what came of them as
further inputs. Whatever the runtime does wrong is answered with the protocol's failure message and
the end of the stream; nothing is raised.

Everything that decides what is said on the stream is in this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Command, Failure, SideEffect
from cloudstate.event_sourced_pb2 import (
    EventSourcedInit,
    EventSourcedReply,
    EventSourcedStreamIn,
    EventSourcedStreamOut,
)
from cloudstate_core.value import value

__all__ = [
    "ApplyEvent",
    "CallHandler",
    "End",
    "EventSourcedSession",
    "Input",
    "Instruction",
    "OpenEntity",
    "Raised",
    "Returned",
    "Send",
    "SnapshotTaken",
    "TakeSnapshot",
]


@value
class Returned:
    """A command handler returned, or failed on purpose."""

    action: ClientAction
    events: Sequence[Any]
    side_effects: Sequence[SideEffect]


@value
class Raised:
    """A handler raised. `reason` is for the author of the user function."""

    reason: str


@value
class SnapshotTaken:
    """The snapshot function returned."""

    state: Any


Input = EventSourcedStreamIn | Returned | Raised | SnapshotTaken


@value
class OpenEntity:
    """Make the initial state, and let the snapshot handler set it if there is a snapshot.

    The result is None, or `Raised`.
    """

    service_name: str
    entity_id: str
    snapshot: Any | None
    sequence: int


@value
class ApplyEvent:
    """Let the event handler change the state. The result is None, or `Raised`."""

    payload: Any
    sequence: int


@value
class CallHandler:
    """Let the command handler decide. The result is `Returned` or `Raised`."""

    command: Command
    sequence: int


@value
class TakeSnapshot:
    """Ask for the state as it is now. The result is `SnapshotTaken` or `Raised`."""

    sequence: int


@value
class Send:
    """Send a message to the runtime."""

    message: EventSourcedStreamOut


@value
class End:
    """Close the stream, with success: the last word has been said."""


Instruction = OpenEntity | ApplyEvent | CallHandler | TakeSnapshot | Send | End


class State:
    """Where a session is, in words.

    Looking up a member of an enum would cost as much as the rest of a transition (Python 3.11).
    """

    NEW: Final = "waiting for init"
    READY: Final = "ready"
    HANDLING: Final = "handling a command"
    SNAPSHOTTING: Final = "taking a snapshot"
    STALE: Final = "waiting to be started again"
    ENDED: Final = "ended"


_NOTHING = EventSourcedStreamOut()


class EventSourcedSession:
    """One stream: one activation of one entity."""

    def __init__(self, snapshot_every_events: Mapping[str, int]) -> None:
        """Start with nothing known.

        Args:
            snapshot_every_events: For each service that is served, after how many events a
                snapshot is due; 0 for never.
        """
        self.state: str = State.NEW
        self.sequence = 0
        self._snapshot_every_events = snapshot_every_events
        self._every = 0
        self._entity_id = ""
        self._command_id = 0
        self._out = _NOTHING

    def receive(self, input_: Input) -> list[Instruction]:
        """Take one input and return what must be done now."""
        match input_:
            case EventSourcedStreamIn():
                return self._receive_message(input_)
            case Returned() if self.state == State.HANDLING:
                return self._settle(input_)
            case SnapshotTaken(state) if self.state == State.SNAPSHOTTING:
                self._out.reply.snapshot.CopyFrom(state)
                return self._answer()
            case _ if self.state == State.ENDED:
                return []
            case Raised() if self.state == State.SNAPSHOTTING:
                # Nothing is lost without a snapshot but time at the next start, whereas a command
                # that is refused for it would be refused for ever.
                return self._answer()
            case Raised(reason):
                return self._fail(self._command_id, f"Unexpected failure: {reason}")
            case _:
                return self._violation(0, f"{type(input_).__name__} while {self.state}")

    def _receive_message(self, message: EventSourcedStreamIn) -> list[Instruction]:
        # `WhichOneof` names the field that is set; the order is that of a long stream's messages.
        match self.state, message.WhichOneof("message"):
            case State.READY, "event":
                event = message.event
                sequence = event.sequence
                # Numbers may be missing, since a journal may give one up; they never go back.
                if sequence <= self.sequence:
                    return self._violation(
                        0, f"expected an event after number {self.sequence}, found {sequence}"
                    )
                self.sequence = sequence
                return [ApplyEvent(event.payload, sequence)]
            case State.READY, "command":
                return self._receive_command(message.command)
            case State.NEW, "init":
                return self._receive_init(message.init)
            case State.NEW, _:
                return self._violation(0, "expected init as the first message")
            case State.ENDED, _:
                return []
            case _, "init":
                return self._violation(0, "expected init only once")
            case _, None:
                return self._violation(0, "expected a message, found an empty one")
            case state, name:
                return self._violation(message.command.id, f"expected no {name} while {state}")

    def _receive_init(self, init: EventSourcedInit) -> list[Instruction]:
        if init.service_name not in self._snapshot_every_events:
            return self._violation(0, f"unknown service {init.service_name!r}")
        self.state = State.READY
        self._entity_id = init.entity_id
        self._every = self._snapshot_every_events[init.service_name]
        snapshot = init.snapshot.snapshot if init.HasField("snapshot") else None
        self.sequence = init.snapshot.snapshot_sequence
        return [OpenEntity(init.service_name, init.entity_id, snapshot, self.sequence)]

    def _receive_command(self, command: Command) -> list[Instruction]:
        if command.entity_id != self._entity_id:
            return self._violation(
                command.id, f"expected entity {self._entity_id!r}, found {command.entity_id!r}"
            )
        if not command.HasField("payload"):
            return self._violation(command.id, "expected a payload, found none")
        self.state, self._command_id = State.HANDLING, command.id
        return [CallHandler(command, self.sequence)]

    def _settle(self, returned: Returned) -> list[Instruction]:
        if returned.action.HasField("failure"):
            return self._answer_failure(returned)
        before, self.sequence = self.sequence, self.sequence + len(returned.events)
        reply = self._new_reply(returned.action)
        # Looking up an empty field costs as much as filling one.
        if returned.events:
            reply.events.extend(returned.events)
        if returned.side_effects:
            reply.side_effects.extend(returned.side_effects)
        # A snapshot is due if the events of this command passed a multiple of the interval. It is
        # taken once, after all of them, so it may cover events beyond the multiple.
        if self._every > 0 and before // self._every != self.sequence // self._every:
            self.state = State.SNAPSHOTTING
            return [TakeSnapshot(self.sequence)]
        return self._answer()

    def _answer_failure(self, returned: Returned) -> list[Instruction]:
        # A failure stands alone: no events, no snapshot, no effects. Events that were emitted
        # before it have changed the state in memory, so the runtime must start this entity again.
        reply = self._new_reply(returned.action)
        reply.client_action.failure.command_id = self._command_id
        reply.client_action.failure.restart = bool(returned.events)
        sent = self._answer()
        if returned.events:
            self.state = State.STALE
        return sent

    def _new_reply(self, action: ClientAction) -> EventSourcedReply:
        # The reply is filled where it stands in the message that will be sent: making it by itself
        # would copy it once more.
        self._out = EventSourcedStreamOut()
        reply = self._out.reply
        reply.command_id = self._command_id
        reply.client_action.CopyFrom(action)
        return reply

    def _answer(self) -> list[Instruction]:
        self.state, self._command_id = State.READY, 0
        # An idle entity keeps its state in memory, and not its last answer as well.
        out, self._out = self._out, _NOTHING
        return [Send(out)]

    def _violation(self, command_id: int, reason: str) -> list[Instruction]:
        return self._fail(command_id, f"Protocol error: {reason}")

    def _fail(self, command_id: int, description: str) -> list[Instruction]:
        self.state = State.ENDED
        failure = Failure(command_id=command_id, description=description)
        return [Send(EventSourcedStreamOut(failure=failure)), End()]
