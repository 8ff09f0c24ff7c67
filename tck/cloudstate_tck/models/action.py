"""The model actions, written as an application would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from cloudstate.action_context import ActionReply
from cloudstate.action_protocol_entity import Action
from cloudstate_tck.model.action_pb2 import (
    _ACTIONTCKMODEL,
    _ACTIONTWO,
    DESCRIPTOR,
    OtherRequest,
    ProcessGroup,
    ProcessStep,
    Request,
    Response,
)

__all__ = ["ENTITIES"]

model = Action(_ACTIONTCKMODEL, [DESCRIPTOR])
two = Action(_ACTIONTWO, [DESCRIPTOR])

ENTITIES = (model, two)


def answer(group: ProcessGroup) -> ActionReply:
    return ActionReply.combined(map(carry_out, group.steps))


def carry_out(step: ProcessStep) -> ActionReply:
    match step.WhichOneof("step"):
        case "reply":
            return ActionReply.message(Response(message=step.reply.message))
        case "forward":
            return ActionReply.forward(_ACTIONTWO, "Call", OtherRequest(id=step.forward.id))
        case "fail":
            return ActionReply.failure(step.fail.message)
        case "effect":
            return ActionReply.no_reply().effect(
                _ACTIONTWO,
                "Call",
                OtherRequest(id=step.effect.id),
                synchronous=step.effect.synchronous,
            )
        case _:
            return ActionReply.no_reply()


@model.unary_handler("ProcessUnary")
def process_unary(request: Request) -> ActionReply:
    return ActionReply.combined(map(answer, request.groups))


@model.stream_in_handler("ProcessStreamedIn")
async def process_streamed_in(requests: AsyncIterator[Request]) -> ActionReply:
    return ActionReply.combined(
        [answer(group) async for request in requests for group in request.groups]
    )


@model.stream_out_handler("ProcessStreamedOut")
def process_streamed_out(request: Request) -> Iterator[ActionReply]:
    return map(answer, request.groups)


@model.stream_handler("ProcessStreamed")
async def process_streamed(requests: AsyncIterator[Request]) -> AsyncIterator[ActionReply]:
    async for request in requests:
        for group in request.groups:
            yield answer(group)


@two.unary_handler("Call")
def call(request: OtherRequest) -> Response:
    del request
    return Response()
