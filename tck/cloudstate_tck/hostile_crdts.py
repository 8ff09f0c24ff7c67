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
    GCounterDelta,
    GSetDelta,
    ORMapEntryDelta,
)
from cloudstate.crdt_pb2 import CrdtStreamOut as Out
from cloudstate.entity_pb2 import ClientAction, Command, Failure, Forward, Reply
from cloudstate_core.anys import MESSAGE_PREFIX, encode
from cloudstate_core.status import Status
from cloudstate_tck.crdt_messages import MODEL, accepts, cancelled, fails, pushed, replies
from cloudstate_tck.crdt_values import (
    flag_delta,
    flag_state,
    flag_update,
    gcounter_delta,
    gcounter_state,
    gcounter_update,
    gset_delta,
    gset_state,
    gset_update,
    ormap_delta,
    ormap_state,
    ormap_update,
    register_delta,
    register_state,
    register_update,
)
from cloudstate_tck.hostile import Stored
from cloudstate_tck.model.crdt_pb2 import Request, State, Update
from cloudstate_tck.scripted.crdt_session import CrdtModelSession
from cloudstate_tck.scripted.crdt_types import new_value
from cloudstate_tck.scripted.session import End, Flood, Hang, Instruction, Send, SendBytes, Wait

__all__ = [
    "BEFORE",
    "MISBEHAVE",
    "SCRIPTS",
    "START_AGAIN",
    "HostileCrdtSession",
    "Script",
    "open_crdt_session",
]

#: Failing with this text makes a hostile entity follow its script.
MISBEHAVE = "!"

#: Failing with this text makes it break its stream.
START_AGAIN = "start again"

DESCRIPTION = "hostile"
GARBAGE = b"\xff\xff\xff\xff\xff\x07garbage"
TOO_DEEP = 20

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


def nested(depth: int) -> CrdtDelta:
    """Return a change that adds maps in maps."""
    delta = gcounter_delta(1)
    for _ in range(depth):
        delta = ormap_delta(added={"ORMap-1": delta})
    return delta


def one_entry_is_wrong() -> CrdtDelta:
    """Return a change of a map, of which one entry is of no type."""
    delta = ormap_delta(updated={"GCounter-1": gcounter_delta(42)})
    delta.ormap.added.append(ORMapEntryDelta(key=encode("GSet-1")))
    return delta


def unknown_clock() -> CrdtDelta:
    delta = register_delta("b")
    delta.lwwregister.clock = 99  # type: ignore[assignment]
    return delta


UNKNOWN = Any(type_url=MESSAGE_PREFIX + "no.such.Type", value=GARBAGE)
UNASKED = replies(None, gcounter_delta(42))(99)
NEGATIVE = CrdtDelta(gcounter=GCounterDelta(increment=2**64 - 1))
TOO_HIGH = CrdtDelta(gcounter=GCounterDelta(increment=2**63 - 1))
UNKNOWN_ELEMENT = CrdtDelta(gset=GSetDelta(added=[UNKNOWN]))
LARGE = gset_delta(["x" * (12 * 2**20)])
NESTED = nested(TOO_DEEP)

# --- The scripts --------------------------------------------------------------------------

ANSWERED = frozenset({Status.OK})
BROKEN = frozenset({Status.INTERNAL})
GONE = BROKEN | {Status.UNAVAILABLE}
FAILED = frozenset({Status.UNKNOWN})
TOO_LATE = frozenset({Status.DEADLINE_EXCEEDED})
TOO_LARGE = frozenset({Status.RESOURCE_EXHAUSTED, Status.INTERNAL, Status.UNAVAILABLE})

_SAME = Stored.EVENTS
_EITHER = Stored.ALL_OR_NOTHING

