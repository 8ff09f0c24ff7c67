"""Declaring a CRDT entity: decorators that fill a handler table.

Everything about a handler is worked out when it is registered; what cannot be worked out is an
error then, naming the function and the file, and not at the first command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import NoneType
from typing import Any as AnyType
from typing import ClassVar, TypeVar, get_args, get_origin

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from cloudstate_core.anys import AnyError
from cloudstate_core.command_methods import CommandMethod, CommandMethods
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import Slot, choices_of, describe, signature_of
from cloudstate_core.targets import Target
from cloudstate_crdt.context import CrdtCommandContext
from cloudstate_crdt.data.crdt import Crdt
from cloudstate_crdt.default import Default

__all__ = ["CrdtEntity"]

F = TypeVar("F", bound=Callable[..., AnyType])

#: Where the state stands among what a handler can ask for: after command, context and metadata.
_STATE_INDEX = 3


class CrdtEntity(EntityDefinition):
    """An entity whose state every node may change at once, and that converges.

    Example:
        >>> entity = CrdtEntity(COUNTERS, default=GCounter)
        >>> @entity.command_handler("Increment")
        ... def increment(counter: GCounter, command: Increment, ctx: CrdtCommandContext):
        ...     counter.increment(command.by)
        ...     return Value(value=counter.value)

    A handler names what it wants by annotation: the CRDT (its type, or `Crdt` where that depends on
    the entity), the command (its message type), the context, `Metadata`. It may be `async`. The
    commands of one entity are handled one after another.
    """

    entity_type: ClassVar[str] = "cloudstate.crdt.Crdt"

    def __init__(
        self,
        service_descriptor: ServiceDescriptor,
        file_descriptors: Sequence[FileDescriptor] = (),
        default: type[Crdt] | Callable[..., Crdt | type[Crdt]] | None = None,
        persistence_id: str = "",
        *,
        passivation_timeout_s: float | None = None,
    ) -> None:
        """Declare an entity; its handlers follow by decorators.

        Args:
            service_descriptor: The service, as the generated module has it.
            file_descriptors: Further files to announce. What the service refers to is always
                announced.
            default: What an entity begins with: a type, such as `GCounter`, or a function of the
                entity id, or of nothing, that returns a type or a new value, such as
                `LWWRegister("")`. Without it there is no CRDT until a handler calls `ctx.create`.
            persistence_id: Namespace of the CRDTs; defaults to the service's full name. Changing it
                loses sight of what was stored before.
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
        where = str(service_descriptor.full_name)
        self._default = None if default is None else Default(default, where)
        declared = None if self._default is None else self._default.type
        name = "state" if declared is None else f"state {declared.__name__}"
        self._commands = CommandMethods(
            service_descriptor, CrdtCommandContext, [Slot(name, self._is_state)]
        )
        # What the handlers say the state is, by command.
        self._expected: dict[str, tuple[type[Crdt], ...]] = {}

    def command_handler(
        self, name: str, *, blocking: bool = False, calls: Sequence[object] | None = None
    ) -> Callable[[F], F]:
        """Register the function that serves the method `name`.

        If the method returns a stream, the function can keep it open with `ctx.on_change` and
        `ctx.on_cancel`, and what it returns is the first element; None is none.

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
            if self._commands.find(name).handler.takes(_STATE_INDEX):
                self._expected[name] = self._expected_by(function)
            return function

        return register

    def validate(self) -> None:
        for method in self.service.methods:
            if method.client_streaming:
                raise RegistrationError(
                    f"{self.service.full_name}.{method.name}: an entity of this kind cannot take a "
                    "stream of requests"
                )
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
        """Return whether the handler of a method asks for the CRDT."""
        return method.name in self._expected

    def check_state(self, method: CommandMethod, state: Crdt | None) -> None:
        """Return if the CRDT is of a type that the handler of a method asks for.

        Raises:
            AnyError: It is not.
        """
        expected = self._expected[method.name]
        if state is not None and not isinstance(state, expected):
            names = " or ".join(each.__name__ for each in expected)
            raise AnyError(
                f"{method.handler.where}: expected the state to be a {names}, found a "
                f"{type(state).__name__}"
            )

    def default(self, entity_id: str) -> Callable[[], Crdt] | None:
        """Return what makes the CRDT that an entity begins with; None without a default."""
        return None if self._default is None else partial(self._default.make, entity_id)

    def _is_state(self, annotation: object) -> bool:
        choices = _types_in(annotation)
        if not choices or not all(map(_is_crdt, choices)):
            return False
        declared = None if self._default is None else self._default.type
        return declared is None or any(issubclass(declared, each) for each in choices)

    def _expected_by(self, function: Callable[..., AnyType]) -> tuple[type[Crdt], ...]:
        """Return the types of CRDT that a handler asks for.

        Raises:
            RegistrationError: Naming the function and its place, if it does not expect that there
                may be none.
        """
        parameters = signature_of(function).parameters.values()
        (asking,) = (each for each in parameters if self._is_state(each.annotation))
        if self._default is None and NoneType not in get_args(asking.annotation):
            raise RegistrationError(
                f"{describe(function)}: parameter {asking.name!r} is None as long as nobody has "
                "created the CRDT: annotate it as such, with | None, or give the entity a default"
            )
        return tuple(_types_in(asking.annotation))


def _types_in(annotation: object) -> list[AnyType]:
    """Return the types that an annotation names; `ORSet[str]` names `ORSet`."""
    return [get_origin(choice) or choice for choice in choices_of(annotation)]


def _is_crdt(choice: object) -> bool:
    return isinstance(choice, type) and issubclass(choice, Crdt)


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
