"""The user function's end of CRDT entities' streams: runs the application's functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

import structlog
from google.protobuf.message import Message

from cloudstate.entity_pb2 import ClientAction, Command
from cloudstate_core.answering import call_handler
from cloudstate_core.caller import Caller
from cloudstate_core.command_methods import CommandMethod
from cloudstate_core.context import CommandFailed
from cloudstate_core.drive import Driver
from cloudstate_core.errors import AskFailed
from cloudstate_core.handler_failure import failure_of
from cloudstate_core.links import Write
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_crdt.context import (
    CrdtCancelContext,
    CrdtChangeContext,
    CrdtCommandContext,
    CrdtContext,
    Subscription,
)
from cloudstate_crdt.entity import CrdtEntity
from cloudstate_crdt.session import (
    CallHandler,
    CallOnCancel,
    CallOnChange,
    CrdtSession,
    End,
    Input,
    Instruction,
    Noticed,
    NoticedWrongly,
    Raised,
    Released,
    Returned,
    Send,
    State,
)

__all__ = ["CrdtServicer"]

log = structlog.get_logger()

Context = TypeVar("Context", bound=CrdtContext)


class CrdtServicer:
    """One stream: the handlers of one entity, and the session that says what happens to it."""

    def __init__(
        self, entities: Mapping[str, CrdtEntity], caller: Caller, write: Write[Message]
    ) -> None:
        """Wait for the runtime's first message.

        Args:
            entities: What is served, by full service name.
            caller: How handlers reach other services.
            write: Sends to the runtime.
        """
        self.ended = False
        self._entities = entities
        self._caller = caller
        self._write = write
        self._session = CrdtSession(entities)
        self._driver: Driver[Input, Instruction] = Driver(self._session, self._perform)

    @property
    def entity(self) -> tuple[str, str] | None:
        """Whose CRDT it is; None before the first message."""
        session = self._session
        return (session.service_name, session.entity_id) if session.service_name else None

    @property
    def state(self) -> object:
        """The CRDT as the next handler gets it; None if it is deleted."""
        entity, session = self._entities.get(self._session.service_name), self._session
        if entity is None or session.copy.crdt is not None or session.state == State.DELETED:
            return session.copy.crdt
        make = entity.default(session.entity_id)
        return None if make is None else make()

    async def receive(self, message: Message, /) -> None:
        """Take the next message from the runtime."""
        await self._driver.run(message)  # type: ignore[arg-type]  # the link knows the class

    async def aclose(self) -> None:
        """Hold nothing: the session goes with the stream."""

    @property
    def _entity(self) -> CrdtEntity:
        return self._entities[self._session.service_name]

    async def _perform(self, instruction: Instruction) -> Input | None:
        match instruction:
            case CallHandler(command):
                return await self._handle(command)
            case CallOnChange(subscription):
                return await self._notice(subscription)
            case CallOnCancel(subscription):
                return await self._release(subscription)
            case Send(message):
                await self._write(message)
                return None
            case End():
                self.ended = True
                return None

    async def _handle(self, command: Command) -> Returned | Raised:
        entity, session, name = self._entity, self._session, command.name
        context = CrdtCommandContext(
            entity_id=session.entity_id,
            service_name=session.service_name,
            command_name=name,
            command_id=command.id,
            copy=session.copy,
            default=entity.default(session.entity_id) if session.copy.crdt is None else None,
            streamed=command.streamed,
            metadata=Metadata.from_wire(command.metadata)
            if command.HasField("metadata")
            else EMPTY_METADATA,
            caller=self._caller,
        )
        try:
            method, state = entity.command(name), None
            # A handler that does not ask for the state works whatever it is, and makes none.
            if entity.takes_state(method):
                state = context.state
                entity.check_state(method, state)
            action = await _answer(method, command, context, state)
        except BaseException as error:  # a default may exit as well as a handler
            return Raised(self._raised(failure_of(error), name))
        return Returned(
            action, context.side_effects, context.subscription, context.write_consistency
        )

    async def _notice(self, subscription: Subscription) -> Noticed | NoticedWrongly:
        context = self._context(CrdtChangeContext, subscription)
        try:
            method = self._entity.command(subscription.command_name)
            context.declared_targets = method.declared_targets
            assert subscription.on_change is not None, "it is called for those that have one"
            returned = await _call(subscription.on_change, context)
            action = _client_action(method, context, returned)
        except BaseException as error:
            reason = self._raised(failure_of(error), subscription.command_name)
            return NoticedWrongly(subscription.command_id, reason)
        return Noticed(subscription.command_id, action, context.side_effects, context.is_last)

    async def _release(self, subscription: Subscription) -> Released | Raised:
        context = self._context(CrdtCancelContext, subscription)
        try:
            method = self._entity.command(subscription.command_name)
            context.declared_targets = method.declared_targets
            assert subscription.on_cancel is not None, "it is called for those that have one"
            await _call(subscription.on_cancel, context)
            if context.failure is not None or context.forwarded is not None:
                raise RuntimeError("on_cancel: nobody is there to be answered")
        except BaseException as error:
            return Raised(self._raised(failure_of(error), subscription.command_name))
        return Released(context.side_effects, context.write_consistency)

    def _context(self, context_class: type[Context], subscription: Subscription) -> Context:
        return context_class(
            entity_id=self._session.entity_id,
            service_name=self._session.service_name,
            command_name=subscription.command_name,
            command_id=subscription.command_id,
            copy=self._session.copy,
            metadata=subscription.metadata,
            caller=self._caller,
        )

    def _raised(self, error: Exception, doing: str) -> str:
        # The traceback is for the author of this process; the other side gets one line.
        log.error(
            "handler_raised",
            service=self._session.service_name,
            entity_id=self._session.entity_id,
            doing=doing,
            exc_info=error,
        )
        return f"{type(error).__name__}: {error}"


async def _answer(
    method: CommandMethod, command: Command, context: CrdtCommandContext, state: object
) -> ClientAction | None:
    """Let a handler decide, and return the protocol's form of its answer; None for none.

    Raises:
        Exception: Whatever the handler raises; an `AnyError` for what cannot be read or answered.
    """
    context.declared_targets = method.declared_targets
    try:
        message = method.read(command.payload)
        returned = await call_handler(method, message, context, state)
        if context.streamed:
            return _client_action(method, context, returned)
        if context.forwarded is None and context.failure is None:
            returned = method.reply(returned)
        return context.client_action(returned)
    finally:
        context.finish()


async def _call(listener: Callable[[Context], object], context: Context) -> object:
    """Return what a listener returns; None if it has failed on purpose."""
    try:
        returned = listener(context)
        return await returned if inspect.isawaitable(returned) else returned
    except CommandFailed:
        if context.failure is None:
            raise  # it is not from this context
        return None
    except AskFailed as error:
        context.fail_as(error)
        return None
    finally:
        context.finish()


def _client_action(
    method: CommandMethod, context: CrdtContext, returned: object
) -> ClientAction | None:
    """Return the protocol's form of an element of a stream; None for none.

    Raises:
        AnyError: If it is not of the type the method declares, or there are two.
    """
    if context.forwarded is None and context.failure is None:
        if returned is None:
            return None
        returned = method.reply(returned)
    return context.client_action(returned)
