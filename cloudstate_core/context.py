"""What every command handler is given, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, overload

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from cloudstate.entity_pb2 import ClientAction, Failure, Forward, SideEffect
from cloudstate_core.anys import AnyError, decode, encode, encode_into
from cloudstate_core.caller import DEFAULT_ASK_TIMEOUT_S, Ask, Caller
from cloudstate_core.errors import AskFailed
from cloudstate_core.failure_code import with_code
from cloudstate_core.handler import Hop
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.status import Status
from cloudstate_core.targets import Target, target_with_message
from cloudstate_core.waiting import entity_name, waiting_of, without_waiting

__all__ = ["CommandContext", "CommandFailed"]

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class CommandFailed(Exception):  # it is an answer, not an error
    """`CommandContext.fail` was called; carries the handler out of its function."""


class CommandContext:
    """One command, and how to answer it other than by returning.

    Usable until the handler returns; after that every method raises RuntimeError.

    Attributes:
        entity_id: Which entity.
        service_name: Full name of the service.
        command_name: Name of the method.
        command_id: Number of the command within this activation, from 1.
        metadata: Headers of the command; empty unless the runtime passes them on.
        declared_targets: The commands that the handler says it calls, each as "service.command";
            None if it does not say.
    """

    def __init__(
        self,
        *,
        entity_id: str,
        service_name: str,
        command_name: str,
        command_id: int,
        metadata: Metadata = EMPTY_METADATA,
        caller: Caller | None = None,
    ) -> None:
        """Keep what the command says about itself, and the way to other services."""
        self.entity_id = entity_id
        self.service_name = service_name
        self.command_name = command_name
        self.command_id = command_id
        # Most commands have no headers at all.
        self._waiting = waiting_of(metadata) if metadata else ()
        self.metadata = without_waiting(metadata) if self._waiting else metadata
        self._caller = caller
        self.declared_targets: frozenset[str] | None = None
        self.side_effects: list[SideEffect] = []
        self.forwarded: Forward | None = None
        self.failure: Failure | None = None
        self._finished = False

    def fail(self, message: str, *, code: Status | None = None) -> NoReturn:
        """Answer with a failure and leave the handler.

        Nothing that the handler emitted, updated or asked for happens, and the next command sees
        the state that the store holds.

        Args:
            message: What the client is told.
            code: The status the client sees. Without one it is gRPC UNKNOWN, HTTP 500.

        Raises:
            CommandFailed: Always. Catching it does not undo the failure.
            ValueError: `code` is no status of a failure. The command has not failed by this.
        """
        self.check_usable()
        if self.failure is not None:
            raise RuntimeError("fail was called twice for one command")
        failure = Failure(command_id=self.command_id, description=str(message))
        self.failure = failure if code is None else with_code(failure, code)
        raise CommandFailed(message)

    def fail_as(self, error: AskFailed) -> None:
        """Fail as what the handler asked has failed, which it let pass."""
        if self.failure is None:
            failure = Failure(command_id=self.command_id, description=str(error))
            self.failure = with_code(failure, error.code)

    @overload
    def forward(self, target: Forward, /) -> None: ...

    @overload
    def forward(
        self,
        target: Callable[[Asked], object],
        message: Asked,
        /,
        *,
        metadata: Metadata | None = None,
    ) -> None: ...

    @overload
    def forward(
        self, target: MethodDescriptor, message: object, /, *, metadata: Metadata | None = None
    ) -> None: ...

    @overload
    def forward(
        self,
        target: str | ServiceDescriptor,
        command: str,
        message: object,
        /,
        *,
        metadata: Metadata | None = None,
    ) -> None: ...

    def forward(
        self,
        target: object,
        command: object = None,
        message: object = None,
        /,
        *,
        metadata: Metadata | None = None,
    ) -> None:
        """Let another command answer the client; the handler then returns None.

        What this handler changed is stored first.

        Args:
            target: A method of `commands_of(Stub)` or its descriptor, followed by the message; or a
                service of the same deployment, by descriptor or full name, followed by the method's
                name and the message; or the protocol's own message.
            command: See `target`.
            message: The method's request.
            metadata: Headers for it.

        Raises:
            AnyError: If it names no command, or the message is not what the command takes.
        """
        self.check_usable()
        if self.forwarded is not None:
            raise RuntimeError("forward was called twice for one command")
        if isinstance(target, Forward):
            self.forwarded = target
            return
        to, message = self._target(target, command, message)
        self.forwarded = Forward(
            service_name=to.service, command_name=to.command, payload=encode(message)
        )
        if metadata is not None:
            self.forwarded.metadata.CopyFrom(metadata.to_wire())

    @overload
    def effect(self, target: SideEffect, /) -> None: ...

    @overload
    def effect(
        self,
        target: Callable[[Asked], object],
        message: Asked,
        /,
        *,
        synchronous: bool = False,
        metadata: Metadata | None = None,
    ) -> None: ...

    @overload
    def effect(
        self,
        target: MethodDescriptor,
        message: object,
        /,
        *,
        synchronous: bool = False,
        metadata: Metadata | None = None,
    ) -> None: ...

    @overload
    def effect(
        self,
        target: str | ServiceDescriptor,
        command: str,
        message: object,
        /,
        *,
        synchronous: bool = False,
        metadata: Metadata | None = None,
    ) -> None: ...

    def effect(
        self,
        target: object,
        command: object = None,
        message: object = None,
        /,
        *,
        synchronous: bool = False,
        metadata: Metadata | None = None,
    ) -> None:
        """Have another command called after this one is stored; its answer is not seen.

        Args:
            target: As for `forward`; or the protocol's own message.
            command: See `target`.
            message: The method's request.
            synchronous: Whether the client waits until the effect is done.
            metadata: Headers for it.

        Raises:
            AnyError: If it names no command, or the message is not what the command takes.
        """
        self.check_usable()
        if isinstance(target, SideEffect):
            self.side_effects.append(target)
            return
        to, message = self._target(target, command, message)
        side_effect = SideEffect(
            service_name=to.service,
            command_name=to.command,
            payload=encode(message),
            synchronous=synchronous,
        )
        if metadata is not None:
            side_effect.metadata.CopyFrom(metadata.to_wire())
        self.side_effects.append(side_effect)

    @overload
    async def ask(
        self,
        target: Callable[[Asked], Answered],
        message: Asked,
        /,
        *,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
        metadata: Metadata | None = None,
        idempotency_key: str = "",
    ) -> Answered: ...

    @overload
    async def ask(
        self,
        target: MethodDescriptor,
        message: object,
        /,
        *,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
        metadata: Metadata | None = None,
        idempotency_key: str = "",
    ) -> Any: ...

    @overload
    async def ask(
        self,
        target: str | ServiceDescriptor,
        command: str,
        message: object,
        /,
        *,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
        metadata: Metadata | None = None,
        idempotency_key: str = "",
    ) -> Any: ...

    async def ask(
        self,
        target: object,
        command: object = None,
        message: object = None,
        /,
        *,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
        metadata: Metadata | None = None,
        idempotency_key: str = "",
    ) -> Any:
        """Send a command to another service now, and return its reply.

        The command happens by itself: if this handler fails afterwards, or is carried out again,
        that does not undo it. Under an `idempotency_key` it happens once, however often it is sent.
        Until the answer is there, this entity takes no other command; one that asks itself, by
        whatever detour, is told so.

        Args:
            target: As for `forward`.
            command: See `target`.
            message: The method's request.
            timeout_s: How long the answer may take, in seconds.
            metadata: Headers for it.
            idempotency_key: The name under which the command happens once; empty for none.

        Returns:
            The reply's message.

        Raises:
            AskFailed: There was no reply; its `code` says why. Left to pass, it fails this command
                with the same text and code.
            AnyError: If it names no command, or the message is not what the command takes.
        """
        self.check_usable()
        to, message = self._target(target, command, message)
        if self._caller is None:
            raise RuntimeError("this handler cannot ask: its kind gives its contexts no caller")
        packed = await self._caller.ask(
            Ask(
                service=to.service,
                command=to.command,
                payload=encode(message),
                timeout_s=timeout_s,
                metadata=EMPTY_METADATA if metadata is None else metadata,
                waiting=(*self._waiting, entity_name(self.service_name, self.entity_id)),
                command_key=idempotency_key,
                hop=Hop(self.service_name, self.command_name, "ask"),
            )
        )
        if to.method is None:
            return decode(packed)
        return GetMessageClass(to.method.output_type).FromString(packed.value)

    def _target(
        self, named: object, command_or_message: object, message: object
    ) -> tuple[Target, object]:
        target, message = target_with_message(named, command_or_message, message)
        if self.declared_targets is not None and target.name not in self.declared_targets:
            raise AnyError(
                f"the handler of {self.command_name!r} says which commands it calls, and {target} "
                f"is not among them: {', '.join(sorted(self.declared_targets)) or 'none'}"
            )
        return target, message

    def client_action(self, returned: object) -> ClientAction:
        """Return the protocol's form of what a handler that returned `returned` answers.

        Raises:
            AnyError: If there is no answer, or two.
        """
        if self.failure is not None:
            return ClientAction(failure=self.failure)
        if self.forwarded is not None:
            if returned is not None:
                raise AnyError("expected None beside a forward, found a reply as well")
            return ClientAction(forward=self.forwarded)
        if returned is None:
            raise AnyError("expected a reply or a forward, found None")
        action = ClientAction()
        encode_into(action.reply.payload, returned)
        return action

    def finish(self) -> None:
        """Make every further use an error: the handler has returned."""
        self._finished = True

    def check_usable(self) -> None:
        """Raise RuntimeError if the handler has returned."""
        if self._finished:
            raise RuntimeError(
                f"the context of command {self.command_name!r} was used after its handler returned"
            )
