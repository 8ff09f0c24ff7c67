"""The scripts of hostile CRDTs: what each does, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudstate.crdt_pb2 import (
    CrdtDelta,
    CrdtStreamIn,
    GCounterDelta,
    GSetDelta,
    ORMapEntryDelta,
)
from cloudstate.crdt_pb2 import CrdtStreamOut as Out
from cloudstate.entity_pb2 import Command, Failure
from cloudstate_core.anys import encode
from cloudstate_core.status import Status
from cloudstate_tck.crdt_messages import accepts, cancelled, fails, replies
from cloudstate_tck.crdt_values import (
    flag_delta,
    gcounter_delta,
    gset_delta,
    ormap_delta,
    register_delta,
)
from cloudstate_tck.hostile import Stored
from cloudstate_tck.hostile_crdts import (
    DESCRIPTION,
    GARBAGE,
    UNKNOWN,
    HostileCrdtSession,
    Script,
    after_answer,
    another,
    answers_late,
    answers_twice,
    before_answer,
    empty_state_action,
    fails_with_a_change,
    forward_nowhere,
    good,
    instead,
    last,
    of_another_type,
    other_command_id,
    reply_with,
    says_streamed,
    streams,
    top_level_failure,
    unknown_consistency,
    with_delta,
    with_reply,
)
from cloudstate_tck.scripted.crdt_session import CrdtModelSession
from cloudstate_tck.scripted.session import End, Flood, Hang, Instruction, Send, SendBytes

__all__ = ["GOES_ON", "SCRIPTS", "WATCHED", "open_crdt_session"]

TOO_DEEP = 20


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


def deletes_and_goes_on(session: HostileCrdtSession, command: Command) -> Sequence[Instruction]:
    out = replies(session.value.state(), deletes=True)(command.id)
    return Send(out), Send(good(session, command.id)), Send(another(command.id)), Flood(UNASKED)


def ends_under_a_watcher(session: HostileCrdtSession, command: Command) -> Sequence[Instruction]:
    return streams()(session, command) if command.streamed else (End(),)


#: Those that have cases of their own.
GOES_ON = Script("goes-on", "goes on after its deletion", deletes_and_goes_on, ANSWERED)
WATCHED = Script("watched", "ends its stream while a client takes one", ends_under_a_watcher, GONE)


def open_crdt_session(late_s: float, message: CrdtStreamIn) -> CrdtModelSession:
    """Return the session for a stream that starts with `message`.

    Args:
        late_s: After how long an answer is too late for the proxy, in seconds.
        message: The first message; the part of the entity's id before the first colon names the
            script.
    """
    known = {**SCRIPTS, GOES_ON.name: GOES_ON, WATCHED.name: WATCHED}
    script = known.get(message.init.entity_id.partition(":")[0])
    return CrdtModelSession() if script is None else HostileCrdtSession(script, late_s)
