"""The scripts of the hostile user function: what is done, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import Failure
from cloudstate.event_sourced_pb2 import EventSourcedStreamIn
from cloudstate.event_sourced_pb2 import EventSourcedStreamOut as Out
from cloudstate_core.anys import MESSAGE_PREFIX
from cloudstate_core.status import Status
from cloudstate_tck.event_sourced_messages import MODEL, replies
from cloudstate_tck.hostile import (
    DESCRIPTION,
    LARGE_EVENT_BYTES,
    MANY_EVENTS,
    MISBEHAVE,
    HostileSession,
    Script,
    Stored,
    after_answer,
    answers_late,
    answers_then_fails,
    answers_twice,
    command_id_zero,
    events_of,
    failure_with_events,
    forged_metadata,
    forward_in_a_circle,
    forward_to,
    instead,
    long_description,
    long_metadata,
    odd_description,
    other_command_id,
    reply_with,
    restart,
    snapshot_without_events,
    top_level_failure,
    undeliverable_effect,
    with_reply,
)
from cloudstate_tck.scripted.session import End, Flood, Hang, ModelSession, Send, SendBytes

__all__ = ["SCRIPTS", "open_session"]

# What a client may see, as the status says who has to act.
ANSWERED = frozenset({Status.OK})
BROKEN = frozenset({Status.INTERNAL})
GONE = frozenset({Status.UNAVAILABLE})
BROKEN_OR_GONE = BROKEN | GONE
FAILED = frozenset({Status.UNKNOWN})
TOO_LATE = frozenset({Status.DEADLINE_EXCEEDED})
TOO_LARGE = frozenset({Status.RESOURCE_EXHAUSTED, Status.INTERNAL, Status.UNAVAILABLE})

UNASKED = replies(DESCRIPTION, events=[DESCRIPTION])(99)
GARBAGE = b"\xff\xff\xff\xff\xff\x07garbage"
#: `EventSourcedStreamOut.failure` with a description that is no UTF-8.
NOT_UTF8 = b"\x12\x04\x12\x02\xff\xfe"

_ALL = (
    Script("never-answers", "does not answer", instead(), TOO_LATE, reported=True),
    Script(
        "answers-late", "answers when the proxy has given up", answers_late, TOO_LATE, reported=True
    ),
    Script("stops-reading", "stops reading", instead(Hang()), TOO_LATE, reported=True),
    Script(
        "answers-twice",
        "answers twice",
        answers_twice,
        ANSWERED,
        stored=Stored.EVENTS,
        reported=True,
    ),
    Script(
        "answers-then-fails",
        "answers, then fails the same command",
        answers_then_fails,
        ANSWERED,
        stored=Stored.EVENTS,
        reported=True,
    ),
    Script(
        "next-command-id", "answers the next command", other_command_id(1), BROKEN, reported=True
    ),
    Script(
        "last-command-id",
        "answers the command before",
        other_command_id(-1),
        BROKEN,
        reported=True,
    ),
    Script("command-id-zero", "answers command 0", command_id_zero, BROKEN, reported=True),
    Script(
        "negative-command-id", "answers a negative id", other_command_id(-99), BROKEN, reported=True
    ),
    Script(
        "empty-message",
        "sends a message without content",
        instead(Send(Out())),
        BROKEN,
        reported=True,
    ),
    Script(
        "no-client-action",
        "answers with neither reply nor forward nor failure",
        with_reply(lambda reply: reply.ClearField("client_action")),
        BROKEN,
        stored=Stored.ALL_OR_NOTHING,
        reported=True,
    ),
    Script(
        "top-level-failure",
        "fails the stream for a command",
        top_level_failure,
        BROKEN,
        reported=True,
    ),
    Script(
        "top-level-failure-zero",
        "fails the stream for no command",
        instead(Send(Out(failure=Failure(description=DESCRIPTION))), End()),
        BROKEN,
        reported=True,
    ),
    Script(
        "garbage",
        "sends bytes that are no message",
        instead(SendBytes(GARBAGE)),
        BROKEN_OR_GONE,
        reported=True,
    ),
    Script(
        "not-utf8",
        "sends text that is no UTF-8",
        instead(SendBytes(NOT_UTF8)),
        BROKEN_OR_GONE,
        reported=True,
    ),
    Script(
        "closes",
        "ends the stream in order, without an answer",
        instead(End()),
        BROKEN_OR_GONE,
        reported=True,
    ),
    Script(
        "breaks",
        "ends the stream with an error",
        instead(End(Status.INTERNAL, DESCRIPTION)),
        BROKEN_OR_GONE,
        reported=True,
    ),
    Script(
        "blames-the-client",
        "ends the stream with a status that blames the client",
        instead(End(Status.INVALID_ARGUMENT, DESCRIPTION)),
        BROKEN_OR_GONE,
        reported=True,
    ),
    Script(
        "closes-when-idle",
        "ends the stream after an answer",
        after_answer(End()),
        ANSWERED,
        stored=Stored.EVENTS,
        reported=True,
    ),
    Script(
        "breaks-when-idle",
        "breaks the stream after an answer",
        after_answer(End(Status.INTERNAL, DESCRIPTION)),
        ANSWERED,
        stored=Stored.EVENTS,
        reported=True,
    ),
    Script(
        "never-ends",
        "does not end its side of a stream that is over",
        other_command_id(1),
        BROKEN,
        reported=True,
        at_end=(Hang(),),
    ),
    Script(
        "failure-with-events",
        "fails a command and sends events with it",
        failure_with_events(restart=False),
        FAILED,
    ),
    Script(
        "restart-with-events",
        "fails a command, asks for a restart and sends events with it",
        failure_with_events(restart=True),
        FAILED,
    ),
    Script(
        "snapshot-without-events",
        "sends a snapshot but no event",
        with_reply(snapshot_without_events),
        ANSWERED,
    ),
    Script(
        "many-events",
        f"sends {MANY_EVENTS} events in one reply",
        with_reply(lambda reply: events_of(reply, [MISBEHAVE] * MANY_EVENTS)),
        ANSWERED,
        stored=Stored.EVENTS,
        events=(MISBEHAVE,) * MANY_EVENTS,
    ),
    Script(
        "large-event",
        f"sends an event of {LARGE_EVENT_BYTES // 2**20} MB",
        with_reply(lambda reply: events_of(reply, ["x" * LARGE_EVENT_BYTES])),
        ANSWERED | TOO_LARGE,
        stored=Stored.ALL_OR_NOTHING,
        events=("x" * LARGE_EVENT_BYTES,),
    ),
    Script(
        "unknown-reply-type",
        "replies with a type that nobody knows",
        reply_with(Any(type_url=MESSAGE_PREFIX + "no.such.Type", value=b"\x0a\x01x")),
        ANSWERED | BROKEN,
        stored=Stored.ALL_OR_NOTHING,
        reported=True,
    ),
    Script(
        "invalid-reply-bytes",
        "replies with bytes that are no response",
        reply_with(Any(type_url=MESSAGE_PREFIX + "cloudstate.tck.model.Response", value=GARBAGE)),
        ANSWERED | BROKEN,
        stored=Stored.ALL_OR_NOTHING,
    ),
    Script(
        "forged-metadata",
        "replies with metadata that are no headers",
        with_reply(forged_metadata),
        ANSWERED | BROKEN,
        stored=Stored.EVENTS,
    ),
    Script(
        "long-metadata",
        "replies with a header of 1 MB",
        with_reply(long_metadata),
        ANSWERED | TOO_LARGE,
        stored=Stored.EVENTS,
    ),
    Script("long-description", "fails with a text of 1 MB", long_description, FAILED | TOO_LARGE),
    Script("odd-description", "fails with control characters", odd_description, FAILED),
    Script(
        "forward-nowhere",
        "forwards to a service that is not there",
        with_reply(lambda reply: forward_to(reply, "no.such.Service", "Call", Any())),
        BROKEN,
        stored=Stored.ALL_OR_NOTHING,
        reported=True,
    ),
    Script(
        "forward-unknown-method",
        "forwards to a method that is not there",
        with_reply(lambda reply: forward_to(reply, MODEL, "NoSuchMethod", Any())),
        BROKEN,
        stored=Stored.ALL_OR_NOTHING,
        reported=True,
    ),
    Script(
        "forward-garbage",
        "forwards bytes that are no request",
        with_reply(lambda reply: forward_to(reply, MODEL, "Process", Any(value=GARBAGE))),
        BROKEN | {Status.INVALID_ARGUMENT},
        stored=Stored.ALL_OR_NOTHING,
    ),
    Script(
        "forward-in-a-circle",
        "forwards to itself for ever",
        forward_in_a_circle,
        BROKEN,
        reported=True,
    ),
    Script(
        "effect-nowhere",
        "asks for a synchronous side effect on a service that is not there",
        with_reply(undeliverable_effect),
        ANSWERED | BROKEN,
        stored=Stored.ALL_OR_NOTHING,
        reported=True,
    ),
    Script(
        "floods",
        "answers without end with a wrong id",
        instead(Flood(UNASKED)),
        BROKEN,
        reported=True,
    ),
    Script(
        "floods-when-idle",
        "answers, then sends messages without end",
        after_answer(Flood(UNASKED)),
        ANSWERED,
        stored=Stored.EVENTS,
        reported=True,
    ),
    Script(
        "fails-at-start",
        "fails every stream at its start",
        instead(),
        BROKEN,
        at_start=(Send(Out(failure=Failure(description=DESCRIPTION))), End()),
        reported=True,
    ),
    Script(
        "replies-at-start",
        "replies before there is a command",
        instead(),
        BROKEN,
        at_start=(Send(UNASKED),),
        reported=True,
    ),
    Script(
        "breaks-at-start",
        "breaks every stream at its start",
        instead(),
        BROKEN_OR_GONE,
        at_start=(End(Status.RESOURCE_EXHAUSTED, DESCRIPTION),),
        reported=True,
    ),
    Script(
        "breaks-on-replay",
        "asks for a restart and breaks the stream when its events come back",
        restart,
        FAILED,
        at_event=(End(Status.INTERNAL, DESCRIPTION),),
    ),
    Script(
        "floods-at-start",
        "sends messages without end from the start",
        instead(),
        BROKEN,
        at_start=(Flood(UNASKED),),
        reported=True,
    ),
)

SCRIPTS: Mapping[str, Script] = {script.name: script for script in _ALL}


def open_session(late_s: float, message: EventSourcedStreamIn) -> ModelSession:
    """Return the session for a stream that starts with `message`.

    Args:
        late_s: After how long an answer is too late for the proxy, in seconds.
        message: The first message; the part of the entity's id before the first colon names the
            script, and an id without a script is a good neighbour.
    """
    script = SCRIPTS.get(message.init.entity_id.partition(":")[0])
    return ModelSession() if script is None else HostileSession(script, late_s)