_ALL = (
    Script("silent", "does not answer", instead(), TOO_LATE),
    Script("late", "answers when the proxy has given up", answers_late, TOO_LATE),
    Script("twice", "answers twice", answers_twice, ANSWERED, _SAME),
    Script("next-id", "answers a command that is not there yet", other_command_id(1), BROKEN),
    Script("last-id", "answers the command before again", other_command_id(-1), BROKEN),
    Script("negative-id", "answers a negative id", other_command_id(-99), BROKEN),
    Script(
        "empty", "sends a message without content alone", instead(Send(Out())), TOO_LATE | BROKEN
    ),
    Script(
        "no-answer",
        "answers with neither reply nor forward nor failure",
        with_reply(lambda reply: reply.ClearField("client_action")),
        BROKEN,
        _EITHER,
    ),
    Script("top-level", "fails a command and ends the stream", top_level_failure, FAILED),
    Script(
        "fails-entity",
        "fails for no command",
        instead(Send(Out(failure=Failure(description=DESCRIPTION)))),
        BROKEN,
    ),
    Script("garbage", "sends bytes that are no message", instead(SendBytes(GARBAGE)), GONE),
    Script("closes", "ends the stream in order, without an answer", instead(End()), GONE),
    Script(
        "breaks",
        "ends the stream with an error",
        instead(End(Status.INTERNAL, DESCRIPTION)),
        GONE,
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
    Script(
        "empty-action",
        "sends an empty state action",
        with_reply(empty_state_action),
        ANSWERED | BROKEN,
        reported=False,
    ),
    Script("no-type", "sends a change of no type", with_delta(CrdtDelta()), BROKEN),
    Script("other-type", "sends a change of another type", with_delta(gset_delta("a")), BROKEN),
    Script("negative", "takes a GCounter down", with_delta(NEGATIVE), BROKEN),
    Script(
        "overflow",
        "takes a GCounter above the highest number",
        with_delta(TOO_HIGH),
        BROKEN,
    ),
    Script("turns-off", "turns a Flag off", with_delta(flag_delta(False)), BROKEN, type_="Flag"),
    Script(
        "half",
        "sends a map of which one entry has no type",
        with_delta(one_entry_is_wrong()),
        BROKEN,
        type_="ORMap",
    ),
    Script(
        "updates-type",
        "sends a map of which one entry is updated as another type",
        with_delta(ormap_delta(updated={"GCounter-1": gset_delta("a")})),
        ANSWERED,
        reported=False,
        type_="ORMap",
    ),
    Script("deep", "sends maps in maps in maps", with_delta(NESTED), BROKEN, type_="ORMap"),
    Script(
        "unknown-element",
        "adds an element that nobody can read",
        with_delta(UNKNOWN_ELEMENT),
        ANSWERED | BROKEN,
        _EITHER,
        reported=False,
        type_="GSet",
        change=UNKNOWN_ELEMENT,
    ),
    Script(
        "large",
        "adds an element of 12 MB",
        with_delta(LARGE),
        ANSWERED | TOO_LARGE,
        _EITHER,
        reported=False,
        type_="GSet",
        change=LARGE,
    ),
    Script(
        "unknown-clock",
        "writes with a clock that there is not",
        with_delta(unknown_clock()),
        ANSWERED | BROKEN,
        _EITHER,
        reported=False,
        type_="LWWRegister",
        change=register_delta("b"),
    ),
    Script(
        "unknown-consistency",
        "asks for a write consistency that there is not",
        with_reply(unknown_consistency),
        BROKEN,
    ),
    Script(
        "failure-update",
        "fails a command and sends a change with it",
        with_reply(fails_with_a_change),
        FAILED | BROKEN,
    ),
    Script("streams", "answers a unary command with a stream", with_reply(says_streamed), BROKEN),
    Script(
        "pushes-unasked",
        "sends an element to a stream that there is not",
        before_answer(Send(another(99))),
        ANSWERED,
        _SAME,
    ),
    Script(
        "cancels-unasked",
        "answers a cancellation that there was not",
        before_answer(Send(cancelled(99, gcounter_delta(5)))),
        GONE,
    ),
    Script(
        "unknown-reply",
        "replies with a type that nobody knows",
        with_reply(reply_with(UNKNOWN)),
        BROKEN,
    ),
    Script(
        "forward-nowhere",
        "forwards to a service that is not there",
        with_reply(forward_nowhere),
        BROKEN,
        _EITHER,
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
        GONE,
        at_start=(Send(Out(failure=Failure(description=DESCRIPTION))), End()),
    ),
    Script(
        "replies-start",
        "replies before there is a command",
        instead(),
        GONE,
        at_start=(Send(UNASKED),),
    ),
    Script(
        "breaks-start",
        "breaks every stream at its start",
        instead(),
        GONE,
        at_start=(End(Status.RESOURCE_EXHAUSTED, DESCRIPTION),),
    ),
    Script(
        "stream-closes",
        "ends the stream while a client takes one",
        streams(another, End()),
        GONE,
        elements=2,
    ),
    Script(
        "stream-breaks",
        "breaks the stream while a client takes one",
        streams(End(Status.INTERNAL, DESCRIPTION)),
        GONE,
        elements=1,
    ),
    Script(
        "stream-other-type",
        "sends a client's stream an element of another type",
        streams(another, of_another_type),
        BROKEN,
        elements=2,
    ),
    Script(
        "stream-goes-on",
        "sends a client's stream another element after the last",
        streams(last, another),
        ANSWERED,
        elements=2,
    ),
    Script(
        "stream-accepts-twice",
        "accepts a stream twice",
        streams(accepts()),
        BROKEN,
        elements=1,
    ),
    Script(
        "stream-fails",
        "fails a stream, and then answers it",
        streams(fails(DESCRIPTION)),
        BROKEN,
        elements=1,
    ),
    Script(
        "stream-silent",
        "does not answer that a client has left",
        streams(),
        ANSWERED,
        elements=1,
        at_cancel=(),
    ),
    Script(
        "stream-settles-another",
        "answers that another client has left",
        streams(),
        ANSWERED,
        elements=1,
        at_cancel=(Send(cancelled(99)),),
    ),
    Script(
        "stream-settles-wrongly",
        "answers that a client has left with a change of another type",
        streams(),
        ANSWERED,
        elements=1,
        at_cancel=(Send(cancelled(2, gset_delta("a"))),),
    ),
)

SCRIPTS: Mapping[str, Script] = {script.name: script for script in _ALL}


def open_crdt_session(late_s: float, message: CrdtStreamIn) -> CrdtModelSession:
    """Return the session for a stream that starts with `message`.

    Args:
        late_s: After how long an answer is too late for the proxy, in seconds.
        message: The first message; the part of the entity's id before the first colon names the
            script.
    """
    script = SCRIPTS.get(message.init.entity_id.partition(":")[0])
    return CrdtModelSession() if script is None else HostileCrdtSession(script, late_s)
