"""The protocol's rpcs and messages at the runtime's end. Pure."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate.entity_pb2 import ClientAction
from cloudstate_action.shape import STREAM, STREAM_IN, STREAM_OUT, UNARY, Shape
from cloudstate_core.entity import DeployedMethod
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.links import Rpc
from cloudstate_core.waiting import with_waiting

__all__ = ["RPCS", "element", "fault_of", "first_of_stream", "outcome_of", "whole_call"]

_SERVICE = "/cloudstate.action.ActionProtocol"


def _rpc(name: str, shape: Shape) -> Rpc[ActionCommand, ActionResponse]:
    return Rpc(
        f"{_SERVICE}/{name}",
        ActionCommand,
        ActionResponse,
        shape.client_streaming,
        shape.server_streaming,
    )


#: The protocol's method for each shape.
RPCS = {
    UNARY: _rpc("handleUnary", UNARY),
    STREAM_IN: _rpc("handleStreamedIn", STREAM_IN),
    STREAM_OUT: _rpc("handleStreamedOut", STREAM_OUT),
    STREAM: _rpc("handleStreamed", STREAM),
}


def first_of_stream(request: Request) -> ActionCommand:
    """Return the message that begins a stream: what is called, and no payload."""
    command = ActionCommand(service_name=request.service, name=request.command)
    # Metadata is always set, be it empty (Cloudstate protocol, actions).
    command.metadata.CopyFrom(with_waiting(request.metadata, request.waiting).to_wire())
    return command


def whole_call(request: Request) -> ActionCommand:
    """Return the one message of a call that sends one."""
    command = first_of_stream(request)
    command.payload.CopyFrom(request.payload)
    return command


def element(payload: Any) -> ActionCommand:
    """Return a message of a stream after the first: a payload, and metadata of its own."""
    command = ActionCommand(payload=payload)
    command.metadata.SetInParent()
    return command


def outcome_of(response: ActionResponse) -> Outcome:
    """Return a response in the form that the kinds share."""
    action = ClientAction()
    match response.WhichOneof("response"):
        case "reply":
            action.reply.CopyFrom(response.reply)
        case "forward":
            action.forward.CopyFrom(response.forward)
        case "failure":
            action.failure.CopyFrom(response.failure)
    return Outcome(action, response.side_effects)


def fault_of(response: ActionResponse, method: DeployedMethod) -> str:
    """Return what is wrong with a response; empty if nothing is."""
    if not response.HasField("reply"):
        return ""
    found = response.reply.payload.type_url
    if _is_of_type(found, method.output_type_url):
        return ""
    return (
        f"command {method.name!r}: expected a reply of type {method.output_type_url!r}, "
        f"found {found!r}"
    )


def _is_of_type(found: str, expected: str) -> bool:
    # The part before the slash only says where a type's definition might be had; it does not tell
    # types apart.
    return found == expected or found.partition("/")[2] == expected.partition("/")[2] != ""
