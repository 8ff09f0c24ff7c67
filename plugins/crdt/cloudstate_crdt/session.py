"""Rules of the user function's end of one CRDT entity's stream, with no I/O.

Give `receive` what came in, carry out the instructions it returns, and report what came of them as
further inputs. Commands, cancellations and changes from elsewhere are taken one after another.
Whatever the runtime does wrong is answered with the protocol's failure message and the end of the
stream; nothing is raised.

Everything that decides what is said on the stream, and what the CRDT is, is in this file and in the
CRDT itself.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final

from cloudstate.crdt_pb2 import (
    CrdtDelta,
    CrdtInit,
    CrdtStateAction,
    CrdtStreamIn,
    CrdtStreamOut,
)
from cloudstate.entity_pb2 import ClientAction, Command, Failure, SideEffect, StreamCancelled
from cloudstate_core.value import value
from cloudstate_crdt.context import Subscription
from cloudstate_crdt.data.crdt import WrongDelta
from cloudstate_crdt.local_copy import LocalCopy
from cloudstate_crdt.write_consistency import WriteConsistency

__all__ = [
    "CallHandler",
    "CallOnCancel",
    "CallOnChange",
    "CrdtSession",
    "End",
    "Input",
    "Instruction",
    "Noticed",
    "NoticedWrongly",
    "Raised",
    "Released",
    "Returned",
    "Send",
    "State",
]


# --- Inputs --------------------------------------------------------------------------


@value
class Returned:
    """A command handler returned, or failed on purpose.

    Attributes:
        action: The answer; None for none, which a stream may begin with.
        side_effects: What is to be called.
        subscription: How the client's stream goes on; None if it does not.
        consistency: How far a change must have spread before the client is answered.
    """

    action: ClientAction | None
    side_effects: Sequence[SideEffect] = ()
    subscription: Subscription | None = None
    consistency: WriteConsistency = WriteConsistency.LOCAL


@value
class Released:
    """The listener for the leaving of a client returned.

    Attributes:
        side_effects: What is to be called.
        consistency: How far a change must spread.
    """

    side_effects: Sequence[SideEffect] = ()
    consistency: WriteConsistency = WriteConsistency.LOCAL


@value
class Raised:
    """A handler, or a listener for a leaving, raised; `reason` is for the user function's author.

    What it has changed until then cannot be taken back.
    """

    reason: str


@value
class Noticed:
    """A listener for changes returned, or failed on purpose.

    Attributes:
        command_id: The command that began its stream.
        action: The next element; None for none.
        side_effects: What is to be called.
        ends: Whether nothing follows.
    """

    command_id: int
    action: ClientAction | None
    side_effects: Sequence[SideEffect] = ()
    ends: bool = False


@value
class NoticedWrongly:
    """A listener for changes raised, which concerns its own stream alone."""

    command_id: int
    reason: str


Input = CrdtStreamIn | Returned | Released | Raised | Noticed | NoticedWrongly


# --- Instructions --------------------------------------------------------------------


@value
class CallHandler:
    """Let the command handler decide. The result is `Returned` or `Raised`."""

    command: Command


@value
class CallOnCancel:
    """Tell a stream's listener that the client has left. The result is `Released` or `Raised`."""

    subscription: Subscription


@value
class CallOnChange:
    """Tell a stream's listener of a change. The result is `Noticed` or `NoticedWrongly`."""

    subscription: Subscription


@value
class Send:
    """Send a message to the runtime."""

    message: CrdtStreamOut


@value
class End:
    """Close the stream, with success: the last word has been said."""


Instruction = CallHandler | CallOnCancel | CallOnChange | Send | End


class State:
    """Where a session is, in words."""

    NEW: Final = "waiting for init"
    READY: Final = "ready"
    HANDLING: Final = "handling a command"
    CANCELLING: Final = "handling a cancellation"
    #: The runtime ends the stream; what it sent before that is not answered.
    DELETED: Final = "deleted"
    ENDED: Final = "ended"


_OVER = (State.ENDED, State.DELETED)


