"""Rules of one replicated entity in the runtime, with no I/O.

Give `receive` an input, carry out the instructions it returns in their order, and report what came
of them as further inputs, some of them much later. A misbehaving user function does not raise; it
yields `Crash`.

Several commands are outstanding at once, and the user function may answer them in any order. Who
may change the state takes turns: while an operation of the user function is outstanding, which is a
command or a cancellation that is not answered, or an answer that is not stored, it is told of no
change from elsewhere. With the last one the copy is looked at, and it is told the difference from
what it is known to have, in one delta. Where commands never leave a gap, they are held back after a
while until that is done.

Everything that decides what is stored, what is sent and who is answered is in this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cloudstate.crdt_pb2 import (
    CrdtReply,
    CrdtStateAction,
    CrdtStreamCancelledResponse,
    CrdtStreamedMessage,
    CrdtStreamIn,
    CrdtStreamOut,
    CrdtWriteConsistency,
)
from cloudstate.entity_pb2 import ClientAction, Failure
from cloudstate_core.anys import is_of_type
from cloudstate_crdt.instructions import (
    Answer,
    Cancelled,
    ClientLeft,
    CommandArrived,
    Commit,
    Committed,
    CopyChanged,
    CopyNotRead,
    CopyRead,
    Crash,
    Emit,
    EndStream,
    FoundDeleted,
    Input,
    Instruction,
    MessageArrived,
    NotCommitted,
    Opening,
    ReadCopy,
    RefuseAll,
    Report,
    Send,
    StreamLost,
    TimedOut,
)
from cloudstate_crdt.messages import (
    command_message,
    deletion_message,
    init_message,
    stream_cancelled_message,
)
from cloudstate_crdt.replicas import Deleted
from cloudstate_crdt.translation.deltas import advance, catch_up
from cloudstate_crdt.translation.faults import TranslationFault
from cloudstate_crdt.translation.translation import Portion, View

__all__ = ["CrdtMachine", "State"]

Instructions = Sequence[Instruction]

#: How many commands may overtake a change from elsewhere that the user function is to be told of.
_MAX_OVERTAKING = 100

_CONSISTENCIES = frozenset(CrdtWriteConsistency.values())


class State:
    """Where an entity is, in words."""

    NEW: Final = "new"
    LIVE: Final = "live"
    #: Its user function has deleted it, and that is not stored yet.
    DELETING: Final = "being deleted"
    DELETED: Final = "deleted"
    ENDED: Final = "ended"


class _Unanswered:
    """A command that the user function has not answered.

    Attributes:
        name: Of the command.
        streamed: Whether its client takes a stream.
        client_left: Whether it does not any more.
    """

    __slots__ = ("client_left", "name", "streamed")

    def __init__(self, name: str, *, streamed: bool) -> None:
        self.name = name
        self.streamed = streamed
        self.client_left = False


class CrdtMachine:
    """One entity in memory.

    Attributes:
        state: Where it is, of `State`.
    """

    def __init__(
        self, service_name: str, entity_id: str, output_type_urls: Mapping[str, str]
    ) -> None:
        """Start with nothing read.

        Args:
            service_name: Full name of the service.
            entity_id: Which entity.
            output_type_urls: For each command, the type its replies must have.
        """
        self.state: str = State.NEW
        self._service_name = service_name
        self._entity_id = entity_id
        self._output_type_urls = output_type_urls
        # What the user function has, as far as it was told or has said itself. It is changed in
        # place, since it may be large.
        self._known: View | None = None
        self._unanswered: dict[int, _Unanswered] = {}
        # Client streams, by the command that began them, with its name.
        self._open: dict[int, str] = {}
        self._cancelling: dict[int, str] = {}
        # Cancelled ones that the user function had ended at the same time: it may answer still.
        self._ended_while_cancelling: dict[int, str] = {}
        self._committing: set[int] = set()
        self._operations = 0
        self._copy_is_news = False
        self._is_reading = False
        # How many commands were sent although the user function is to be told of something, and
        # those that wait until it was.
        self._overtaking = 0
        self._held: dict[int, CommandArrived] = {}

    def is_idle(self) -> bool:
        """Return whether nobody waits for anything."""
        return not (
            self._unanswered
            or self._open
            or self._cancelling
            or self._committing
            or self._is_reading
            or self._held
        )

    def may_compare(self) -> bool:
        """Return whether the copy may be looked at now; if not, give `CopyNotRead`."""
        return not self._is_outstanding()

    def receive(self, input_: Input) -> Instructions:
        """Take one input and return what must be done now."""
        match self.state:
            case State.LIVE:
                return self._receive(input_)
            case State.NEW if isinstance(input_, Opening):
                return self._start(input_.view)
            case State.DELETING:
                return self._receive_while_deleting(input_)
            case State.DELETED if isinstance(input_, CommandArrived):
                return (RefuseAll(),)
            case _:
                # What an entity still does whose stream is over, or is about to be.
                return ()

    def _receive(self, input_: Input) -> Instructions:
        # The first three are those of every command.
        match input_:
            case CommandArrived():
                return self._take(input_)
            case MessageArrived(message):
                return self._receive_message(message)
            case Committed(operation):
                return self._committed(operation)
            case CopyChanged():
                self._copy_is_news = True
                return self._catch_up()
            case CopyRead(view):
                return self._compare(view)
            case CopyNotRead():
                self._is_reading, self._copy_is_news = False, True
                return self._catch_up()
            case ClientLeft(command_id):
                return self._cancel(command_id)
            case NotCommitted(operation, has_changed):
                return self._not_committed(operation, has_changed=has_changed)
            case FoundDeleted():
                return self._delete()
            case StreamLost(reason, detail):
                return self._crash(reason, detail)
            case TimedOut(command_id):
                return self._time_out(command_id)
            case _:
                return ()

    def _receive_while_deleting(self, input_: Input) -> Instructions:
        match input_:
            case Committed(operation):
                return self._committed(operation)
            case NotCommitted(operation, has_changed):
                return self._not_committed(operation, has_changed=has_changed)
            case FoundDeleted():
                return self._delete()
            case CommandArrived(command_id, name, _, _, streamed):
                # It is refused when the deletion is stored.
                self._unanswered[command_id] = _Unanswered(name, streamed=streamed)
                return ()
            case _:
                return ()

    # --- Starting --------------------------------------------------------------------

    def _start(self, view: View | Deleted | None) -> Instructions:
        if isinstance(view, Deleted):
            self.state = State.DELETED
            return ()
        try:
            message = init_message(self._service_name, self._entity_id, view)
        except TranslationFault as fault:
            return self._crash("Unexpected entity state", str(fault))
        self.state, self._known = State.LIVE, view
        return (Send(message),)

    # --- Commands --------------------------------------------------------------------

    def _take(self, arrived: CommandArrived) -> Instructions:
        if self._copy_is_news or self._is_reading:
            # Commands that never end must not keep the user function from what others have done.
            if self._overtaking >= _MAX_OVERTAKING:
                self._held[arrived.command_id] = arrived
                return ()
            self._overtaking += 1
        return (self._send(arrived),)

    def _send(self, arrived: CommandArrived) -> Send:
        self._unanswered[arrived.command_id] = _Unanswered(arrived.name, streamed=arrived.streamed)
        return Send(command_message(self._entity_id, arrived))

    def _send_held(self) -> Instructions:
        """Send the commands that have waited for the user function to catch up."""
        self._overtaking = 0
        held, self._held = self._held, {}
        return [self._send(arrived) for arrived in held.values()]

    def _cancel(self, command_id: int) -> Instructions:
        held = self._held.pop(command_id, None)
        sent = () if held is None else (self._send(held),)
        command = self._unanswered.get(command_id)
        if command is not None:
            # The user function learns of it when it has accepted the stream.
            command.client_left = True
            return sent
        name = self._open.pop(command_id, None)
        if name is None:
            return ()
        self._cancelling[command_id] = name
        return (Send(stream_cancelled_message(self._entity_id, command_id)),)

    def _time_out(self, command_id: int) -> Instructions:
        if command_id in self._unanswered or command_id in self._cancelling:
            return self._crash("Unexpected entity silence", f"command {command_id} is not answered")
        self._held.pop(command_id, None)
        return ()

    # --- Messages --------------------------------------------------------------------

    def _receive_message(self, message: CrdtStreamOut) -> Instructions:
        match message.WhichOneof("message"):
            case "reply":
                return self._receive_reply(message.reply)
            case "streamed_message":
                return self._receive_streamed(message.streamed_message)
            case "stream_cancelled_response":
                return self._receive_cancelled(message.stream_cancelled_response)
            case "failure":
                return self._receive_failure(message.failure)
            case _:
                return ()

    def _receive_reply(self, reply: CrdtReply) -> Instructions:
        command_id = reply.command_id
        command = self._unanswered.get(command_id)
        if command is None:
            return self._crash("Unexpected entity reply", f"to command {command_id}, unknown")
        if reply.streamed and not command.streamed:
            return self._crash("Unexpected entity reply", f"command {command.name!r}: a stream")
        action, streamed = reply.client_action, reply.streamed
        fault = self._fault_of(command.name, action)
        if fault:
            return self._crash("Unexpected entity reply", fault)
        del self._unanswered[command_id]
        if streamed:
            self._open[command_id] = command.name
        instructions = self._commit(command_id, command.name, reply, action, ends=not streamed)
        if command.client_left:
            return [*instructions, *self._cancel(command_id)]
        return instructions

    def _receive_streamed(self, message: CrdtStreamedMessage) -> Instructions:
        command_id = message.command_id
        name = self._open.get(command_id)
        if name is None:
            return self._receive_streamed_late(message)
        fault = self._fault_of(name, message.client_action)
        if fault:
            return self._crash("Unexpected entity message", fault)
        # A failure is the last that a client hears.
        ends = message.end_stream or message.client_action.HasField("failure")
        if ends:
            del self._open[command_id]
        return (Emit(command_id, message.client_action, message.side_effects, ends),)

    def _receive_streamed_late(self, message: CrdtStreamedMessage) -> Instructions:
        """Take a message for a client who is not there."""
        command_id = message.command_id
        if command_id not in self._cancelling:
            return (Report(f"a streamed message for command {command_id}, which has no stream"),)
        if not message.end_stream:
            return ()
        # That settles the cancellation as well (Cloudstate protocol, streamed commands).
        self._ended_while_cancelling[command_id] = self._cancelling.pop(command_id)
        return [Cancelled(command_id), *self._catch_up()]

    def _receive_cancelled(self, response: CrdtStreamCancelledResponse) -> Instructions:
        command_id = response.command_id
        name = self._cancelling.pop(command_id, None)
        if name is None:
            name = self._ended_while_cancelling.pop(command_id, None)
        if name is None:
            return self._crash(
                "Unexpected entity reply", f"to the cancellation of command {command_id}, unknown"
            )
        if not response.side_effects and response.state_action.WhichOneof("action") is None:
            return [Cancelled(command_id), *self._catch_up()]
        commit = self._commit(command_id, name, response, ClientAction(), ends=True)
        return [Cancelled(command_id), *commit]

    def _receive_failure(self, failure: Failure) -> Instructions:
        command_id = failure.command_id
        if not command_id:
            # It concerns the entity, and the stream ends with it.
            return self._crash("Unexpected entity failure", failure.description)
        told = ClientAction(failure=failure)
        if self._unanswered.pop(command_id, None) is not None:
            return [Answer(command_id, told), *self._catch_up()]
        if self._open.pop(command_id, None) is not None:
            return (Emit(command_id, told, (), ends=True),)
        text = f"a failure of command {command_id}, for which nobody waits: {failure.description}"
        if self._cancelling.pop(command_id, None) is None:
            return (Report(text),)
        return [Report(text), Cancelled(command_id), *self._catch_up()]

    def _fault_of(self, name: str, action: ClientAction) -> str:
        if not action.HasField("reply"):
            return ""
        expected = self._output_type_urls.get(name, "")
        found = action.reply.payload.type_url
        if is_of_type(found, expected):
            return ""
        return f"command {name!r}: expected a reply of type {expected!r}, found {found!r}"

    # --- Changes by the user function ------------------------------------------------

    def _commit(
        self,
        command_id: int,
        name: str,
        said: CrdtReply | CrdtStreamCancelledResponse,
        action: ClientAction,
        *,
        ends: bool,
    ) -> Instructions:
        change, effects = said.state_action, said.side_effects
        fault = _fault_in(change, action) or self._note_change(change)
        if fault:
            return self._crash("Unexpected entity state", f"command {name!r}: {fault}")
        self._operations += 1
        self._committing.add(self._operations)
        is_cancelled = isinstance(said, CrdtStreamCancelledResponse)
        commit = Commit(
            self._operations, command_id, name, change, action, effects, ends, is_cancelled
        )
        if change.HasField("delete"):
            # The stream is complete; it is not told what it has done itself.
            self.state = State.DELETING
            return (commit, EndStream())
        return (commit,)

    def _note_change(self, change: CrdtStateAction) -> str:
        """Keep in mind what the user function has made of what it had; return what is wrong."""
        if not change.HasField("update"):
            return ""
        try:
            self._known, is_foreseen = advance(self._known, change.update)
        except TranslationFault as fault:
            return str(fault)
        if not is_foreseen:
            self._copy_is_news = True
        return ""

    def _committed(self, operation: int) -> Instructions:
        self._committing.discard(operation)
        if self.state != State.DELETING:
            return self._catch_up()
        if self._committing:
            return ()
        self.state = State.DELETED
        self._forget()
        return (RefuseAll(),)

    def _not_committed(self, operation: int, *, has_changed: bool) -> Instructions:
        self._committing.discard(operation)
        if has_changed:
            # The user function has what the copy has not, and there is no way to take it back.
            return self._crash("Entity terminating", "a change could not be stored")
        return self._catch_up()

    # --- Changes from elsewhere ------------------------------------------------------

    def _catch_up(self) -> Instructions:
        """Look at the copy, if there may be news and it is nobody's turn."""
        if not self._copy_is_news or self._is_reading or self._is_outstanding():
            return ()
        self._copy_is_news, self._is_reading = False, True
        return (ReadCopy(),)

    def _is_outstanding(self) -> bool:
        return bool(self._unanswered or self._cancelling or self._committing)

    def _compare(self, view: View | Portion | Deleted | None) -> Instructions:
        self._is_reading = False
        if self._is_outstanding():
            assert not isinstance(view, Portion), "what it shows would not be shown again"
            self._copy_is_news = True
            return ()
        if isinstance(view, Deleted):
            return self._delete()
        if view is None:
            if self._known is None:
                return self._has_caught_up()
            return self._crash("Unexpected entity state", "it is gone from the store")
        try:
            self._known, delta = catch_up(self._known, view)
        except TranslationFault as fault:
            return self._crash("Unexpected entity state", str(fault))
        if delta is None:
            return self._has_caught_up()
        return [Send(CrdtStreamIn(delta=delta)), *self._has_caught_up()]

    def _has_caught_up(self) -> Instructions:
        # First what has waited: there may be no end to what others do, either.
        return self._send_held() or self._catch_up()

    def _delete(self) -> Instructions:
        was, self.state = self.state, State.DELETED
        self._forget()
        if was == State.DELETING:
            return (RefuseAll(),)
        return (Send(deletion_message()), EndStream(), RefuseAll())

    def _crash(self, reason: str, detail: str) -> Instructions:
        self.state = State.ENDED
        self._forget()
        return (Crash(reason, f"entity {self._entity_id!r}: {detail}"),)

    def _forget(self) -> None:
        """Wait for nothing any more."""
        self._known = None
        self._is_reading = False
        self._unanswered.clear()
        self._open.clear()
        self._cancelling.clear()
        self._ended_while_cancelling.clear()
        self._committing.clear()
        self._held.clear()


def _fault_in(change: CrdtStateAction, action: ClientAction) -> str:
    if change.write_consistency not in _CONSISTENCIES:
        return f"expected a write consistency, found {change.write_consistency}"
    if action.HasField("failure") and change.WhichOneof("action") is not None:
        # What fails changes nothing, and what the user function has now, nobody knows.
        return f"expected no change with a failure: {action.failure.description}"
    return ""
