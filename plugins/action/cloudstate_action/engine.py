"""How an action is called in the runtime."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate_action.shape import UNARY, shape_of
from cloudstate_action.wire import (
    RPCS,
    element,
    fault_of,
    first_of_stream,
    outcome_of,
    whole_call,
)
from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_core.errors import UnknownService, UserFunctionError
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.links import FunctionLink
from cloudstate_core.one_message import OneMessage

__all__ = ["ActionHandler"]


class ActionHandler:
    """Calls the user function once for each request; nothing is kept between them.

    There is no limit of time but the caller's own deadline (Cloudstate protocol, actions).
    """

    def __init__(self, entity: DeployedEntity, link: FunctionLink) -> None:
        """Keep the service and the way to the user function."""
        self._entity = entity
        self._link = link

    async def handle(self, request: Request) -> Outcome:
        """Carry out a call of one message and one reply."""
        method = self._method(request)
        if shape_of(method) != UNARY:
            raise _not_served(request, "is served as a stream only")
        response = await self._link.call(RPCS[UNARY], whole_call(request))
        return _checked(response, method)

    async def stream(self, request: Request) -> AsyncGenerator[Outcome, None]:
        """Carry out a call of any other shape."""
        method = self._method(request)
        shape = shape_of(method)
        if shape == UNARY:
            raise _not_served(request, "is not served as a stream")
        messages: AsyncIterator[ActionCommand]
        messages = _Stream(request) if shape.client_streaming else OneMessage(whole_call(request))
        async with aclosing(self._link.stream(RPCS[shape], messages)) as responses:
            async for response in responses:
                outcome = _checked(response, method)
                if outcome.action.HasField("failure"):
                    # It is the last thing that the caller hears (Cloudstate protocol, actions).
                    yield outcome
                    return
                # A response that says nothing is none, unless it is the only one there will be.
                if (
                    outcome.side_effects
                    or outcome.action.WhichOneof("action") is not None
                    or not shape.server_streaming
                ):
                    yield outcome

    def _method(self, request: Request) -> DeployedMethod:
        method = self._entity.methods.get(request.command)
        if method is None:
            raise _not_served(request, "does not exist")
        return method


class _Stream(AsyncIterator[ActionCommand]):
    """What is sent for a caller who sends a stream."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._has_begun = False

    async def __anext__(self) -> ActionCommand:
        if not self._has_begun:
            self._has_begun = True
            return first_of_stream(self._request)
        if self._request.messages is None:
            raise StopAsyncIteration
        return element(await anext(self._request.messages))


def _checked(response: ActionResponse, method: DeployedMethod) -> Outcome:
    fault = fault_of(response, method)
    if fault:
        raise UserFunctionError("Unexpected action reply", detail=fault)
    return outcome_of(response)


def _not_served(request: Request, why: str) -> UnknownService:
    return UnknownService(f"method {request.command!r} of service {request.service!r} {why}")
