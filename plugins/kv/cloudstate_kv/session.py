"""Rules of the user function's end of one value entity's stream, with no I/O.

Give `receive` what came in, carry out the instructions it returns, and report what came of them as
further inputs. Whatever the runtime does wrong is answered with the protocol's failure message and
the end of the stream; nothing is raised.

Everything that decides what is said on the stream, and what the value is, is in this file.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, Command, Failure, SideEffect
from cloudstate.value_entity_pb2 import (
    ValueEntityAction,
    ValueEntityInit,
    ValueEntityStreamIn,
    ValueEntityStreamOut,
)
from cloudstate_core.value import value

__all__ = [
    "CallHandler",
    "End",
    "Input",
    "Instruction",
    "Raised",
    "Returned",
    "Send",
    "State",
    "ValueSession",
]


@value
class Returned:
    """A command handler returned, or failed on purpose.

    Attributes:
        action: The answer.
        state_action: What becomes of the value; None if it stays.
        side_effects: What is to be called.
    """

    action: ClientAction
    state_action: ValueEntityAction | None
    side_effects: Sequence[SideEffect]


@value
class Raised:
    """A handler raised. `reason` is for the author of the user function."""

    reason: str


Input = ValueEntityStreamIn | Returned | Raised


@value
class CallHandler:
    """Let the command handler decide. The result is `Returned` or `Raised`.

    Attributes:
        service_name: Full name of the service.
        command: The command.
        stored: The value before it; None if there is none.
    """

    service_name: str
    command: Command
    stored: Any | None


@value
class Send:
    """Send a message to the runtime."""

    message: ValueEntityStreamOut


@value
class End:
    """Close the stream, with success: the last word has been said."""


Instruction = CallHandler | Send | End


class State:
    """Where a session is, in words.

    Looking up a member of an enum would cost as much as the rest of a transition (Python 3.11).
    """

    NEW: Final = "waiting for init"
    READY: Final = "ready"
    HANDLING: Final = "handling a command"
    ENDED: Final = "ended"


class ValueSession:
    """One stream: the value of one entity, and its commands.

    Attributes:
        state: Where it is, of `State`.
        service_name: Full name of the service; empty before init.
        entity_id: Which entity; empty before init.
        stored: The value after the last command; None if there is none.
    """

    def __init__(self, services: Container[str]) -> None:
        """Start with nothing known; `services` are the full names of those that are served."""
        self.state: str = State.NEW
        self.stored: Any | None = None
        self._services = services
        self.service_name = self.entity_id = ""
        self._command_id = 0

    def receive(self, input_: Input) -> list[Instruction]:
        """Take one input and return what must be done now."""
        match input_:
            case ValueEntityStreamIn():
                return self._receive_message(input_)
            case Returned() if self.state == State.HANDLING:
                return self._answer(input_)
            case _ if self.state == State.ENDED:
                return []
            case Raised(reason):
                return self._fail(self._command_id, f"Unexpected failure: {reason}")
            case _:
                return self._violation(0, f"{type(input_).__name__} while {self.state}")

    def _receive_message(self, message: ValueEntityStreamIn) -> list[Instruction]:
        # `WhichOneof` names the field that is set; the order is that of a long stream's messages.
        match self.state, message.WhichOneof("message"):
            case State.READY, "command":
                return self._receive_command(message.command)
            case State.NEW, "init":
                return self._receive_init(message.init)
            case State.NEW, _:
                return self._violation(0, "expected init as the first message")
            case State.ENDED, _:
                return []
            case _, "init":
                return self._violation(0, "expected init only once")
            case _, None:
                return self._violation(0, "expected a message, found an empty one")
            case state, name:
                return self._violation(message.command.id, f"expected no {name} while {state}")

    def _receive_init(self, init: ValueEntityInit) -> list[Instruction]:
        if init.service_name not in self._services:
            return self._violation(0, f"unknown service {init.service_name!r}")
        self.state = State.READY
        self.service_name, self.entity_id = init.service_name, init.entity_id
        # A state that is unset says the same as one without a value: there is none.
        if init.state.HasField("value"):
            self.stored = init.state.value
        return []

    def _receive_command(self, command: Command) -> list[Instruction]:
        if command.entity_id != self.entity_id:
            return self._violation(
                command.id, f"expected entity {self.entity_id!r}, found {command.entity_id!r}"
            )
        if not command.HasField("payload"):
            return self._violation(command.id, "expected a payload, found none")
        self.state, self._command_id = State.HANDLING, command.id
        return [CallHandler(self.service_name, command, self.stored)]

    def _answer(self, returned: Returned) -> list[Instruction]:
        out = ValueEntityStreamOut()
        # The reply is filled where it stands: making it by itself would copy it once more.
        reply = out.reply
        reply.command_id = self._command_id
        reply.client_action.CopyFrom(returned.action)
        if returned.action.HasField("failure"):
            # A failure stands alone: no state action, no effects. The value is the one before.
            reply.client_action.failure.command_id = self._command_id
        else:
            reply.side_effects.extend(returned.side_effects)
            self._change(returned.state_action, out)
        self.state, self._command_id = State.READY, 0
        return [Send(out)]

    def _change(self, state_action: ValueEntityAction | None, out: ValueEntityStreamOut) -> None:
        if state_action is None:
            return
        out.reply.state_action.CopyFrom(state_action)
        updated = state_action.HasField("update")
        # Not the reply's own: whoever gets that may change it.
        self.stored = state_action.update.value if updated else None

    def _violation(self, command_id: int, reason: str) -> list[Instruction]:
        return self._fail(command_id, f"Protocol error: {reason}")

    def _fail(self, command_id: int, description: str) -> list[Instruction]:
        self.state, self.stored = State.ENDED, None
        failure = Failure(command_id=command_id, description=description)
        return [Send(ValueEntityStreamOut(failure=failure)), End()]
