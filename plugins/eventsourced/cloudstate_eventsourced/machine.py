"""Rules of one event-sourced entity in the runtime, with no I/O.

Give `receive` an input, carry out the instructions it returns, and report what came of them as
further inputs. A misbehaving user function does not raise; it yields `Crash`.

Everything that decides what is stored, what is sent and what is answered is in this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, SideEffect
from cloudstate.event_sourced_pb2 import (
    EventSourcedReply,
    EventSourcedStreamIn,
    EventSourcedStreamOut,
)
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.value import value

__all__ = [
    "CommandArrived",
    "Commit",
    "Committed",
    "Crash",
    "EventSourcedMachine",
    "InitSent",
    "Input",
    "Instruction",
    "LoadSnapshot",
    "Opening",
    "Replay",
    "Replayed",
    "ReplyArrived",
    "SendCommand",
    "SendInit",
    "SnapshotLoaded",
    "State",
]


@value
class Opening:
    """The entity is wanted in memory."""


@value
class SnapshotLoaded:
    """What the store has; sequence 0 and None if there is no snapshot."""

    sequence: int
    state: Any | None


@value
class InitSent:
    """The first message of the stream was sent."""


@value
class Replayed:
    """Every event after the snapshot was sent; `sequence` is the last one's."""

    sequence: int


@value
class CommandArrived:
    """A client's command."""

    name: str
    payload: Any
    metadata: Metadata = EMPTY_METADATA


@value
class ReplyArrived:
    """The user function's next message."""

    message: EventSourcedStreamOut


@value
class Committed:
    """What the command changed is durable, and the client can be answered."""


Input = Opening | SnapshotLoaded | InitSent | Replayed | CommandArrived | ReplyArrived | Committed


@value
class LoadSnapshot:
    """Read the newest snapshot. The result is `SnapshotLoaded`."""


@value
class SendInit:
    """Send the first message of the stream. The result is `InitSent`.

    If the user function has ended the stream instead, it is `ReplyArrived` with its last message.
    """

    sequence: int
    snapshot: Any | None


@value
class Replay:
    """Send every event after a sequence, in order. The result is `Replayed`.

    If the user function has ended the stream instead, it is `ReplyArrived` with its last message.
    """

    after: int


@value
class SendCommand:
    """Send a command and wait for the next message. The result is `ReplyArrived`."""

    message: EventSourcedStreamIn


@value
class Commit:
    """Make what a command changed durable, in one commit, and answer. The result is `Committed`.

    Attributes:
        expected_sequence: Number of the entity's last event before the command.
        events: What happened; may be empty.
        snapshot: The state after the events; None if none was taken.
        action: What the client is answered.
        side_effects: What else is to be called.
        restart: Whether this activation must not be used further.
    """

    expected_sequence: int
    events: Sequence[Any]
    snapshot: Any | None
    action: ClientAction
    side_effects: Sequence[SideEffect]
    restart: bool = False


@value
class Crash:
    """The user function broke the protocol.

    Attributes:
        reason: What a client may see.
        detail: What the author of the user function needs to know.
    """

    reason: str
    detail: str


Instruction = LoadSnapshot | SendInit | Replay | SendCommand | Commit | Crash


class State:
    """Where an activation is, in words.

    Looking up a member of an enum would cost as much as the rest of a transition (Python 3.11).
    """

    NEW: Final = "new"
    LOADING: Final = "loading the snapshot"
    STARTING: Final = "starting the stream"
    REPLAYING: Final = "replaying events"
    IDLE: Final = "idle"
    AWAITING_REPLY: Final = "awaiting a reply"
    COMMITTING: Final = "committing"
    ENDED: Final = "ended"


