"""Declaring a value entity: decorators that fill a handler table.

Everything about a handler is worked out when it is registered; what cannot be worked out is an
error then, naming the function and the file, and not at the first command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import Parameter
from types import NoneType
from typing import Any as AnyType
from typing import ClassVar, TypeVar, get_args

from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from cloudstate_core.command_methods import CommandMethod, CommandMethods
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.initial_state import InitialState
from cloudstate_core.injection import Slot, describe, same_type, signature_of
from cloudstate_core.targets import Target
from cloudstate_kv.context import ValueEntityCommandContext
from cloudstate_kv.draft import Draft
from cloudstate_kv.state_type import state_type_of

__all__ = ["ValueEntity"]

F = TypeVar("F", bound=Callable[..., AnyType])

#: Where the state stands among what a handler can ask for: after command, context and metadata.
_STATE_INDEX = 3


class ValueEntity(EntityDefinition):
    """An entity whose state is one value, replaced or deleted as a whole.

    Example:
        >>> entity = ValueEntity(PROFILES, state_type=Profile)
        >>> @entity.command_handler("Rename")
        ... def rename(state: Profile | None, name: NewName, ctx: ValueEntityCommandContext):
        ...     profile = state or Profile()
        ...     profile.name = name.text
        ...     ctx.update(profile)
        ...     return Empty()

    A handler names what it wants by annotation: the state (the entity's `state_type`, or None if
    there is no `init_state`), the command (its message type), the context, `Metadata`. It may be
    `async`.
    """

    entity_type: ClassVar[str] = "cloudstate.valueentity.ValueEntity"

    def __init__(
        self,
        service_descriptor: ServiceDescriptor,
        file_descriptors: Sequence[FileDescriptor] = (),
        init_state: Callable[..., object] | None = None,
        persistence_id: str = "",
        *,
        state_type: object = None,
        passivation_timeout_s: float | None = None,
    ) -> None:
        """Declare an entity; its handlers follow by decorators.

        Args:
            service_descriptor: The service, as the generated module has it.
            file_descriptors: Further files to announce. What the service refers to is always
                announced.
            init_state: Makes the state of an entity that has no value; takes the entity id, or
                nothing. Without it that state is None.
            persistence_id: Namespace of the values; defaults to the service's full name. Changing
                it loses sight of what was stored before.
            state_type: What is stored: a message class, str, bytes, int, float, bool, `Json`, a
                dataclass, or a list or dict of what JSON can hold. May be left out if `init_state`
                tells what it returns.
            passivation_timeout_s: Idle time after which an entity leaves memory, in seconds; None
                leaves it to the runtime.

        Raises:
            RegistrationError: If one of these cannot work.
        """
        _check_types(file_descriptors, persistence_id, passivation_timeout_s)
        super().__init__(
            service_descriptor,
            file_descriptors,
            persistence_id=persistence_id,
            passivation_timeout_s=passivation_timeout_s,
        )
        self._initial_state = None if init_state is None else InitialState(init_state)
        where = str(service_descriptor.full_name)
        declared = _declared(state_type, self._initial_state, where)
        self._state_type = state_type_of(declared, where)
        self._commands = CommandMethods(
            service_descriptor,
            ValueEntityCommandContext,
            [Slot(f"state {self._state_type.name}", partial(same_type, wanted=declared))],
        )

    def command_handler(
        self, name: str, *, blocking: bool = False, calls: Sequence[object] | None = None
    ) -> Callable[[F], F]:
        """Register the function that serves the method `name`.

        Args:
            name: Bare name of the method.
            blocking: Run a plain function in a thread, because it waits for something.
            calls: The commands that the function forwards to, asks, or has called as effects; each
                as `cloudstate_core.targets.target_of` takes them; checked at start. None leaves it
                open.

        Raises:
            RegistrationError: If there is no such method, it has a handler, or the function asks
                for something it cannot be given.
        """
        if not isinstance(name, str):
            raise RegistrationError(
                f"{describe(name)}: expected the name of a method: @entity.command_handler('Name')"
            )

        def register(function: F) -> F:
            self._commands.add(name, function, blocking=blocking, calls=calls)
            if self.takes_state(self._commands.find(name)):
                self._check_may_be_none(function)
            return function

        return register

    def validate(self) -> None:
        self._commands.check_none_streams()
        self._commands.check_all_keyed()
        self._commands.check_all_handled()

    def declared_calls(self) -> Iterable[tuple[str, Target]]:
        return self._commands.declared_calls()

    # What a servicer calls.

    def command(self, name: str) -> CommandMethod:
        """Return the method of that name.

        Raises:
            AnyError: If there is none.
        """
        return self._commands.find(name)

    def takes_state(self, method: CommandMethod) -> bool:
        """Return whether the handler of a method asks for the state."""
        return method.handler.takes(_STATE_INDEX)

    def draft(self, entity_id: str, stored: Any | None) -> Draft:
        """Return the state for one command, which starts as what is stored."""
        make = self._initial_state
        return Draft(
            self._state_type, None if make is None else partial(make.make, entity_id), stored
        )

    def _check_may_be_none(self, function: Callable[..., AnyType]) -> None:
        """Refuse a handler that does not expect that there may be no state.

        Raises:
            RegistrationError: Naming the function and its place.
        """
        if self._initial_state is not None:
            return
        parameters = signature_of(function).parameters.values()
        asking = [each for each in parameters if same_type(each.annotation, self._state_type.type)]
        if asking and not any(map(_may_be_none, asking)):
            raise RegistrationError(
                f"{describe(function)}: parameter {asking[0].name!r} is None as long as nothing is "
                f"stored: annotate it as {self._state_type.name} | None, or give the entity an "
                "init_state"
            )


def _declared(state_type: object, initial_state: InitialState | None, where: str) -> object:
    told = None if initial_state is None else initial_state.type
    if state_type is None and told is None:
        raise RegistrationError(f"{where}: expected state_type, found none")
    if state_type is not None and told is not None and not same_type(told, state_type):
        raise RegistrationError(
            f"{where}: expected an init_state that returns {state_type!r}, found {told!r}"
        )
    return told if state_type is None else state_type


def _may_be_none(parameter: Parameter) -> bool:
    return NoneType in get_args(parameter.annotation)


def _check_types(files: object, persistence_id: object, passivation_timeout_s: object) -> None:
    if not isinstance(files, Sequence) or not all(isinstance(f, FileDescriptor) for f in files):
        raise RegistrationError(
            "expected file_descriptors to be a list of file descriptors, such as "
            f"[shop_pb2.DESCRIPTOR], found {files!r}"
        )
    if not isinstance(persistence_id, str):
        raise RegistrationError(f"expected persistence_id to be text, found {persistence_id!r}")
    if passivation_timeout_s is None:
        return
    if not isinstance(passivation_timeout_s, int | float) or not passivation_timeout_s > 0:
        raise RegistrationError(
            f"passivation_timeout_s: expected more than 0, found {passivation_timeout_s!r}"
        )
