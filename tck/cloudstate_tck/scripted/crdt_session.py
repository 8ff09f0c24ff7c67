"""The model CRDT entities, one stream at a time, with no I/O.

Give `receive` a message, carry out the instructions it returns. Subclasses break one rule each.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from google.protobuf.message import DecodeError

from cloudstate.crdt_pb2 import CrdtDelta, CrdtStreamIn, CrdtStreamOut
from cloudstate.entity_pb2 import Command, EntitySpec, Failure, SideEffect
from cloudstate_tck.crdt_messages import (
    CONFIGURED,
    MODEL,
    TWO,
    accepts,
    cancelled,
    fails,
    forwards,
    pushed,
    replies,
    side_effect,
)
from cloudstate_tck.model import crdt_pb2
from cloudstate_tck.model.crdt_pb2 import Request, StreamedRequest, UpdateWriteConsistency
from cloudstate_tck.protocol import CRDT
from cloudstate_tck.scripted.crdt_types import Value, new_value
from cloudstate_tck.scripted.function import entity_of, spec_of
from cloudstate_tck.scripted.session import End, Instruction, Send

__all__ = ["CrdtModelSession", "crdt_spec"]

#: The methods of each service, and what they take.
METHODS: dict[str, dict[str, type[Request | StreamedRequest]]] = {
    MODEL: {"Process": Request, "ProcessStreamed": StreamedRequest},
    TWO: {"Call": Request},
    CONFIGURED: {"Call": Request},
}


class CrdtModelSession:
    """The user function's end of one stream, done right.

    Attributes:
        service: The entity's service, once it is known.
        entity_id: Its id.
        value: Its state.
        watchers: What the clients of streamed commands have asked for, by command.
    """

    def __init__(self) -> None:
        self.service = ""
        self.entity_id = ""
        self.value: Value = new_value("GCounter")
        self.watchers: dict[int, StreamedRequest] = {}

    def receive(self, message: CrdtStreamIn) -> Sequence[Instruction]:
        """Take the next message."""
        match message.WhichOneof("message"):
            case "init" if not self.service and message.init.service_name in METHODS:
                return self.start(message)
            case "command" if self.service and self._can_answer(message.command):
                return self.answer(message.command)
            case "command" if self.service:
                return self.fail_stream(message.command.id)
            case "delta" if self.service and self._is_of_type(message.delta):
                return self.replicate(message.delta)
            case "stream_cancelled" if message.stream_cancelled.id in self.watchers:
                return self.cancel(message.stream_cancelled.id)
            case "stream_cancelled" if self.service:
                return self.cancel_late(message.stream_cancelled.id)
            case "delete" if self.service:
                return ()
            case _:
                return self.fail_stream(0)

    def completed(self) -> Sequence[Instruction]:
        """The proxy has half-closed the stream."""
        return (End(),)

    def start(self, message: CrdtStreamIn) -> Sequence[Instruction]:
        """Take the first message."""
        self.service, self.entity_id = message.init.service_name, message.init.entity_id
        if self.service == MODEL:
            self.value = new_value(self.entity_id)
            if message.init.HasField("delta"):
                self.value.apply(message.init.delta)
        return ()

    def fail_stream(self, command_id: int) -> Sequence[Instruction]:
        """Say that the proxy breaks the protocol, and end."""
        failure = Failure(command_id=command_id, description="this breaks the protocol")
        return Send(CrdtStreamOut(failure=failure)), End()

    def replicate(self, delta: CrdtDelta) -> Sequence[Instruction]:
        """Take a change from elsewhere."""
        self.value.apply(delta)
        return self.push(tuple(self.watchers))

    def cancel(self, command_id: int) -> Sequence[Instruction]:
        """Take it that the client of a streamed command has left."""
        watcher, delta = self.watchers.pop(command_id), None
        if watcher.HasField("cancel_update"):
            self.value.update(watcher.cancel_update)
            delta = self.value.take()
        settled = Send(cancelled(command_id, delta))
        return (settled, *self.push(tuple(self.watchers))) if delta else (settled,)

    def cancel_late(self, command_id: int) -> Sequence[Instruction]:
        """Take it that the client of a stream that has ended has left as well."""
        return (Send(cancelled(command_id)),)

    def push(self, watchers: Sequence[int]) -> list[Instruction]:
        """Send the clients of streamed commands the state, as each has asked."""
        messages: list[Instruction] = []
        for command_id in watchers:
            watcher, state = self.watchers[command_id], self.value.state()
            effects = [
                side_effect(effect.id, synchronous=effect.synchronous) for effect in watcher.effects
            ]
            ends = watcher.HasField("end_state") and watcher.end_state == state
            shown = None if watcher.empty else state
            if ends:
                del self.watchers[command_id]
            if shown or effects or ends:
                messages.append(Send(pushed(command_id, shown, effects=effects, ends=ends)))
        return messages

    def answer(self, command: Command) -> Sequence[Instruction]:
        """Carry out a command."""
        if self.service != MODEL:
            request = Request.FromString(command.payload.value)
            deletes = any(action.HasField("delete") for action in request.actions)
            return (Send(replies(None, deletes=deletes)(command.id)),)
        watchers = tuple(self.watchers)
        if command.name == "ProcessStreamed":
            asked = StreamedRequest.FromString(command.payload.value)
            out = self.watch(command.id, asked)
        else:
            out = self.carry_out(command.id, Request.FromString(command.payload.value))
        if not out.reply.state_action.HasField("update"):
            return (Send(out),)
        return (Send(out), *self.push(watchers))

    def watch(self, command_id: int, asked: StreamedRequest) -> CrdtStreamOut:
        """Begin to send a client the state after every change."""
        if asked.HasField("initial_update"):
            self.value.update(asked.initial_update)
        self.watchers[command_id] = asked
        delta = self.value.take()
        if asked.empty:
            return accepts(delta)(command_id)
        return replies(self.value.state(), delta, streamed=True)(command_id)

    def carry_out(self, command_id: int, request: Request) -> CrdtStreamOut:
        """Take the actions in order and say what came of them."""
        before = deepcopy(self.value)
        effects: list[SideEffect] = []
        target, deletes = "", False
        consistency = UpdateWriteConsistency.LOCAL
        for action in request.actions:
            match action.WhichOneof("action"):
                case "update":
                    self.value.update(action.update)
                    consistency = action.update.write_consistency
                case "delete":
                    deletes = True
                case "forward":
                    target = action.forward.id
                case "effect":
                    effects.append(
                        side_effect(action.effect.id, synchronous=action.effect.synchronous)
                    )
                case _:
                    self.value = before
                    return fails(action.fail.message)(command_id)
        delta = self.value.take()
        if target:
            out = forwards(target, delta, effects=effects)(command_id)
        else:
            out = replies(self.value.state(), delta, deletes=deletes, effects=effects)(command_id)
        if consistency:
            out.reply.state_action.write_consistency = int(consistency)  # type: ignore[assignment]
        return out

    def _is_of_type(self, delta: CrdtDelta) -> bool:
        expected = self.value.whole().WhichOneof("delta")
        return bool(delta.WhichOneof("delta") == expected)

    def _can_answer(self, command: Command) -> bool:
        takes = METHODS[self.service].get(command.name)
        if takes is None or command.entity_id != self.entity_id:
            return False
        try:
            takes.FromString(command.payload.value)
        except DecodeError:
            return False
        return command.HasField("payload")


def crdt_spec(*services: str) -> EntitySpec:
    """Return what a user function with the model CRDT entities announces.

    Args:
        services: Full names of the services; all three by default.
    """
    entities = [_ENTITIES[service] for service in services or _ENTITIES]
    return spec_of(crdt_pb2.DESCRIPTOR, entities)


_ENTITIES = {
    MODEL: entity_of(CRDT, MODEL, "crdt-tck-model"),
    TWO: entity_of(CRDT, TWO, "crdt-tck-model-two"),
    CONFIGURED: entity_of(CRDT, CONFIGURED, "crdt-configured", timeout_ms=100),
}
