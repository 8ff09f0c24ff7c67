"""Ways in which a CRDT's user function can break the protocol, and what must come of each.

A hostile entity is the model entity until it is asked to fail with `MISBEHAVE`, or to stream; then
it follows its script, whose name is the part of its id before the first colon. Asked to fail with
`START_AGAIN` it breaks its stream, so that the next one shows what is stored. An id without a
script is a good neighbour. All of it is pure: `scripted.function` serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.any_pb2 import Any

from cloudstate.crdt_pb2 import (
    CrdtDelta,
    CrdtReply,
    CrdtStreamIn,
)
from cloudstate.crdt_pb2 import CrdtStreamOut as Out
from cloudstate.entity_pb2 import ClientAction, Command, Failure, Forward, Reply
from cloudstate_core.anys import MESSAGE_PREFIX
from cloudstate_core.status import Status
from cloudstate_tck.crdt_messages import MODEL, pushed, replies
from cloudstate_tck.crdt_values import (
    flag_state,
    flag_update,
    gcounter_delta,
    gcounter_state,
    gcounter_update,
    gset_state,
    gset_update,
    ormap_state,
    ormap_update,
    register_state,
    register_update,
)
from cloudstate_tck.hostile import Stored
from cloudstate_tck.model.crdt_pb2 import Request, State, Update
from cloudstate_tck.scripted.crdt_session import CrdtModelSession
from cloudstate_tck.scripted.crdt_types import new_value
from cloudstate_tck.scripted.session import End, Instruction, Send, Wait

__all__ = [
    "BEFORE",
    "DESCRIPTION",
    "GARBAGE",
    "MISBEHAVE",
    "START_AGAIN",
    "UNKNOWN",
    "HostileCrdtSession",
    "Misbehaviour",
    "Script",
    "after_answer",
    "another",
    "answers_late",
    "answers_twice",
    "before_answer",
    "empty_state_action",
    "fails_with_a_change",
    "forward_nowhere",
    "good",
    "instead",
    "last",
    "of_another_type",
    "other_command_id",
    "reply_with",
    "says_streamed",
    "streams",
    "top_level_failure",
    "unknown_consistency",
    "with_delta",
    "with_reply",
]

#: Failing with this text makes a hostile entity follow its script.
MISBEHAVE = "!"

#: Failing with this text makes it break its stream.
START_AGAIN = "start again"

DESCRIPTION = "hostile"
GARBAGE = b"\xff\xff\xff\xff\xff\x07garbage"

#: Of a type that nobody has.
UNKNOWN = Any(type_url=MESSAGE_PREFIX + "no.such.Type", value=GARBAGE)

#: What a hostile entity is asked for before it misbehaves, and its state then.
BEFORE: Mapping[str, tuple[Update, State]] = {
    "GCounter": (gcounter_update(1), gcounter_state(1)),
    "GSet": (gset_update("a"), gset_state("a")),
    "LWWRegister": (register_update("a"), register_state("a")),
    "Flag": (flag_update(), flag_state(True)),
    "ORMap": (
        ormap_update("GCounter-1", gcounter_update(1)),
        ormap_state({"GCounter-1": gcounter_state(1)}),
    ),
}

#: What an entity does instead of carrying out a command.
Misbehaviour = Callable[["HostileCrdtSession", Command], Sequence[Instruction]]


@dataclass(frozen=True, slots=True)
class Script:
    """One way to break the protocol.

    Attributes:
        name: As in the entity ids.
        title: What is done to the proxy.
        misbehave: What the entity does when it is asked to.
        client: What the client of that command may see.
        stored: Whether its change must be stored afterwards, must not, or may.
        reported: Whether the proxy must report it to the user function.
        type_: The type of the entity.
        change: What counts as its change.
        elements: How many elements the client of a stream gets first; None if it is no stream.
        at_cancel: What the entity does when that client then leaves; None if it stays.
        at_start: What the entity does when a stream starts; then no command ever succeeds.
        at_end: What the entity does when the proxy half-closes the stream.
    """

    name: str
    title: str
    misbehave: Misbehaviour
    client: frozenset[Status]
    stored: Stored = Stored.NOTHING
    reported: bool = True
    type_: str = "GCounter"
    change: CrdtDelta = field(default_factory=lambda: gcounter_delta(42))
    elements: int | None = None
    at_cancel: Sequence[Instruction] | None = None
    at_start: Sequence[Instruction] = ()
    at_end: Sequence[Instruction] = (End(),)

    def state(self, *, changed: bool) -> State:
        """Return the entity's state before it misbehaves, or with its change."""
        value = new_value(self.type_)
        value.update(BEFORE[self.type_][0])
        if changed:
            value.apply(self.change)
        return value.state()


