"""The model value entities, one stream at a time, with no I/O.

Give `receive` a message, carry out the instructions it returns. Subclasses break one rule each.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from cloudstate.entity_pb2 import Command, EntitySpec, Failure, SideEffect
from cloudstate.value_entity_pb2 import ValueEntityStreamIn, ValueEntityStreamOut
from cloudstate_tck.model import valueentity_pb2
from cloudstate_tck.model.valueentity_pb2 import Persisted, Request
from cloudstate_tck.protocol import VALUE_ENTITY
from cloudstate_tck.scripted.function import entity_of, spec_of
from cloudstate_tck.scripted.session import End, Instruction, Send
from cloudstate_tck.value_entity_messages import (
    CONFIGURED,
    MODEL,
    TWO,
    fails,
    forwards,
    replies,
    side_effect,
)

__all__ = ["ValueModelSession", "value_spec"]

#: The method of each service.
METHODS = {MODEL: "Process", TWO: "Call", CONFIGURED: "Call"}


class ValueModelSession:
    """The user function's end of one stream, done right.

    Attributes:
        service: The entity's service, once it is known.
        entity_id: Its id.
        value: Its state; None if there is none.
    """

    def __init__(self) -> None:
        self.service = ""
        self.entity_id = ""
        self.value: str | None = None

    def receive(self, message: ValueEntityStreamIn) -> Sequence[Instruction]:
        """Take the next message."""
        match message.WhichOneof("message"):
            case "init" if not self.service and message.init.service_name in METHODS:
                return self.start(message)
            case "command" if self.service and self._can_answer(message.command):
                return self.answer(message.command)
            case "command" if self.service:
                return self.fail_stream(message.command.id)
            case _:
                return self.fail_stream(0)

    def completed(self) -> Sequence[Instruction]:
        """The proxy has half-closed the stream."""
        return (End(),)

    def start(self, message: ValueEntityStreamIn) -> Sequence[Instruction]:
        """Take the first message."""
        self.service, self.entity_id = message.init.service_name, message.init.entity_id
        if message.init.state.HasField("value"):
            self.value = Persisted.FromString(message.init.state.value.value).value
        return ()

    def fail_stream(self, command_id: int) -> Sequence[Instruction]:
        """Say that the proxy breaks the protocol, and end."""
        failure = Failure(command_id=command_id, description="this breaks the protocol")
        return Send(ValueEntityStreamOut(failure=failure)), End()

    def _can_answer(self, command: Command) -> bool:
        if command.entity_id != self.entity_id or command.name != METHODS[self.service]:
            return False
        try:
            Request.FromString(command.payload.value)
        except DecodeError:
            return False
        return command.HasField("payload")

    def answer(self, command: Command) -> Sequence[Instruction]:
        """Carry out a command."""
        if self.service != MODEL:
            return (Send(replies("")(command.id)),)
        return (Send(self.carry_out(command.id, Request.FromString(command.payload.value))),)

    def carry_out(self, command_id: int, request: Request) -> ValueEntityStreamOut:
        """Take the actions in order and say what came of them."""
        before, is_changed = self.value, False
        effects: list[SideEffect] = []
        target = ""
        for action in request.actions:
            match action.WhichOneof("action"):
                case "update":
                    self.value, is_changed = action.update.value, True
                case "delete":
                    self.value, is_changed = None, True
                case "forward":
                    target = action.forward.id
                case "effect":
                    effects.append(
                        side_effect(action.effect.id, synchronous=action.effect.synchronous)
                    )
                case _:
                    return self.fail(command_id, before, action.fail.message)
        updates = self.value if is_changed else None
        if target:
            return forwards(target, updates=updates, effects=effects)(command_id)
        deletes = is_changed and self.value is None
        return replies(self.state(), updates=updates, deletes=deletes, effects=effects)(command_id)

    def state(self) -> str:
        """Return the state as it is answered."""
        return self.value or ""

    def fail(self, command_id: int, before: str | None, text: str) -> ValueEntityStreamOut:
        """Fail a command: the value is what it was before, and nothing else happens."""
        self.value = before
        return fails(text)(command_id)


def value_spec(*services: str) -> EntitySpec:
    """Return what a user function with the model value entities announces.

    Args:
        services: Full names of the services; all three by default.
    """
    entities = [_ENTITIES[service] for service in services or _ENTITIES]
    return spec_of(valueentity_pb2.DESCRIPTOR, entities)


_ENTITIES = {
    MODEL: entity_of(VALUE_ENTITY, MODEL, "value-entity-tck-model"),
    TWO: entity_of(VALUE_ENTITY, TWO, "value-entity-tck-model-two"),
    CONFIGURED: entity_of(VALUE_ENTITY, CONFIGURED, "value-entity-configured", timeout_ms=100),
}
