"""What every command handler is given, whatever its kind."""

from __future__ import annotations

from typing import NoReturn, overload

from google.protobuf.descriptor import ServiceDescriptor

from cloudstate.entity_pb2 import ClientAction, Failure, Forward, SideEffect
from cloudstate_core.anys import AnyError, encode, encode_into
from cloudstate_core.failure_code import with_code
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.status import Status

__all__ = ["CommandContext", "CommandFailed"]


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
    """

    def __init__(
        self,
        *,
        entity_id: str,
        service_name: str,
        command_name: str,
        command_id: int,
        metadata: Metadata = EMPTY_METADATA,
    ) -> None:
        """Keep what the command says about itself."""
        self.entity_id = entity_id
        self.service_name = service_name
        self.command_name = command_name
        self.command_id = command_id
        self.metadata = metadata
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

    @overload
    def forward(self, target: Forward, /) -> None: ...

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
        target: Forward | str | ServiceDescriptor,
        command: str = "",
        message: object = None,
        /,
        *,
        metadata: Metadata | None = None,
    ) -> None:
        """Let another command answer the client; the handler then returns None.

        What this handler changed is stored first.

        Args:
            target: A service of the same deployment, by full name or descriptor; or the protocol's
                own message.
            command: Name of its method.
            message: The method's request.
            metadata: Headers for it.

        Raises:
            AnyError: If the descriptor has no such method, or the request cannot be packed.
        """
        self.check_usable()
        if self.forwarded is not None:
            raise RuntimeError("forward was called twice for one command")
        if isinstance(target, Forward):
            self.forwarded = target
            return
        self.forwarded = Forward(
            service_name=_service_name(target, command),
            command_name=command,
            payload=encode(message),
        )
        if metadata is not None:
            self.forwarded.metadata.CopyFrom(metadata.to_wire())

    @overload
    def effect(self, target: SideEffect, /) -> None: ...

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
        target: SideEffect | str | ServiceDescriptor,
        command: str = "",
        message: object = None,
        /,
        *,
        synchronous: bool = False,
        metadata: Metadata | None = None,
    ) -> None:
        """Have another command called after this one is stored; its answer is not seen.

        Args:
            target: A service of the same deployment, by full name or descriptor; or the protocol's
                own message.
            command: Name of its method.
            message: The method's request.
            synchronous: Whether the client waits until the effect is done.
            metadata: Headers for it.

        Raises:
            AnyError: If the descriptor has no such method, or the request cannot be packed.
        """
        self.check_usable()
        if isinstance(target, SideEffect):
            self.side_effects.append(target)
            return
        side_effect = SideEffect(
            service_name=_service_name(target, command),
            command_name=command,
            payload=encode(message),
            synchronous=synchronous,
        )
        if metadata is not None:
            side_effect.metadata.CopyFrom(metadata.to_wire())
        self.side_effects.append(side_effect)

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


def _service_name(target: str | ServiceDescriptor, command: str) -> str:
    if isinstance(target, str):
        return target
    if command not in target.methods_by_name:
        raise AnyError(
            f"service {target.full_name} has no command {command!r}; it has "
            f"{', '.join(sorted(target.methods_by_name))}"
        )
    return str(target.full_name)