class HostileCrdtSession(CrdtModelSession):
    """One stream of a hostile entity.

    Attributes:
        late_s: After how long the proxy has given up waiting for an answer, in seconds.
    """

    def __init__(self, script: Script, late_s: float) -> None:
        super().__init__()
        self._script = script
        self.late_s = late_s

    def receive(self, message: CrdtStreamIn) -> Sequence[Instruction]:
        if message.HasField("stream_cancelled") and self._script.at_cancel is not None:
            return self._script.at_cancel
        return super().receive(message)

    def start(self, message: CrdtStreamIn) -> Sequence[Instruction]:
        self.service, self.entity_id = message.init.service_name, message.init.entity_id
        self.value = new_value(self._script.type_)
        if message.init.HasField("delta"):
            self.value.apply(message.init.delta)
        return self._script.at_start

    def answer(self, command: Command) -> Sequence[Instruction]:
        asked = _text_in(command) if self.service == MODEL else ""
        if asked == START_AGAIN:
            return (Send(replies(self.value.state())(command.id + 1)),)
        if asked != MISBEHAVE and not command.streamed:
            return super().answer(command)
        instructions = self._script.misbehave(self, command)
        if self._script.stored is not Stored.NOTHING:
            # A proxy that does not store it must not use this stream further.
            self.value.apply(self._script.change)
        return instructions

    def completed(self) -> Sequence[Instruction]:
        return self._script.at_end


def _text_in(command: Command) -> str:
    if command.streamed:
        return ""
    actions = Request.FromString(command.payload.value).actions
    return actions[0].fail.message if actions else ""


# --- What goes over the wire --------------------------------------------------------------


def good(session: HostileCrdtSession, command_id: int, delta: CrdtDelta | None = None) -> Out:
    """Answer as the model might, with a change."""
    delta = gcounter_delta(42) if delta is None else delta
    return replies(session.value.state(), delta)(command_id)


def with_reply(change: Callable[[CrdtReply], object]) -> Misbehaviour:
    """Answer as the model might, but for one change."""

    def misbehave(session: HostileCrdtSession, command: Command) -> Sequence[Instruction]:
        out = good(session, command.id)
        change(out.reply)
        return (Send(out),)

    return misbehave


def with_delta(delta: CrdtDelta) -> Misbehaviour:
    """Answer with another change."""
    return lambda session, command: (Send(good(session, command.id, delta)),)


def instead(*instructions: Instruction) -> Misbehaviour:
    """Do this in the place of an answer."""
    return lambda _session, _command: instructions


def after_answer(*instructions: Instruction) -> Misbehaviour:
    """Answer as the model might, and then do this."""
    return lambda session, command: (Send(good(session, command.id)), *instructions)


def before_answer(*instructions: Instruction) -> Misbehaviour:
    """Do this, and then answer as the model might."""
    return lambda session, command: (*instructions, Send(good(session, command.id)))


def answers_late(session: HostileCrdtSession, command: Command) -> Sequence[Instruction]:
    return Wait(session.late_s), Send(good(session, command.id))


def answers_twice(session: HostileCrdtSession, command: Command) -> Sequence[Instruction]:
    return Send(good(session, command.id)), Send(good(session, command.id))


def other_command_id(offset: int) -> Misbehaviour:
    return lambda session, command: (Send(good(session, command.id + offset)),)


def top_level_failure(session: HostileCrdtSession, command: Command) -> Sequence[Instruction]:
    return Send(Out(failure=Failure(command_id=command.id, description=DESCRIPTION))), End()


def fails_with_a_change(reply: CrdtReply) -> None:
    failure = Failure(command_id=reply.command_id, description=DESCRIPTION)
    reply.client_action.CopyFrom(ClientAction(failure=failure))


def empty_state_action(reply: CrdtReply) -> None:
    reply.state_action.Clear()
    reply.state_action.SetInParent()


def unknown_consistency(reply: CrdtReply) -> None:
    reply.state_action.write_consistency = 99  # type: ignore[assignment]


def says_streamed(reply: CrdtReply) -> None:
    reply.streamed = True


def reply_with(payload: Any) -> Callable[[CrdtReply], None]:
    action = ClientAction(reply=Reply(payload=payload))
    return lambda reply: reply.client_action.CopyFrom(action)


def forward_nowhere(reply: CrdtReply) -> None:
    forward = Forward(service_name="no.such.Service", command_name="Call")
    reply.client_action.CopyFrom(ClientAction(forward=forward))


def streams(*then: Callable[[int], Out] | Instruction) -> Misbehaviour:
    """Accept a streamed command with an element, and then say this."""

    def misbehave(session: HostileCrdtSession, command: Command) -> Sequence[Instruction]:
        first = replies(session.value.state(), streamed=True)(command.id)
        said = [each if isinstance(each, Instruction) else Send(each(command.id)) for each in then]
        return (Send(first), *said)

    return misbehave


def another(command_id: int) -> Out:
    return pushed(command_id, gcounter_state(1))


def last(command_id: int) -> Out:
    return pushed(command_id, gcounter_state(1), ends=True)


def of_another_type(command_id: int) -> Out:
    out = another(command_id)
    out.streamed_message.client_action.reply.payload.CopyFrom(UNKNOWN)
    return out
