"""The commands of an application's service, and the handlers that serve them.

What the decorator `command_handler` of every kind is made of: a kind says what its handlers may ask
for beside the command, and this table does the rest. `cloudstate_core.answering` calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any as AnyType
from typing import ClassVar

from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from cloudstate import entity_key_pb2, legacy_entity_key_pb2
from cloudstate_core.anys import AnyError, Json, decode, encode, pack_message, type_name
from cloudstate_core.context import CommandContext
from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import Handler, Slot, bind, describe, same_type
from cloudstate_core.metadata import Metadata
from cloudstate_core.targets import Target, target_of

__all__ = ["CommandMethod", "CommandMethods"]

#: What a method that takes a `google.protobuf.Any` may be given instead: what is in it.
_CONTENTS_OF_ANY = frozenset({Any, Message, Json, str, bytes, int, float, bool})


class CommandMethod:
    """A method of the service with the handler that serves it.

    Attributes:
        name: Bare name of the method.
        handler: The function; takes the command, its context, its metadata and the kind's own
            values, in this order and as far as it asks.
        blocking: Whether it must run in a thread, so that others are not held up.
        targets: The commands that the handler says it calls; None if it does not say.
        declared_targets: Their names, as "service.command".
    """

    def __init__(
        self,
        descriptor: MethodDescriptor,
        handler: Handler,
        *,
        blocking: bool,
        targets: tuple[Target, ...] | None = None,
    ) -> None:
        """Keep the parts."""
        self.targets = targets
        self.declared_targets = (
            None if targets is None else frozenset(target.name for target in targets)
        )
        self.name = str(descriptor.name)
        self.handler = handler
        self.blocking = blocking
        self._input_class = GetMessageClass(descriptor.input_type)
        self._output_name = str(descriptor.output_type.full_name)

    def read(self, payload: Any) -> object:
        """Return the command's message.

        The method says what it is; the `Any`'s own word on it is not needed. A method that takes an
        `Any` gets what is in it.

        Raises:
            AnyError: If the bytes are not of that type.
        """
        is_any = self._input_class is Any
        if is_any and type_name(payload.type_url) != Any.DESCRIPTOR.full_name:
            return decode(payload)  # it comes from no client, but from an event
        try:
            message = self._input_class.FromString(payload.value)
        except DecodeError as error:
            name = self._input_class.DESCRIPTOR.full_name
            raise AnyError(f"not a valid {name!r}: {error}") from error
        return decode(message) if isinstance(message, Any) else message

    def reply(self, returned: object) -> object:
        """Return the reply that a handler's result stands for.

        None stands for an `Empty`, and whatever an `Any` can hold stands for that `Any`, where the
        method declares one.

        Raises:
            AnyError: If it is not of the type the method declares.
        """
        found = _type_of(returned)
        if found == self._output_name:
            return pack_message(returned) if isinstance(returned, Any) else returned
        if returned is None and self._output_name == Empty.DESCRIPTOR.full_name:
            return Empty()
        if returned is None:
            raise AnyError(f"{self.handler.where}: expected a reply or a forward, found None")
        if self._output_name == Any.DESCRIPTOR.full_name:
            return pack_message(encode(returned))
        raise AnyError(
            f"{self.handler.where}: expected a reply of type {self._output_name}, found {found}"
        )


def _has_key(method: MethodDescriptor) -> bool:
    keys: tuple[AnyType, ...] = (entity_key_pb2.entity_key, legacy_entity_key_pb2.legacy_entity_key)
    return any(
        field.GetOptions().Extensions[key] for field in method.input_type.fields for key in keys
    )


def _type_of(value: object) -> str:
    if isinstance(value, Message):
        return str(value.DESCRIPTOR.full_name)
    return type(value).__name__


def _targets(handler: Handler, calls: Sequence[object]) -> tuple[Target, ...]:
    try:
        return tuple(
            target_of(*each) if isinstance(each, tuple) else target_of(each) for each in calls
        )
    except AnyError as error:
        raise RegistrationError(f"{handler.where}: calls: {error}") from error


class CommandMethods:
    """The handlers of one service by the method's name.

    A kind whose methods stream derives from this class.

    Attributes:
        method_class: What a method with its handler is made of.
        handlers_may_yield: Whether a handler may be a generator.
    """

    method_class: ClassVar[type[CommandMethod]] = CommandMethod
    handlers_may_yield: ClassVar[bool] = False

    def __init__(
        self,
        service: ServiceDescriptor,
        context_type: type[CommandContext],
        own_slots: Sequence[Slot] = (),
    ) -> None:
        """Start without handlers.

        Args:
            service: The application's service.
            context_type: The context of this kind. A handler may ask for it or a base of it.
            own_slots: What a handler of this kind can ask for beside command, context and
                metadata.
        """
        self._service = str(service.full_name)
        self._contexts = frozenset(context_type.__mro__) - {object}
        self._own_slots = tuple(own_slots)
        self._descriptors = {str(method.name): method for method in service.methods}
        self._methods: dict[str, CommandMethod] = {}

    def add(
        self,
        name: str,
        function: Callable[..., AnyType],
        *,
        blocking: bool = False,
        calls: Sequence[object] | None = None,
    ) -> None:
        """Let a function serve the method `name`.

        Args:
            name: Bare name of the method.
            function: The handler, with annotated parameters.
            blocking: Run a plain function in a thread, because it waits for something.
            calls: The commands that the function forwards to, asks, or has called as effects, each
                as `cloudstate_core.targets.target_of` takes them; checked at start. None leaves it
                open.

        Raises:
            RegistrationError: If there is no such method, it has a handler, or the function asks
                for something it cannot be given.
        """
        descriptor = self._descriptors.get(name)
        if descriptor is None:
            raise RegistrationError(
                f"{describe(function)}: service {self._service} has no method {name!r}; it has "
                f"{', '.join(sorted(self._descriptors))}"
            )
        if name in self._methods:
            raise RegistrationError(
                f"{describe(function)}: command {name!r} is handled already by "
                f"{self._methods[name].handler.where}"
            )
        handler = bind(function, self.slots(descriptor), may_yield=self.handlers_may_yield)
        if blocking and handler.is_async:
            raise RegistrationError(f"{handler.where}: an async function must not be blocking")
        targets = None if calls is None else _targets(handler, calls)
        self._methods[name] = self.method_class(
            descriptor, handler, blocking=blocking, targets=targets
        )

    def declared_calls(self) -> Iterator[tuple[str, Target]]:
        """Yield each command that a handler says it calls, after where the handler is."""
        for method in self._methods.values():
            for target in method.targets or ():
                yield method.handler.where, target

    def find(self, name: str) -> CommandMethod:
        """Return the method of that name.

        Raises:
            AnyError: If there is none.
        """
        method = self._methods.get(name)
        if method is None:
            raise AnyError(f"service {self._service} has no command {name!r}")
        return method

    def check_all_handled(self) -> None:
        """Return if every method of the service has a handler.

        Raises:
            RegistrationError: Naming those that have none.
        """
        missing = sorted(self._descriptors.keys() - self._methods.keys())
        if missing:
            raise RegistrationError(
                f"{self._service}: no command handler for {', '.join(missing)}; "
                f"add @entity.command_handler({missing[0]!r})"
            )

    def check_all_keyed(self) -> None:
        """Return if every command says which entity it is for.

        Raises:
            RegistrationError: Naming those that do not.
        """
        keyless = sorted(name for name, m in self._descriptors.items() if not _has_key(m))
        if keyless:
            message = self._descriptors[keyless[0]].input_type
            raise RegistrationError(
                f"{self._service}: no entity key in the message of {', '.join(keyless)}; give a "
                f"field of {message.full_name} the option (cloudstate.entity_key) = true"
            )

    def check_none_streams(self) -> None:
        """Return if no method streams, in either direction.

        Raises:
            RegistrationError: Naming the first that does.
        """
        for name, method in self._descriptors.items():
            if method.client_streaming or method.server_streaming:
                raise RegistrationError(
                    f"{self._service}.{name}: an entity of this kind cannot stream"
                )

    def slots(self, method: MethodDescriptor) -> tuple[Slot, ...]:
        """Return what the handler of a method can ask for: the command first, then the rest."""
        input_class = GetMessageClass(method.input_type)

        def is_command(annotation: object) -> bool:
            if input_class is Any:
                return annotation in _CONTENTS_OF_ANY
            return same_type(annotation, input_class)

        return (
            Slot(f"command {input_class.DESCRIPTOR.full_name}", is_command),
            Slot("context", lambda a: any(same_type(a, each) for each in self._contexts)),
            Slot("metadata", lambda a: same_type(a, Metadata)),
            *self._own_slots,
        )
