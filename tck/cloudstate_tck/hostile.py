"""Ways in which a user function can break the protocol, and what must come of each.

A hostile entity is the model entity until it is asked to emit `MISBEHAVE`; then it follows its
script, whose name is the part of its id before the first colon. An id without a script is a good
neighbour. All of it is pure: `scripted.function` serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import (
    ClientAction,
    Command,
    Failure,
    Forward,
    Metadata,
    MetadataEntry,
    Reply,
    SideEffect,
)
from cloudstate.event_sourced_pb2 import EventSourcedReply, EventSourcedStreamIn
from cloudstate.event_sourced_pb2 import EventSourcedStreamOut as Out
from cloudstate_core.anys import pack_message
from cloudstate_core.status import Status
from cloudstate_tck.event_sourced_messages import MODEL, fails, replies, request
from cloudstate_tck.model.eventsourced_pb2 import Persisted, Request
from cloudstate_tck.scripted.session import (
    End,
    Instruction,
    ModelSession,
    Send,
    Wait,
)

__all__ = [
    "DESCRIPTION",
    "LARGE_EVENT_BYTES",
    "MANY_EVENTS",
    "MISBEHAVE",
    "HostileSession",
    "Misbehaviour",
    "Script",
    "Stored",
    "after_answer",
    "answers_late",
    "answers_then_fails",
    "answers_twice",
    "command_id_zero",
    "events_of",
    "failure_with_events",
    "forged_metadata",
    "forward_in_a_circle",
    "forward_to",
    "good",
    "instead",
    "long_description",
    "long_metadata",
    "odd_description",
    "other_command_id",
    "reply_with",
    "restart",
    "snapshot_without_events",
    "top_level_failure",
    "undeliverable_effect",
    "with_reply",
]

#: Emitting this value makes a hostile entity follow its script.
MISBEHAVE = "!"

LARGE_EVENT_BYTES = 12 * 2**20
MANY_EVENTS = 1_000
LONG_TEXT_BYTES = 2**20

#: What a hostile entity says of itself, where it says anything.
DESCRIPTION = "hostile"


#: What an entity does instead of carrying out a command.
Misbehaviour = Callable[["HostileSession", Command], Sequence[Instruction]]


class Stored(Enum):
    """What the store must hold of the command in which the entity misbehaved."""

    NOTHING = "nothing"
    EVENTS = "its events"
    ALL_OR_NOTHING = "its events or nothing"


@dataclass(frozen=True, slots=True)
class Script:
    """One way to break the protocol.

    Attributes:
        name: As in the entity ids.
        title: What is done to the proxy.
        misbehave: What the entity does when it is asked to.
        client: What the client of that command may see.
        stored: What of that command must be in the store afterwards.
        reported: Whether the proxy must report it to the user function.
        events: The events that count as stored, if any do.
        at_start: What the entity does when a stream starts; then no command ever succeeds.
        at_event: What the entity does when a stored event comes back; then it never recovers.
        at_end: What the entity does when the proxy half-closes the stream.
    """

    name: str
    title: str
    misbehave: Misbehaviour
    client: frozenset[Status]
    stored: Stored = Stored.NOTHING
    reported: bool = False
    events: tuple[str, ...] = (MISBEHAVE,)
    at_start: Sequence[Instruction] = ()
    at_event: Sequence[Instruction] = ()
    at_end: Sequence[Instruction] = (End(),)

    @property
    def says_more(self) -> bool:
        """Whether something comes after an answer, unasked, and breaks the protocol."""
        return self.reported and self.client == frozenset({Status.OK})


class HostileSession(ModelSession):
    """One stream of a hostile entity.

    Attributes:
        late_s: After how long the proxy has given up waiting for an answer, in seconds.
    """

    def __init__(self, script: Script, late_s: float) -> None:
        super().__init__()
        self._script = script
        self.late_s = late_s

    def receive(self, message: EventSourcedStreamIn) -> Sequence[Instruction]:
        instructions = super().receive(message)
        return self._script.at_event if message.HasField("event") else instructions

    def start(self, message: EventSourcedStreamIn) -> Sequence[Instruction]:
        super().start(message)
        return self._script.at_start

    def answer(self, command: Command) -> Sequence[Instruction]:
        if self.service == MODEL and _is_provoked(command):
            instructions = self._script.misbehave(self, command)
            if self._script.stored is not Stored.NOTHING:
                # A proxy that does not store them must not use this stream further.
                for value in self._script.events:
                    self.emit(value)
            return instructions
        return super().answer(command)

    def completed(self) -> Sequence[Instruction]:
        return self._script.at_end


def _is_provoked(command: Command) -> bool:
    actions = Request.FromString(command.payload.value).actions
    return bool(actions) and actions[0].emit.value == MISBEHAVE


# --- What goes over the wire --------------------------------------------------------------


def good(session: HostileSession, command_id: int) -> Out:
    """Answer as the model would, with one event."""
    return replies(session.state + MISBEHAVE, events=[MISBEHAVE])(command_id)


def with_reply(change: Callable[[EventSourcedReply], object]) -> Misbehaviour:
    """Answer as the model would, but for one change."""

    def misbehave(session: HostileSession, command: Command) -> Sequence[Instruction]:
        out = good(session, command.id)
        change(out.reply)
        return (Send(out),)

    return misbehave


def instead(*instructions: Instruction) -> Misbehaviour:
    """Do this in the place of an answer."""

    def misbehave(session: HostileSession, command: Command) -> Sequence[Instruction]:
        return instructions

    return misbehave


def after_answer(*instructions: Instruction) -> Misbehaviour:
    """Answer as the model would, and then do this."""
    return lambda session, command: (Send(good(session, command.id)), *instructions)


def answers_late(session: HostileSession, command: Command) -> Sequence[Instruction]:
    return Wait(session.late_s), Send(good(session, command.id))


def answers_twice(session: HostileSession, command: Command) -> Sequence[Instruction]:
    return Send(good(session, command.id)), Send(good(session, command.id))


def answers_then_fails(session: HostileSession, command: Command) -> Sequence[Instruction]:
    return Send(good(session, command.id)), Send(fails("too late")(command.id))


def other_command_id(offset: int) -> Misbehaviour:
    return lambda session, command: (Send(good(session, command.id + offset)),)


def command_id_zero(session: HostileSession, command: Command) -> Sequence[Instruction]:
    return (Send(good(session, 0)),)


def failure_with_events(*, restart: bool) -> Misbehaviour:
    def change(reply: EventSourcedReply) -> None:
        failure = Failure(command_id=reply.command_id, description=DESCRIPTION, restart=restart)
        reply.client_action.CopyFrom(ClientAction(failure=failure))

    return with_reply(change)


def restart(session: HostileSession, command: Command) -> Sequence[Instruction]:
    return (Send(fails(DESCRIPTION, restart=True)(command.id)),)


def top_level_failure(session: HostileSession, command: Command) -> Sequence[Instruction]:
    return Send(Out(failure=Failure(command_id=command.id, description=DESCRIPTION))), End()


def long_description(session: HostileSession, command: Command) -> Sequence[Instruction]:
    return (Send(fails("x" * LONG_TEXT_BYTES)(command.id)),)


def odd_description(session: HostileSession, command: Command) -> Sequence[Instruction]:
    return (Send(fails("line\r\ngrpc-status: 0\r\n\r\n\x00 % ü €")(command.id)),)


def forged_metadata(reply: EventSourcedReply) -> None:
    reply.client_action.reply.metadata.CopyFrom(
        Metadata(
            entries=[
                MetadataEntry(key="grpc-status", string_value="0"),
                MetadataEntry(key=":path", string_value="/elsewhere"),
                MetadataEntry(key="Not A\r\nheader", string_value="x\r\ny"),
                MetadataEntry(key="content-length", string_value="999999"),
                MetadataEntry(key="", string_value="nameless"),
                MetadataEntry(key="raw", bytes_value=b"\x00\xff"),
            ]
        )
    )


def long_metadata(reply: EventSourcedReply) -> None:
    entry = MetadataEntry(key="long", string_value="x" * LONG_TEXT_BYTES)
    reply.client_action.reply.metadata.CopyFrom(Metadata(entries=[entry]))


def forward_to(reply: EventSourcedReply, service: str, method: str, payload: Any) -> None:
    forward = Forward(service_name=service, command_name=method, payload=payload)
    reply.client_action.CopyFrom(ClientAction(forward=forward))


def forward_in_a_circle(session: HostileSession, command: Command) -> Sequence[Instruction]:
    out = Out(reply=EventSourcedReply(command_id=command.id))
    forward_to(out.reply, MODEL, "Process", command.payload)
    return (Send(out),)


def undeliverable_effect(reply: EventSourcedReply) -> None:
    payload = pack_message(request("x"))
    effect = SideEffect(
        service_name="no.such.Service", command_name="Call", payload=payload, synchronous=True
    )
    reply.side_effects.append(effect)


def reply_with(payload: Any) -> Misbehaviour:
    return with_reply(
        lambda reply: reply.client_action.CopyFrom(ClientAction(reply=Reply(payload=payload)))
    )


def events_of(reply: EventSourcedReply, events: Sequence[str]) -> None:
    del reply.events[:]
    reply.events.extend(pack_message(Persisted(value=value)) for value in events)


def snapshot_without_events(reply: EventSourcedReply) -> None:
    events_of(reply, ())
    reply.snapshot.CopyFrom(pack_message(Persisted(value="not the state")))
