"""The event sourced model entities, one stream at a time, with no I/O.

Give `receive` a message, carry out the instructions it returns. Subclasses break one rule each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError, Message

from cloudstate.entity_pb2 import Command, Failure, SideEffect
from cloudstate.event_sourced_pb2 import EventSourcedStreamIn, EventSourcedStreamOut
from cloudstate_core.anys import MESSAGE_PREFIX
from cloudstate_core.status import Status
from cloudstate_tck.event_sourced_messages import (
    CONFIGURED,
    MODEL,
    TWO,
    fails,
    forwards,
    replies,
    side_effect,
)
from cloudstate_tck.model.eventsourced_pb2 import Persisted, Request, RequestAction

__all__ = [
    "End",
    "Flood",
    "Hang",
    "Instruction",
    "ModelSession",
    "Send",
    "SendBytes",
    "Wait",
]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message."""

    message: Message


@dataclass(frozen=True, slots=True)
class SendBytes:
    """Send bytes in the place of a message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Flood:
    """Send a message again and again until the stream is cut."""

    message: Message


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for a while, in seconds."""

    duration_s: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Read nothing and say nothing from here on, until the stream is cut."""


@dataclass(frozen=True, slots=True)
class End:
    """End the stream."""

    status: Status = Status.OK
    details: str = ""


Instruction = Send | SendBytes | Flood | Wait | Hang | End

SNAPSHOT_EVERY = 5

#: The method of each service.
METHODS = {MODEL: "Process", TWO: "Call", CONFIGURED: "Call"}

PERSISTED = MESSAGE_PREFIX + Persisted.DESCRIPTOR.full_name


class ModelSession:
    """The user function's end of one stream, done right.

    Attributes:
        restarts: Whether a failure after an emitted event asks for a restart, because the state is
            spoilt; otherwise the state is put back. The protocol allows both.
        service: The entity's service, once it is known.
        entity_id: Its id.
        state: What its events have added up to.
        sequence: The sequence of its last event.
    """

    restarts = True

    def __init__(self) -> None:
        self.service = ""
        self.entity_id = ""
        self.state = ""
        self.sequence = 0

    def receive(self, message: EventSourcedStreamIn) -> Sequence[Instruction]:
        """Take the next message."""
        match message.WhichOneof("message"):
            case "init" if not self.service and message.init.service_name in METHODS:
                return self.start(message)
            case "event" if self.service and message.event.payload.type_url == PERSISTED:
                self.sequence = message.event.sequence
                self.apply(_value(message.event.payload.value))
                return ()
            case "command" if self.service and self._can_answer(message.command):
                return self.answer(message.command)
            case "command" if self.service:
                return self.fail_stream(message.command.id)
            case _:
                return self.fail_stream(0)

    def completed(self) -> Sequence[Instruction]:
        """The proxy has half-closed the stream."""
        return (End(),)

    def start(self, message: EventSourcedStreamIn) -> Sequence[Instruction]:
        """Take the first message."""
        self.service, self.entity_id = message.init.service_name, message.init.entity_id
        if message.init.HasField("snapshot"):
            self.sequence = message.init.snapshot.snapshot_sequence
            self.state = _value(message.init.snapshot.snapshot.value)
        return ()

    def fail_stream(self, command_id: int) -> Sequence[Instruction]:
        """Say that the proxy breaks the protocol, and end."""
        failure = Failure(command_id=command_id, description="this breaks the protocol")
        return Send(EventSourcedStreamOut(failure=failure)), End()

    def _can_answer(self, command: Command) -> bool:
        if command.entity_id != self.entity_id or command.name != METHODS[self.service]:
            return False
        try:
            Request.FromString(command.payload.value)
        except DecodeError:
            return False
        return command.HasField("payload")

    def answer(self, command: Command) -> Sequence[Instruction]:
        """Carry out a command."""
        if self.service != MODEL:
            return (Send(replies("")(command.id)),)
        return (Send(self.carry_out(command.id, Request.FromString(command.payload.value))),)

    def carry_out(self, command_id: int, request: Request) -> EventSourcedStreamOut:
        """Take the actions in order and say what came of them."""
        before = self.sequence, self.state
        events: list[str] = []
        effects: list[SideEffect] = []
        target = ""
        for action in request.actions:
            match action.WhichOneof("action"):
                case "emit":
                    events.append(action.emit.value)
                    self.emit(action.emit.value)
                case "forward":
                    target = action.forward.id
                case "effect":
                    effects.append(_effect(action))
                case _:
                    return self.fail(command_id, before, action.fail.message, events)
        snapshot = self.state if self.is_snapshot_due(before[0]) else None
        if target:
            answer = forwards(target, events=events, snapshot=snapshot, effects=effects)
        else:
            answer = replies(self.state, events=events, snapshot=snapshot, effects=effects)
        return answer(command_id)

    def fail(
        self, command_id: int, before: tuple[int, str], text: str, events: Sequence[str]
    ) -> EventSourcedStreamOut:
        """Fail a command: no events, no effects, no snapshot."""
        if self.restarts:
            return fails(text, restart=bool(events))(command_id)
        self.sequence, self.state = before
        return fails(text)(command_id)

    def emit(self, value: str) -> None:
        """Add an event; what follows in the same command sees it."""
        self.sequence += 1
        self.apply(value)

    def apply(self, value: str) -> None:
        """Change the state by an event."""
        self.state += value

    def is_snapshot_due(self, sequence_before: int) -> bool:
        """Return whether this command's events contain a multiple of the interval."""
        return self.sequence // SNAPSHOT_EVERY > sequence_before // SNAPSHOT_EVERY


def _effect(action: RequestAction) -> SideEffect:
    return side_effect(action.effect.id, synchronous=action.effect.synchronous)


def _value(data: bytes) -> str:
    return Persisted.FromString(data).value
