"""Messages between a proxy and the model actions."""

from __future__ import annotations

from collections.abc import Iterable

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate.entity_pb2 import Failure
from cloudstate.entity_pb2 import Forward as ProtocolForward
from cloudstate.entity_pb2 import Reply as ProtocolReply
from cloudstate.entity_pb2 import SideEffect as ProtocolSideEffect
from cloudstate_core.anys import pack_message
from cloudstate_tck.model.action_pb2 import (
    Fail,
    Forward,
    OtherRequest,
    ProcessGroup,
    ProcessStep,
    Reply,
    Request,
    Response,
    SideEffect,
)

__all__ = [
    "MODEL",
    "TWO",
    "effect",
    "element",
    "fail",
    "failed",
    "first",
    "forward",
    "forwarded",
    "group",
    "other_command",
    "replied",
    "reply",
    "request",
    "side_effect",
    "silent",
    "whole_command",
    "without_metadata",
]

MODEL = "cloudstate.tck.model.action.ActionTckModel"
TWO = "cloudstate.tck.model.action.ActionTwo"


# --- What the model is asked to do --------------------------------------------------------


def reply(message: str) -> ProcessStep:
    return ProcessStep(reply=Reply(message=message))


def forward(entity_id: str) -> ProcessStep:
    return ProcessStep(forward=Forward(id=entity_id))


def fail(message: str) -> ProcessStep:
    return ProcessStep(fail=Fail(message=message))


def effect(entity_id: str, *, synchronous: bool = False) -> ProcessStep:
    return ProcessStep(effect=SideEffect(id=entity_id, synchronous=synchronous))


def group(*steps: ProcessStep) -> ProcessGroup:
    return ProcessGroup(steps=steps)


def request(*groups: ProcessGroup) -> Request:
    return Request(groups=groups)


# --- From the proxy -----------------------------------------------------------------------


def whole_command(method: str, payload: Request) -> ActionCommand:
    """Return the one message of a call that sends one."""
    return ActionCommand(service_name=MODEL, name=method, payload=pack_message(payload))


def first(method: str) -> ActionCommand:
    """Return the message that begins a stream."""
    return ActionCommand(service_name=MODEL, name=method)


def element(payload: Request) -> ActionCommand:
    """Return a message of a stream after the first."""
    return ActionCommand(payload=pack_message(payload))


def other_command(entity_id: str) -> ActionCommand:
    """Return the command that forwards and side effects become."""
    payload = pack_message(OtherRequest(id=entity_id))
    return ActionCommand(service_name=TWO, name="Call", payload=payload)


# --- From the user function ---------------------------------------------------------------


def side_effect(entity_id: str, *, synchronous: bool = False) -> ProtocolSideEffect:
    return ProtocolSideEffect(
        service_name=TWO,
        command_name="Call",
        payload=pack_message(OtherRequest(id=entity_id)),
        synchronous=synchronous,
    )


def replied(message: str, effects: Iterable[ProtocolSideEffect] = ()) -> ActionResponse:
    answer = ProtocolReply(payload=pack_message(Response(message=message)))
    return ActionResponse(reply=answer, side_effects=effects)


def forwarded(entity_id: str, effects: Iterable[ProtocolSideEffect] = ()) -> ActionResponse:
    target = ProtocolForward(
        service_name=TWO, command_name="Call", payload=pack_message(OtherRequest(id=entity_id))
    )
    return ActionResponse(forward=target, side_effects=effects)


def failed(description: str, effects: Iterable[ProtocolSideEffect] = ()) -> ActionResponse:
    return ActionResponse(failure=Failure(description=description), side_effects=effects)


def silent(_: str = "", effects: Iterable[ProtocolSideEffect] = ()) -> ActionResponse:
    """Return a response that answers nothing."""
    return ActionResponse(side_effects=effects)


# --- Comparing ----------------------------------------------------------------------------


def without_metadata(message: ActionCommand | ActionResponse) -> ActionCommand | ActionResponse:
    """Return a copy whose metadata fields are unset: what is in them is not the cases' affair."""
    if isinstance(message, ActionCommand):
        command = ActionCommand()
        command.CopyFrom(message)
        command.ClearField("metadata")
        return command
    response = ActionResponse()
    response.CopyFrom(message)
    if response.HasField("reply"):
        response.reply.ClearField("metadata")
    if response.HasField("forward"):
        response.forward.ClearField("metadata")
    for each in response.side_effects:
        each.ClearField("metadata")
    return response
