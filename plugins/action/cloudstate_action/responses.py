"""From what a handler answers to the protocol's response. Pure."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from cloudstate.action_pb2 import ActionResponse
from cloudstate_action.context import ActionContext
from cloudstate_action.envelope import MessageEnvelope
from cloudstate_action.methods import ActionMethod
from cloudstate_action.reply import ActionReply
from cloudstate_core.anys import AnyError, encode_into

__all__ = ["response_to"]


def response_to(method: ActionMethod, answered: object, context: ActionContext) -> ActionResponse:
    """Return the response for one element, with what was asked of the context since the last one.

    A metadata field is set only if the handler gave metadata (Cloudstate protocol, actions).

    Args:
        method: Which command.
        answered: A message, a `MessageEnvelope`, an `ActionReply`, or None for no reply.
        context: The handler's context; it begins anew.

    Raises:
        AnyError: If the message is not of the type the method answers with, if there are two
            answers, or one of them goes where the handler says it does not call.
    """
    response = ActionResponse()
    context.move_to(response)
    reply = _reply(method, answered)
    if not reply.is_silent():
        if response.HasField("forward"):
            raise AnyError(
                f"{method.handler.where}: expected None beside a forward, found an answer as well"
            )
        if not response.HasField("failure"):
            _set_answer(response, method, reply, context)
    elif answered is None and method.must_answer_with_empty and not _has_answer(response):
        encode_into(response.reply.payload, Empty())
    for side_effect in reply.side_effects:
        context.check_declared(side_effect.service_name, side_effect.command_name)
        response.side_effects.append(side_effect)
    return response


def _has_answer(response: ActionResponse) -> bool:
    return response.WhichOneof("response") is not None


def _reply(method: ActionMethod, answered: object) -> ActionReply:
    match answered:
        case ActionReply():
            return answered
        case None:
            return ActionReply()
        case MessageEnvelope(message, metadata):
            return ActionReply(message, metadata)
        case _:
            return ActionReply(answered)


def _set_answer(
    response: ActionResponse, method: ActionMethod, reply: ActionReply, context: ActionContext
) -> None:
    if reply.failed is not None:
        response.failure.CopyFrom(reply.failed)
    elif reply.forwarded is not None:
        context.check_declared(reply.forwarded.service_name, reply.forwarded.command_name)
        response.forward.CopyFrom(reply.forwarded)
    else:
        encode_into(response.reply.payload, method.reply(reply.payload))
        if reply.metadata:
            response.reply.metadata.CopyFrom(reply.metadata.to_wire())
