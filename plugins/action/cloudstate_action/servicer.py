"""The user function's end of calls of actions: runs the application's handlers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate_action.context import ActionContext
from cloudstate_action.elements import elements_of
from cloudstate_action.entity import Action
from cloudstate_action.envelope import MessageEnvelope
from cloudstate_action.incoming import BadMessage, Incoming, protocol_error
from cloudstate_action.methods import ActionMethod
from cloudstate_action.responses import response_to
from cloudstate_action.shape import Shape
from cloudstate_action.wire import RPCS
from cloudstate_core.answering import call_handler
from cloudstate_core.anys import AnyError
from cloudstate_core.caller import Caller
from cloudstate_core.context import CommandFailed
from cloudstate_core.errors import AskFailed
from cloudstate_core.handler_failure import failure_of
from cloudstate_core.links import CallMethod
from cloudstate_core.metadata import Metadata

__all__ = ["ActionServicer"]


class ActionServicer:
    """The four methods of the protocol, for all actions of a user function."""

    def __init__(self, actions: Mapping[str, Action], caller: Caller) -> None:
        """Keep what is served.

        Args:
            actions: The actions, by full service name.
            caller: How handlers reach other services.
        """
        self._actions = actions
        self._caller = caller

    def methods(self) -> list[CallMethod]:
        """Return the protocol's methods."""
        return [CallMethod(rpc, partial(self._serve, shape)) for shape, rpc in RPCS.items()]

    async def _serve(
        self, shape: Shape, commands: AsyncIterator[ActionCommand]
    ) -> AsyncGenerator[ActionResponse, None]:
        """Serve one call.

        What the other end does wrong is answered with a failure. What a handler raises passes: it
        ends the call with an error (Cloudstate protocol, actions).
        """
        call: _Call | None = None
        try:
            call = self._begin(shape, await anext(commands, None), commands)
            if not shape.server_streaming:
                yield await call.answer()
                return
            async with aclosing(call.answers()) as responses:
                async for response in responses:
                    yield response
        except BadMessage as error:
            yield ActionResponse(failure=error.failure)
        finally:
            if call is not None:
                call.context.finish()

    def _begin(
        self, shape: Shape, first: ActionCommand | None, commands: AsyncIterator[ActionCommand]
    ) -> _Call:
        if first is None:
            raise protocol_error("expected a first message that names a service and a command")
        action = self._actions.get(first.service_name)
        if action is None:
            raise protocol_error(f"unknown service {first.service_name!r}")
        try:
            method = action.method(first.name)
        except AnyError as error:
            raise protocol_error(str(error)) from error
        if method.shape != shape:
            raise protocol_error(
                f"command {first.name!r} has {method.shape.what}, expected the call for that"
            )
        if shape.client_streaming and first.HasField("payload"):
            raise protocol_error("expected no payload in the first message of a stream")
        context = ActionContext(
            service_name=first.service_name,
            command_name=first.name,
            metadata=Metadata.from_wire(first.metadata),
            caller=self._caller,
        )
        context.declared_targets = method.declared_targets
        return _Call(method, context, first, commands)


class _Call:
    """One call of a handler."""

    def __init__(
        self,
        method: ActionMethod,
        context: ActionContext,
        first: ActionCommand,
        commands: AsyncIterator[ActionCommand],
    ) -> None:
        self.context = context
        self._method = method
        self._incoming = Incoming(method, commands)
        self._message, self._envelope = self._what_is_read(first)

    def _what_is_read(self, first: ActionCommand) -> tuple[object, object]:
        if self._method.shape.client_streaming:
            return self._incoming.messages(), self._incoming.envelopes()
        message = self._incoming.read(first)
        return message, MessageEnvelope(message, self.context.metadata)

    async def answer(self) -> ActionResponse:
        """Return the one response."""
        try:
            returned = await call_handler(self._method, self._message, self.context, self._envelope)
        except Exception:
            self._incoming.check()
            raise
        self._incoming.check()
        return response_to(self._method, returned, self.context)

    async def answers(self) -> AsyncGenerator[ActionResponse, None]:
        """Yield one response after another."""
        context = self.context
        elements = elements_of(
            self._method, self._message, context, context.metadata, self._envelope
        )
        async with aclosing(elements):
            while (response := await self._next(elements)) is not None:
                yield response
                if context.failure is not None:
                    return

    async def _next(self, elements: AsyncGenerator[object, None]) -> ActionResponse | None:
        """Return the next response, None after the last one."""
        try:
            answered = await anext(elements)
        except StopAsyncIteration:
            if self._incoming.fault is None and not self.context.is_waiting():
                return None
            answered = None
        except CommandFailed:
            if self.context.failure is None:
                raise  # it is not from this context
            answered = None
        except AskFailed as error:
            self.context.fail_as(error)
            answered = None
        except Exception:
            self._incoming.check()
            raise
        except BaseException as error:  # such as `SystemExit`
            raise failure_of(error) from error
        self._incoming.check()
        return response_to(self._method, answered, self.context)
