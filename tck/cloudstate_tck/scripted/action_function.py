"""The smallest user function with the model actions that does everything right.

It is what negative controls are derived from: subclasses break one rule each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate.entity_pb2 import Entity, EntitySpec, Failure, ServiceInfo
from cloudstate_core.host.descriptors import file_descriptor_set
from cloudstate_tck.action_messages import MODEL, TWO, failed, forwarded, replied, side_effect
from cloudstate_tck.model import action_pb2
from cloudstate_tck.model.action_pb2 import ProcessGroup, Request
from cloudstate_tck.protocol import (
    ACTION_STREAMED,
    ACTION_STREAMED_IN,
    ACTION_STREAMED_OUT,
    ACTION_UNARY,
    DISCOVER,
    PROTOCOL_VERSION,
)
from cloudstate_tck.servers import StreamHandlers, serving

__all__ = ["ActionFunction", "serving_actions"]

SERVICES = (MODEL, TWO)


class ActionFunction:
    """Both model actions."""

    # --- The rules, each to be broken by a subclass ---------------------------------------

    def spec(self) -> EntitySpec:
        """Return what is announced."""
        major, minor = PROTOCOL_VERSION
        return EntitySpec(
            proto=file_descriptor_set([], [action_pb2.DESCRIPTOR]).SerializeToString(),
            entities=[
                Entity(
                    entity_type=ACTION_UNARY.service, service_name=service, persistence_id=service
                )
                for service in SERVICES
            ],
            service_info=ServiceInfo(
                service_name="scripted",
                protocol_major_version=major,
                protocol_minor_version=minor,
            ),
        )

    def response(self, groups: Iterable[ProcessGroup]) -> ActionResponse:
        """Return one response for groups: the last answer, and the effects of all."""
        answer, effects = ActionResponse(), []
        for step in (step for group in groups for step in group.steps):
            match step.WhichOneof("step"):
                case "reply":
                    answer = replied(step.reply.message)
                case "forward":
                    answer = forwarded(step.forward.id)
                case "fail":
                    answer = failed(step.fail.message)
                case "effect":
                    effect = step.effect
                    effects.append(side_effect(effect.id, synchronous=effect.synchronous))
        answer.side_effects.extend(effects)
        return answer

    def responses(self, request: Request) -> list[ActionResponse]:
        """Return the responses to one request where they stream."""
        return [self.response([group]) for group in request.groups]

    def is_over(self, response: ActionResponse) -> bool:
        """Return whether nothing follows a response where they stream."""
        return False

    def violation(self, reason: str) -> ActionResponse:
        """Return what is answered to a proxy that breaks the protocol."""
        return ActionResponse(failure=Failure(description=reason))

    # --- How calls go ---------------------------------------------------------------------

    async def serve(self, path: str, requests: AsyncIterator[bytes], context: Any) -> None:
        """Serve one call."""
        if path == DISCOVER.path:
            async for _ in requests:
                await context.write(self.spec().SerializeToString())
            return
        commands = (ActionCommand.FromString(data) async for data in requests)
        async for response in self._answers(path, commands):
            await context.write(response.SerializeToString())
            if self.is_over(response):
                return

    async def _answers(
        self, path: str, commands: AsyncIterator[ActionCommand]
    ) -> AsyncIterator[ActionResponse]:
        begun = await anext(commands, None)
        if begun is None:
            yield self.violation("expected a first message")
        elif begun.service_name not in SERVICES:
            yield self.violation(f"unknown service {begun.service_name!r}")
        elif begun.service_name == TWO:
            yield replied("")
        else:
            async for response in self._model_answers(path, begun, commands):
                yield response

    async def _model_answers(
        self, path: str, begun: ActionCommand, commands: AsyncIterator[ActionCommand]
    ) -> AsyncIterator[ActionResponse]:
        match path:
            case ACTION_UNARY.path:
                yield self.response(_request(begun).groups)
            case ACTION_STREAMED_IN.path:
                asked = [_request(command) async for command in commands]
                yield self.response([group for each in asked for group in each.groups])
            case ACTION_STREAMED_OUT.path:
                for response in self.responses(_request(begun)):
                    yield response
            case ACTION_STREAMED.path:
                async for command in commands:
                    for response in self.responses(_request(command)):
                        yield response


def _request(command: ActionCommand) -> Request:
    return Request.FromString(command.payload.value)


@asynccontextmanager
async def serving_actions(
    make_function: Callable[[], ActionFunction] = ActionFunction,
) -> AsyncIterator[str]:
    """Serve the model actions on a port of this machine; gives `HOST:PORT`."""
    async with serving(StreamHandlers(make_function().serve), "127.0.0.1:0") as address:
        yield address