class CrdtSession:
    """One stream: the CRDT of one entity, its commands, and the streams of its clients.

    Attributes:
        state: Where it is, of `State`.
        service_name: Full name of the service; empty before init.
        entity_id: Which entity; empty before init.
        copy: The CRDT.
    """

    def __init__(self, services: Container[str]) -> None:
        """Start with nothing known; `services` are the full names of those that are served."""
        self.state: str = State.NEW
        self.service_name = self.entity_id = ""
        self.copy = LocalCopy()
        self._services = services
        self._command_id = 0
        # By the command that began them, in that order.
        self._streams: dict[int, Subscription] = {}

    def receive(self, input_: Input) -> Sequence[Instruction]:
        """Take one input and return what must be done now."""
        state = self.state
        if state in _OVER:
            return ()
        match input_:
            case CrdtStreamIn():
                return self._receive_message(input_)
            case Returned() if state == State.HANDLING:
                return self._answer(input_)
            case Released(side_effects, consistency) if state == State.CANCELLING:
                return self._release(side_effects, consistency)
            case Raised(reason) if state in {State.HANDLING, State.CANCELLING}:
                return self._fail(self._command_id, f"Unexpected failure: {reason}")
            case Noticed() if state == State.READY:
                return self._push(input_)
            case NoticedWrongly(command_id, reason) if state == State.READY:
                failure = Failure(description=f"Unexpected failure: {reason}")
                return self._push(Noticed(command_id, ClientAction(failure=failure)))
            case _:
                return self._violation(0, f"{type(input_).__name__} while {state}")

    def _receive_message(self, message: CrdtStreamIn) -> Sequence[Instruction]:
        match self.state, message.WhichOneof("message"):
            case State.READY, "command":
                return self._receive_command(message.command)
            case State.READY, "delta":
                return self._receive_delta(message.delta)
            case State.READY, "stream_cancelled":
                return self._receive_cancelled(message.stream_cancelled)
            case State.READY, "delete":
                self._delete()
                return ()
            case State.NEW, "init":
                return self._receive_init(message.init)
            case State.NEW, _:
                return self._violation(0, "expected init as the first message")
            case _, "init":
                return self._violation(0, "expected init only once")
            case _, None:
                return self._violation(0, "expected a message, found an empty one")
            case state, name:
                return self._violation(message.command.id, f"expected no {name} while {state}")

    def _receive_init(self, init: CrdtInit) -> Sequence[Instruction]:
        if init.service_name not in self._services:
            return self._violation(0, f"unknown service {init.service_name!r}")
        self.state = State.READY
        self.service_name, self.entity_id = init.service_name, init.entity_id
        if init.HasField("delta"):
            return self._take_in(init.delta)
        return ()

    # --- Commands --------------------------------------------------------------------

    def _receive_command(self, command: Command) -> Sequence[Instruction]:
        if command.entity_id != self.entity_id:
            return self._wrong_entity(command.id, command.entity_id)
        if not command.HasField("payload"):
            return self._violation(command.id, "expected a payload, found none")
        self.state, self._command_id = State.HANDLING, command.id
        self.copy.begin()
        return (CallHandler(command),)

    def _answer(self, returned: Returned) -> Sequence[Instruction]:
        self.copy.end()
        self.state, command_id, action = State.READY, self._command_id, returned.action
        if action is not None and action.HasField("failure"):
            return self._answer_failure(command_id, action)
        # A listener is not told of what its own command has changed: the answer shows that.
        watching = tuple(self._streams.values()) if self._streams else ()
        out = CrdtStreamOut()
        reply = out.reply
        reply.command_id = command_id
        if action is not None:
            reply.client_action.CopyFrom(action)
        if returned.side_effects:
            reply.side_effects.extend(returned.side_effects)
        if returned.subscription is not None:
            reply.streamed = True
            self._streams[command_id] = returned.subscription
        return self._sent(out, returned.consistency, reply.state_action, watching)

    def _answer_failure(self, command_id: int, action: ClientAction) -> Sequence[Instruction]:
        if not self.copy.abandon():
            # The runtime does not have the change and never will; nothing can take it back here.
            return self._fail(
                command_id,
                "Unexpected failure: the command failed after it had changed the CRDT: "
                f"{action.failure.description}",
            )
        # A failure stands alone: no state action, no effects, and no stream.
        out = CrdtStreamOut()
        out.reply.command_id = command_id
        out.reply.client_action.CopyFrom(action)
        out.reply.client_action.failure.command_id = command_id
        return (Send(out),)

    # --- Streams ---------------------------------------------------------------------

    def _receive_cancelled(self, cancelled: StreamCancelled) -> Sequence[Instruction]:
        if cancelled.entity_id != self.entity_id:
            return self._wrong_entity(cancelled.id, cancelled.entity_id)
        # The handler may have ended the stream at the same time.
        subscription = self._streams.pop(cancelled.id, None)
        self.state, self._command_id = State.CANCELLING, cancelled.id
        self.copy.begin()
        if subscription is None or subscription.on_cancel is None:
            return self._release((), WriteConsistency.LOCAL)
        return (CallOnCancel(subscription),)

    def _release(
        self, side_effects: Iterable[SideEffect], consistency: WriteConsistency
    ) -> Sequence[Instruction]:
        # A cancellation is answered in any case (Cloudstate protocol, streamed commands).
        self.copy.end()
        self.state = State.READY
        out = CrdtStreamOut()
        response = out.stream_cancelled_response
        response.command_id = self._command_id
        response.side_effects.extend(side_effects)
        watching = tuple(self._streams.values())
        return self._sent(out, consistency, response.state_action, watching)

    def _sent(
        self,
        out: CrdtStreamOut,
        consistency: WriteConsistency,
        change: CrdtStateAction,
        watching: Sequence[Subscription],
    ) -> Sequence[Instruction]:
        """Send an answer, with what was changed as its part `change`, and tell who watches."""
        has_changed = self.copy.take(consistency, change)
        if has_changed and change.HasField("delete"):
            self._delete()
        elif has_changed and watching:
            return (Send(out), *_notify(watching))
        return (Send(out),)

    def _push(self, noticed: Noticed) -> Sequence[Instruction]:
        if noticed.command_id not in self._streams:
            return ()
        action = noticed.action
        failed = action is not None and action.HasField("failure")
        if action is None and not noticed.side_effects and not noticed.ends:
            return ()
        out = CrdtStreamOut()
        out.streamed_message.command_id = noticed.command_id
        if action is not None:
            out.streamed_message.client_action.CopyFrom(action)
        if failed:
            # A failure stands alone, and is the last that the client hears.
            out.streamed_message.client_action.failure.command_id = noticed.command_id
        else:
            out.streamed_message.side_effects.extend(noticed.side_effects)
            out.streamed_message.end_stream = noticed.ends
        if failed or noticed.ends:
            del self._streams[noticed.command_id]
        return (Send(out),)

    # --- Changes from elsewhere ------------------------------------------------------

    def _receive_delta(self, delta: CrdtDelta) -> Sequence[Instruction]:
        return self._take_in(delta) or _notify(self._streams.values())

    def _take_in(self, delta: CrdtDelta) -> Sequence[Instruction]:
        try:
            self.copy.receive(delta)
        except WrongDelta as error:
            return self._violation(0, str(error))
        return ()

    def _delete(self) -> None:
        self.state = State.DELETED
        self._streams.clear()
        self.copy.forget()

    # --- Ends ------------------------------------------------------------------------

    def _wrong_entity(self, command_id: int, found: str) -> Sequence[Instruction]:
        return self._violation(command_id, f"expected entity {self.entity_id!r}, found {found!r}")

    def _violation(self, command_id: int, reason: str) -> Sequence[Instruction]:
        return self._fail(command_id, f"Protocol error: {reason}")

    def _fail(self, command_id: int, description: str) -> Sequence[Instruction]:
        self.state = State.ENDED
        self._streams.clear()
        self.copy.end()
        self.copy.forget()
        failure = Failure(command_id=command_id, description=description)
        return (Send(CrdtStreamOut(failure=failure)), End())


def _notify(watching: Iterable[Subscription]) -> Sequence[Instruction]:
    return tuple(CallOnChange(each) for each in watching if each.on_change is not None)