class EventSourcedMachine:
    """One activation of one entity; at most one command is outstanding."""

    def __init__(self, entity_id: str, output_type_urls: Mapping[str, str]) -> None:
        """Start with nothing loaded.

        Args:
            entity_id: Which entity.
            output_type_urls: For each command, the type its reply must have.
        """
        self.state: str = State.NEW
        self.sequence = 0
        self._entity_id = entity_id
        self._output_type_urls = output_type_urls
        self._command_id = 0
        self._command_name = ""
        self._after = (0, State.IDLE)  # sequence and state when the commit is done

    def receive(self, input_: Input) -> Sequence[Instruction]:
        """Take one input and return what must be done now."""
        match self.state, input_:
            case State.IDLE, CommandArrived(name, payload, metadata):
                return self._send(name, payload, metadata)
            case State.AWAITING_REPLY, ReplyArrived(message):
                return self._receive_message(message)
            case State.COMMITTING, Committed():
                self.sequence, self.state = self._after
                return ()
            case State.NEW, Opening():
                self.state = State.LOADING
                return (LoadSnapshot(),)
            case State.LOADING, SnapshotLoaded(sequence, snapshot):
                self.state, self.sequence = State.STARTING, sequence
                return (SendInit(sequence, snapshot),)
            case State.STARTING, InitSent():
                self.state = State.REPLAYING
                return (Replay(self.sequence),)
            case State.REPLAYING, Replayed(sequence):
                self.state, self.sequence = State.IDLE, sequence
                return ()
            case _, ReplyArrived(message):
                return self._receive_unasked(message)
            case _:
                return self._crash(
                    "Unexpected entity behavior",
                    f"{type(input_).__name__} while {self.state}",
                )

    def _send(self, name: str, payload: Any, metadata: Metadata) -> Sequence[Instruction]:
        # Ids count from 1 within one stream. `streamed` stays unset, and so does `metadata` where
        # there is none: others compare whole commands (Cloudstate protocol, `Command`).
        self.state = State.AWAITING_REPLY
        self._command_id += 1
        self._command_name = name
        # Filled in place: making the inner messages first would copy the payload once for each.
        message = EventSourcedStreamIn()
        command = message.command
        command.entity_id = self._entity_id
        command.id = self._command_id
        command.name = name
        command.payload.CopyFrom(payload)
        if metadata:
            command.metadata.CopyFrom(metadata.to_wire())
        return (SendCommand(message),)

    def _receive_message(self, message: EventSourcedStreamOut) -> Sequence[Instruction]:
        match message.WhichOneof("message"):
            case "reply":
                return self._receive_reply(message.reply)
            case "failure":
                return self._crash("Unexpected entity failure", message.failure.description)
            case _:
                return self._crash("Unexpected entity message", "an empty message")

    def _receive_unasked(self, message: EventSourcedStreamOut) -> Sequence[Instruction]:
        if message.HasField("failure"):
            return self._crash("Unexpected entity failure", message.failure.description)
        return self._crash("Unexpected entity reply", f"a message while {self.state}")

    def _receive_reply(self, reply: EventSourcedReply) -> Sequence[Instruction]:
        fault = self._fault_of(reply)
        if fault:
            return self._crash("Unexpected entity reply", fault)
        action = reply.client_action
        failed = action.HasField("failure")
        # A failure that a handler answers changes nothing, whatever else the reply holds; and a
        # snapshot without events is of no use, since it says nothing that is not stored.
        events = () if failed else reply.events
        snapshot = reply.snapshot if events and reply.HasField("snapshot") else None
        restart = failed and action.failure.restart
        # The protocol stores before it answers: a client that saw the reply must find the events
        # after a crash.
        self._after = (self.sequence + len(events), State.ENDED if restart else State.IDLE)
        self.state = State.COMMITTING
        return (Commit(self.sequence, events, snapshot, action, reply.side_effects, restart),)

    def _fault_of(self, reply: EventSourcedReply) -> str:
        if reply.command_id != self._command_id:
            return f"expected a reply to command {self._command_id}, found {reply.command_id}"
        expected = self._output_type_urls.get(self._command_name, "")
        action = reply.client_action
        if action.HasField("reply") and not _is_of_type(action.reply.payload.type_url, expected):
            return (
                f"command {self._command_name!r}: expected a reply of type {expected!r}, "
                f"found {action.reply.payload.type_url!r}"
            )
        for event in reply.events:
            if not event.type_url:
                return f"command {self._command_name!r}: expected a type in each event, found none"
        return ""

    def _crash(self, reason: str, detail: str) -> Sequence[Instruction]:
        self.state = State.ENDED
        return (Crash(reason, f"entity {self._entity_id!r}: {detail}"),)


def _is_of_type(found: str, expected: str) -> bool:
    # The part before the slash only says where a type's definition might be had; it does not tell
    # types apart.
    return found == expected or found.partition("/")[2] == expected.partition("/")[2] != ""
