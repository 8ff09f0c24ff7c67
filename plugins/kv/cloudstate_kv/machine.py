"""Rules of one value entity in the runtime, with no I/O.

Give `receive` an input, carry out the instructions it returns, and report what came of them as
further inputs. A misbehaving user function does not raise; it yields `Crash`.

Everything that decides what is stored, what is sent and what is answered is in this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, SideEffect
from cloudstate.value_entity_pb2 import (
    ValueEntityReply,
    ValueEntityStreamIn,
    ValueEntityStreamOut,
)
from cloudstate_core.anys import is_of_type
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.value import value

__all__ = [
    "CommandArrived",
    "Commit",
    "Committed",
    "Crash",
    "Delete",
    "InitSent",
    "Input",
    "Instruction",
    "LoadValue",
    "Opening",
    "Put",
    "ReplyArrived",
    "SendCommand",
    "SendInit",
    "State",
    "ValueLoaded",
    "ValueMachine",
]


@value
class Opening:
    """The entity is wanted in memory."""


@value
class ValueLoaded:
    """What the store has; None if nothing was written, or it is deleted."""

    revision: int
    value: Any | None


@value
class InitSent:
    """The first message of the stream was sent."""


@value
class CommandArrived:
    """A client's command."""

    name: str
    payload: Any
    metadata: Metadata = EMPTY_METADATA


@value
class ReplyArrived:
    """The user function's next message."""

    message: ValueEntityStreamOut


@value
class Committed:
    """What the command changes is durable."""


Input = Opening | ValueLoaded | InitSent | CommandArrived | ReplyArrived | Committed


@value
class LoadValue:
    """Read the value. The result is `ValueLoaded`."""


@value
class SendInit:
    """Send the first message of the stream. The result is `InitSent`.

    If the user function has ended the stream instead, it is `ReplyArrived` with its last message.
    """

    message: ValueEntityStreamIn


@value
class SendCommand:
    """Send a command and wait for the next message. The result is `ReplyArrived`."""

    message: ValueEntityStreamIn


@value
class Put:
    """Replace the value that has this revision."""

    expected_revision: int
    value: Any


@value
class Delete:
    """Delete the value that has this revision."""

    expected_revision: int


@value
class Commit:
    """Make all that the command changes durable; then it is answered. The result is `Committed`.

    Attributes:
        change: What becomes of the value; None if it stays.
        action: The answer.
        side_effects: What is to be called.
        revision: The value's revision after the commit.
    """

    change: Put | Delete | None
    action: ClientAction
    side_effects: Sequence[SideEffect]
    revision: int


@value
class Crash:
    """The user function broke the protocol.

    Attributes:
        reason: What a client may see.
        detail: What the author of the user function needs to know.
    """

    reason: str
    detail: str


Instruction = LoadValue | SendInit | SendCommand | Commit | Crash


class State:
    """Where an activation is, in words.

    Looking up a member of an enum would cost as much as the rest of a transition (Python 3.11).
    """

    NEW: Final = "new"
    LOADING: Final = "loading the value"
    STARTING: Final = "starting the stream"
    IDLE: Final = "idle"
    AWAITING_REPLY: Final = "awaiting a reply"
    COMMITTING: Final = "committing"
    ENDED: Final = "ended"


