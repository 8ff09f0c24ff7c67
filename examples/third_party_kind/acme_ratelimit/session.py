"""Rules of the user function's end of one stream, with no I/O.

Give `receive` what came in, carry out the instructions it returns, and report what came of them as
further inputs. Whatever the runtime does wrong is answered with a failure and the end of the
stream; nothing is raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from acme_ratelimit.ratelimit_pb2 import FromFunction, Init, Reply, Spending, Terms, ToFunction
from cloudstate.entity_pb2 import ClientAction, Command, Failure, SideEffect
from cloudstate_core.value import value

__all__ = [
    "CallHandler",
    "End",
    "Input",
    "Instruction",
    "Raised",
    "RateLimitSession",
    "Returned",
    "Send",
    "State",
]


@value
class Returned:
    """The handler returned, or failed on purpose."""

    action: ClientAction
    side_effects: Sequence[SideEffect]
    taken: int


@value
class Raised:
    """The handler raised. `reason` is for the author of the user function."""

    reason: str


Input = ToFunction | Returned | Raised


@value
class CallHandler:
    """Let the handler decide. The result is `Returned` or `Raised`."""

    service_name: str
    command: Command
    available: int


@value
class Send:
    """Send a message to the runtime."""

    message: FromFunction


@value
class End:
    """Close the stream, with success: the last word has been said."""


Instruction = CallHandler | Send | End


class State(Enum):
    """Where a session is."""

    NEW = "waiting for init"
    READY = "ready"
    HANDLING = "handling a command"
    ENDED = "ended"


class RateLimitSession:
    """One stream: one activation of one entity."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        """Start with nothing known.

        Args:
            terms: The terms of each service that is served, by full name.
        """
        self.state = State.NEW
        self._terms = terms
        self._service_name = ""
        self._entity_id = ""
        self._command_id = 0

    def receive(self, input_: Input) -> list[Instruction]:
        """Take one input and return what must be done now."""
        match input_:
            case ToFunction():
                return self._receive_message(input_)
            case Returned() if self.state is State.HANDLING:
                return self._answer(input_)
            case Raised(reason) if self.state is State.HANDLING:
                return self._fail(self._command_id, f"Unexpected failure: {reason}")
            case _:
                return self._violation(0, f"{type(input_).__name__} while {self.state.value}")

    def _receive_message(self, message: ToFunction) -> list[Instruction]:
        match self.state, message.WhichOneof("message"):
            case State.NEW, "init":
                return self._receive_init(message.init)
            case State.READY, "command":
                return self._receive_command(message.command)
            case State.ENDED, _:
                return []
            case state, name:
                found = name or "empty message"
                return self._violation(0, f"expected no {found} while {state.value}")

    def _receive_init(self, init: Init) -> list[Instruction]:
        terms = self._terms.get(init.service_name)
        if terms is None:
            return self._violation(0, f"unknown service {init.service_name!r}")
        self.state = State.READY
        self._service_name, self._entity_id = init.service_name, init.entity_id
        return [Send(FromFunction(terms=terms))]

    def _receive_command(self, spending: Spending) -> list[Instruction]:
        command = spending.command
        if command.entity_id != self._entity_id:
            return self._violation(
                command.id, f"expected entity {self._entity_id!r}, found {command.entity_id!r}"
            )
        self.state, self._command_id = State.HANDLING, command.id
        return [CallHandler(self._service_name, command, spending.available)]

    def _answer(self, returned: Returned) -> list[Instruction]:
        self.state = State.READY
        reply = Reply(command_id=self._command_id, client_action=returned.action)
        # A failure stands alone: it costs nothing, and no other command follows from it.
        if not returned.action.HasField("failure"):
            reply.side_effects.extend(returned.side_effects)
            reply.taken = returned.taken
        return [Send(FromFunction(reply=reply))]

    def _violation(self, command_id: int, reason: str) -> list[Instruction]:
        return self._fail(command_id, f"Protocol error: {reason}")

    def _fail(self, command_id: int, description: str) -> list[Instruction]:
        self.state = State.ENDED
        failure = Failure(command_id=command_id, description=description)
        return [Send(FromFunction(failure=failure)), End()]
