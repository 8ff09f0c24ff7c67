"""Ways in which a value entity's user function can break the protocol, and what must come of each.

A hostile entity is the model entity until it is asked to store `MISBEHAVE`; then it follows its
script, whose name is the part of its id before the first colon. Asked to store `START_AGAIN` it
breaks its stream, so that the next one shows what is stored. An id without a script is a good
neighbour. All of it is pure: `scripted.function` serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Command, Failure, Forward, Reply
from cloudstate.value_entity_pb2 import ValueEntityReply, ValueEntityStreamIn
from cloudstate.value_entity_pb2 import ValueEntityStreamOut as Out
from cloudstate_core.anys import MESSAGE_PREFIX, pack_message
from cloudstate_core.status import Status
from cloudstate_tck.hostile import Stored
from cloudstate_tck.model.valueentity_pb2 import Persisted, Request
from cloudstate_tck.scripted.session import End, Flood, Hang, Instruction, Send, SendBytes, Wait
from cloudstate_tck.scripted.value_session import ValueModelSession
from cloudstate_tck.value_entity_messages import MODEL, replies

__all__ = [
    "MISBEHAVE",
    "SCRIPTS",
    "START_AGAIN",
    "HostileValueSession",
    "Script",
    "open_value_session",
]

#: Storing this value makes a hostile entity follow its script.
MISBEHAVE = "!"

#: Storing this value makes it break its stream.
START_AGAIN = "start again"

DESCRIPTION = "hostile"
LARGE_VALUE = "x" * (12 * 2**20)
GARBAGE = b"\xff\xff\xff\xff\xff\x07garbage"
UNASKED = replies(DESCRIPTION, updates=DESCRIPTION)(99)

#: What an entity does instead of carrying out a command.
Misbehaviour = Callable[["HostileValueSession", Command], Sequence[Instruction]]


@dataclass(frozen=True, slots=True)
class Script:
    """One way to break the protocol.

    Attributes:
        name: As in the entity ids.
        title: What is done to the proxy.
        misbehave: What the entity does when it is asked to.
        client: What the client of that command may see.
        stored: Whether its value must be in the store afterwards, must not, or may.
        reported: Whether the proxy must report it to the user function.
        value: The value that counts as stored, if it does.
        at_start: What the entity does when a stream starts; then no command ever succeeds.
        at_end: What the entity does when the proxy half-closes the stream.
    """

    name: str
    title: str
    misbehave: Misbehaviour
    client: frozenset[Status]
    stored: Stored = Stored.NOTHING
    reported: bool = True
    value: str = MISBEHAVE
    at_start: Sequence[Instruction] = ()
    at_end: Sequence[Instruction] = (End(),)

    @property
    def says_more(self) -> bool:
        """Whether something comes after an answer, unasked, and breaks the protocol."""
        return self.reported and self.client == frozenset({Status.OK})


class HostileValueSession(ValueModelSession):
    """One stream of a hostile entity.

    Attributes:
        late_s: After how long the proxy has given up waiting for an answer, in seconds.
    """

    def __init__(self, script: Script, late_s: float) -> None:
        super().__init__()
        self._script = script
        self.late_s = late_s

    def start(self, message: ValueEntityStreamIn) -> Sequence[Instruction]:
        super().start(message)
        return self._script.at_start

    def answer(self, command: Command) -> Sequence[Instruction]:
        asked = _value_in(command) if self.service == MODEL else ""
        if asked == START_AGAIN:
            return (Send(good(command.id + 1)),)
        if asked != MISBEHAVE:
            return super().answer(command)
        instructions = self._script.misbehave(self, command)
        if self._script.stored is not Stored.NOTHING:
            # A proxy that does not store it must not use this stream further.
            self.value = self._script.value
        return instructions

    def completed(self) -> Sequence[Instruction]:
        return self._script.at_end


def _value_in(command: Command) -> str:
    actions = Request.FromString(command.payload.value).actions
    return actions[0].update.value if actions else ""


# --- What goes over the wire --------------------------------------------------------------


def good(command_id: int, value: str = MISBEHAVE) -> Out:
    """Answer as the model would."""
    return replies(value, updates=value)(command_id)


def with_reply(change: Callable[[ValueEntityReply], object]) -> Misbehaviour:
    """Answer as the model would, but for one change."""

    def misbehave(session: HostileValueSession, command: Command) -> Sequence[Instruction]:
        out = good(command.id)
        change(out.reply)
        return (Send(out),)

    return misbehave


def instead(*instructions: Instruction) -> Misbehaviour:
    """Do this in the place of an answer."""
    return lambda _session, _command: instructions


def after_answer(*instructions: Instruction) -> Misbehaviour:
    """Answer as the model would, and then do this."""
    return lambda _session, command: (Send(good(command.id)), *instructions)


def answers_late(session: HostileValueSession, command: Command) -> Sequence[Instruction]:
    return Wait(session.late_s), Send(good(command.id))


def answers_twice(session: HostileValueSession, command: Command) -> Sequence[Instruction]:
    return Send(good(command.id)), Send(good(command.id))


def other_command_id(offset: int) -> Misbehaviour:
    return lambda _session, command: (Send(good(command.id + offset)),)


def top_level_failure(session: HostileValueSession, command: Command) -> Sequence[Instruction]:
    return Send(Out(failure=Failure(command_id=command.id, description=DESCRIPTION))), End()


def failing(change: Callable[[ValueEntityReply], object], *, restart: bool = False) -> Misbehaviour:
    """Fail a command, with something beside the failure."""

    def fail(reply: ValueEntityReply) -> None:
        failure = Failure(command_id=reply.command_id, description=DESCRIPTION, restart=restart)
        reply.client_action.CopyFrom(ClientAction(failure=failure))
        change(reply)

    return with_reply(fail)


def deletes(reply: ValueEntityReply) -> None:
    reply.state_action.delete.SetInParent()


def no_state_action(reply: ValueEntityReply) -> None:
    reply.ClearField("state_action")


def empty_state_action(reply: ValueEntityReply) -> None:
    reply.state_action.Clear()
    reply.state_action.SetInParent()


def update_without_a_value(reply: ValueEntityReply) -> None:
    reply.state_action.update.Clear()
    reply.state_action.update.SetInParent()


def update_without_a_type(reply: ValueEntityReply) -> None:
    reply.state_action.update.value.ClearField("type_url")


def update_with(value: str) -> Callable[[ValueEntityReply], None]:
    packed = pack_message(Persisted(value=value))
    return lambda reply: reply.state_action.update.value.CopyFrom(packed)


def reply_with(payload: Any) -> Misbehaviour:
    action = ClientAction(reply=Reply(payload=payload))
    return with_reply(lambda reply: reply.client_action.CopyFrom(action))


def forward_nowhere(reply: ValueEntityReply) -> None:
    forward = Forward(service_name="no.such.Service", command_name="Call")
    reply.client_action.CopyFrom(ClientAction(forward=forward))


# --- The scripts --------------------------------------------------------------------------

ANSWERED = frozenset({Status.OK})
BROKEN = frozenset({Status.INTERNAL})
BROKEN_OR_GONE = BROKEN | {Status.UNAVAILABLE}
FAILED = frozenset({Status.UNKNOWN})
TOO_LATE = frozenset({Status.DEADLINE_EXCEEDED})
TOO_LARGE = frozenset({Status.RESOURCE_EXHAUSTED, Status.INTERNAL, Status.UNAVAILABLE})

_SAME = Stored.EVENTS
_EITHER = Stored.ALL_OR_NOTHING

_ALL = (
    Script("silent", "does not answer", instead(), TOO_LATE),
    Script("late", "answers when the proxy has given up", answers_late, TOO_LATE),
    Script("stops-reading", "stops reading", instead(Hang()), TOO_LATE),
    Script("twice", "answers twice", answers_twice, ANSWERED, stored=_SAME),
    Script("next-id", "answers the next command", other_command_id(1), BROKEN),
    Script("last-id", "answers the command before", other_command_id(-1), BROKEN),
    Script("negative-id", "answers a negative id", other_command_id(-99), BROKEN),
    Script("empty", "sends a message without content", instead(Send(Out())), BROKEN),
    Script(
        "no-answer",
        "answers with neither reply nor forward nor failure",
        with_reply(lambda reply: reply.ClearField("client_action")),
        BROKEN,
        stored=_EITHER,
    ),
    Script("top-level", "fails the stream for a command", top_level_failure, BROKEN),
    Script(
        "garbage",
        "sends bytes that are no message",
        instead(SendBytes(GARBAGE)),
        BROKEN_OR_GONE,
    ),
    Script("closes", "ends the stream in order, without an answer", instead(End()), BROKEN_OR_GONE),
    Script(
        "breaks",
        "ends the stream with an error",
        instead(End(Status.INTERNAL, DESCRIPTION)),
        BROKEN_OR_GONE,
    ),
    Script("closes-idle", "ends the stream after an answer", after_answer(End()), ANSWERED, _SAME),
    Script(
        "breaks-idle",
        "breaks the stream after an answer",
        after_answer(End(Status.INTERNAL, DESCRIPTION)),
        ANSWERED,
        _SAME,
    ),
    Script(
        "never-ends",
        "does not end its side of a stream that is over",
        other_command_id(1),
        BROKEN,
        at_end=(Hang(),),
    ),
    Script("empty-action", "sends an empty state action", with_reply(empty_state_action), BROKEN),
    Script(
        "no-value", "sends an update without a value", with_reply(update_without_a_value), BROKEN
    ),
    Script("no-type", "sends a value without a type", with_reply(update_without_a_type), BROKEN),
    Script(
        "failure-update",
        "fails a command and sends an update with it",
        failing(update_with(MISBEHAVE)),
        FAILED,
        reported=False,
    ),
    Script(
        "failure-delete",
        "fails a command and sends a delete with it",
        failing(deletes),
        FAILED,
        reported=False,
    ),
    Script(
        "failure-restart",
        "fails a command and asks for a restart, which value entities do not have",
        failing(no_state_action, restart=True),
        FAILED,
        reported=False,
    ),
    Script(
        "large-value",
        "stores a value of 12 MB",
        with_reply(update_with(LARGE_VALUE)),
        ANSWERED | TOO_LARGE,
        stored=_EITHER,
        reported=False,
        value=LARGE_VALUE,
    ),
    Script(
        "unknown-reply",
        "replies with a type that nobody knows",
        reply_with(Any(type_url=MESSAGE_PREFIX + "no.such.Type", value=b"\x0a\x01x")),
        ANSWERED | BROKEN,
        stored=_EITHER,
    ),
    Script(
        "forward-nowhere",
        "forwards to a service that is not there",
        with_reply(forward_nowhere),
        BROKEN,
        stored=_EITHER,
    ),
    Script("floods", "answers without end with a wrong id", instead(Flood(UNASKED)), BROKEN),
    Script(
        "floods-idle",
        "answers, then sends messages without end",
        after_answer(Flood(UNASKED)),
        ANSWERED,
        _SAME,
    ),
    Script(
        "fails-start",
        "fails every stream at its start",
        instead(),
        BROKEN,
        at_start=(Send(Out(failure=Failure(description=DESCRIPTION))), End()),
    ),
    Script(
        "replies-start",
        "replies before there is a command",
        instead(),
        BROKEN,
        at_start=(Send(UNASKED),),
    ),
    Script(
        "breaks-start",
        "breaks every stream at its start",
        instead(),
        BROKEN_OR_GONE,
        at_start=(End(Status.RESOURCE_EXHAUSTED, DESCRIPTION),),
    ),
)

SCRIPTS: Mapping[str, Script] = {script.name: script for script in _ALL}


def open_value_session(late_s: float, message: ValueEntityStreamIn) -> ValueModelSession:
    """Return the session for a stream that starts with `message`.

    Args:
        late_s: After how long an answer is too late for the proxy, in seconds.
        message: The first message; the part of the entity's id before the first colon names the
            script.
    """
    script = SCRIPTS.get(message.init.entity_id.partition(":")[0])
    return ValueModelSession() if script is None else HostileValueSession(script, late_s)