class ValueMachine:
    """One activation of one entity; at most one command is outstanding.

    Attributes:
        state: Where it is, of `State`.
        revision: The value's revision in the store, as far as is known.
        has_value: Whether there is a value.
    """

    def __init__(
        self, service_name: str, entity_id: str, output_type_urls: Mapping[str, str]
    ) -> None:
        """Start with nothing loaded.

        Args:
            service_name: Full name of the service.
            entity_id: Which entity.
            output_type_urls: For each command, the type its reply must have.
        """
        self.state: str = State.NEW
        self.revision = 0
        self.has_value = False
        self._service_name = service_name
        self._entity_id = entity_id
        self._output_type_urls = output_type_urls
        self._command_id = 0
        self._command_name = ""
        self._change: Put | Delete | None = None

    def receive(self, input_: Input) -> Sequence[Instruction]:
        """Take one input and return what must be done now."""
        match self.state, input_:
            case State.IDLE, CommandArrived(name, payload, metadata):
                return self._send(name, payload, metadata)
            case State.AWAITING_REPLY, ReplyArrived(message):
                return self._receive_message(message)
            case State.COMMITTING, Committed():
                return self._settle()
            case State.NEW, Opening():
                self.state = State.LOADING
                return (LoadValue(),)
            case State.LOADING, ValueLoaded(revision, stored):
                return self._start(revision, stored)
            case State.STARTING, InitSent():
                self.state = State.IDLE
                return ()
            case _, ReplyArrived(message):
                return self._receive_unasked(message)
            case _:
                return self._crash(
                    "Unexpected entity behavior",
                    f"{type(input_).__name__} while {self.state}",
                )

    def _start(self, revision: int, stored: Any | None) -> Sequence[Instruction]:
        self.state, self.revision = State.STARTING, revision
        self.has_value = stored is not None
        message = ValueEntityStreamIn()
        message.init.service_name = self._service_name
        message.init.entity_id = self._entity_id
        # The state is always there, and it is empty if there is no value.
        message.init.state.SetInParent()
        if stored is not None:
            message.init.state.value.CopyFrom(stored)
        return (SendInit(message),)

    def _send(self, name: str, payload: Any, metadata: Metadata) -> Sequence[Instruction]:
        # Ids count from 1 within one stream. `streamed` stays unset, and so does `metadata` where
        # there is none: others compare whole commands (Cloudstate protocol, `Command`).
        self.state = State.AWAITING_REPLY
        self._command_id += 1
        self._command_name = name
        # Filled in place: making the inner messages first would copy the payload once for each.
        message = ValueEntityStreamIn()
        command = message.command
        command.entity_id = self._entity_id
        command.id = self._command_id
        command.name = name
        command.payload.CopyFrom(payload)
        if metadata:
            command.metadata.CopyFrom(metadata.to_wire())
        return (SendCommand(message),)

    def _receive_message(self, message: ValueEntityStreamOut) -> Sequence[Instruction]:
        match message.WhichOneof("message"):
            case "reply":
                return self._receive_reply(message.reply)
            case "failure":
                return self._crash("Unexpected entity failure", message.failure.description)
            case _:
                return self._crash("Unexpected entity message", "an empty message")

    def _receive_unasked(self, message: ValueEntityStreamOut) -> Sequence[Instruction]:
        if message.HasField("failure"):
            return self._crash("Unexpected entity failure", message.failure.description)
        return self._crash("Unexpected entity reply", f"a message while {self.state}")

    def _receive_reply(self, reply: ValueEntityReply) -> Sequence[Instruction]:
        fault = self._fault_of(reply)
        if fault:
            return self._crash("Unexpected entity reply", fault)
        # The protocol stores before it answers: a client that saw the reply must find the value
        # after a crash.
        self.state = State.COMMITTING
        self._change = self._change_of(reply)
        revision = self.revision if self._change is None else self.revision + 1
        return (Commit(self._change, reply.client_action, reply.side_effects, revision),)

    def _fault_of(self, reply: ValueEntityReply) -> str:
        if reply.command_id != self._command_id:
            return f"expected a reply to command {self._command_id}, found {reply.command_id}"
        expected = self._output_type_urls.get(self._command_name, "")
        action = reply.client_action
        if action.HasField("reply") and not is_of_type(action.reply.payload.type_url, expected):
            return (
                f"command {self._command_name!r}: expected a reply of type {expected!r}, "
                f"found {action.reply.payload.type_url!r}"
            )
        fault = _fault_of_state_action(reply)
        return f"command {self._command_name!r}: {fault}" if fault else ""

    def _change_of(self, reply: ValueEntityReply) -> Put | Delete | None:
        # A failure that a handler answers changes nothing, whatever else the reply holds.
        if not reply.HasField("state_action") or reply.client_action.HasField("failure"):
            return None
        if reply.state_action.HasField("update"):
            return Put(self.revision, reply.state_action.update.value)
        # What is not there need not be deleted: the revision does not go on for it.
        return Delete(self.revision) if self.has_value else None

    def _settle(self) -> Sequence[Instruction]:
        # An idle entity does not keep its value in memory.
        change, self._change = self._change, None
        if change is not None:
            self.revision += 1
            self.has_value = isinstance(change, Put)
        self.state = State.IDLE
        return ()

    def _crash(self, reason: str, detail: str) -> Sequence[Instruction]:
        self.state = State.ENDED
        return (Crash(reason, f"entity {self._entity_id!r}: {detail}"),)


def _fault_of_state_action(reply: ValueEntityReply) -> str:
    if not reply.HasField("state_action"):
        return ""
    match reply.state_action.WhichOneof("action"):
        case "update" if not reply.state_action.update.HasField("value"):
            return "expected a value in the update, found none"
        case "update" if not reply.state_action.update.value.type_url:
            return "expected a type in the updated value, found none"
        case None:
            return "expected an update or a delete in the state action, found neither"
        case _:
            return ""
