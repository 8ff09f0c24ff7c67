"""The commands that a handler can pass on to, or ask: named by stubs, descriptors or names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message

from cloudstate_core.anys import AnyError
from cloudstate_core.value import value

__all__ = ["StubMethod", "Target", "commands_of", "target_of", "target_with_message"]

Stub = TypeVar("Stub")


@value
class Target:
    """One command of one service.

    Attributes:
        service: Full name of the service.
        command: Name of its method.
        method: The method's descriptor; None if only its name is known here.
    """

    service: str
    command: str
    method: MethodDescriptor | None = None

    def check_message(self, message: object) -> None:
        """Return if the method takes such a message, or nobody here knows what it takes.

        Raises:
            AnyError: It takes another one.
        """
        if self.method is None or not isinstance(message, Message):
            return
        expected, found = self.method.input_type.full_name, message.DESCRIPTOR.full_name
        if found not in (expected, "google.protobuf.Any"):
            raise AnyError(f"{self}: expected a message of type {expected}, found {found}")

    @property
    def name(self) -> str:
        """What the target is called: "service.command"."""
        return f"{self.service}.{self.command}"

    def __str__(self) -> str:
        return self.name


class StubMethod:
    """What stands for one method of a generated stub: it is named, and never called.

    Attributes:
        target: The method.
    """

    def __init__(self, path: str) -> None:
        """Name the method at a path such as `/shop.Cart/AddItem`."""
        service, _, command = path[1:].rpartition("/")
        self.target = Target(service, command, _known_method(service, command))

    def __call__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            f"{self.target} cannot be called like this: give it to ask, effect or forward of the "
            "handler's context"
        )


def commands_of(stub: Callable[[Any], Stub]) -> Stub:
    """Return a stub whose methods name commands, for `ask`, `effect` and `forward` of a context.

    Example:
        >>> accounts = commands_of(bank_pb2_grpc.AccountStub)
        >>> ctx.effect(accounts.Deposit, bank_pb2.DepositRequest(...))

    Args:
        stub: A generated stub class.
    """
    return stub(_NamingChannel())


def target_of(named: object, command: str = "") -> Target:
    """Return the target that an application names.

    Args:
        named: A method of `commands_of`, a method descriptor, or a service by descriptor or by full
            name.
        command: Name of the method, if `named` is a service.

    Raises:
        AnyError: If it names no command, or the service's descriptor has no such method.
    """
    match named:
        case StubMethod():
            return named.target
        case MethodDescriptor():
            return Target(str(named.containing_service.full_name), str(named.name), named)
        case ServiceDescriptor():
            return _of_service(named, command)
        case str() if command:
            return Target(named, command, _known_method(named, command))
        case str() if "/" in named:
            service, _, command = named.strip("/").rpartition("/")
            return Target(service, command, _known_method(service, command))
        case _:
            raise AnyError(
                "expected a method of commands_of(...), a method descriptor, or a service and the "
                f"name of its method, found {named!r}"
            )


def target_with_message(
    named: object, command_or_message: object, message: object
) -> tuple[Target, object]:
    """Return the target and the message of a call, however the target is named.

    Args:
        named: As for `target_of`.
        command_or_message: The method's name if `named` is a service, else the message.
        message: The message if `named` is a service, else None.

    Raises:
        AnyError: If it names no command, or the message is not what the method takes.
    """
    if isinstance(named, str | ServiceDescriptor):
        if not isinstance(command_or_message, str):
            raise AnyError(
                f"expected the name of a method after the service, found {command_or_message!r}"
            )
        target = target_of(named, command_or_message)
    else:
        target, message = target_of(named), command_or_message
    target.check_message(message)
    return target, message


def _of_service(service: ServiceDescriptor, command: str) -> Target:
    method = service.methods_by_name.get(command)
    if method is None:
        raise AnyError(
            f"service {service.full_name} has no command {command!r}; it has "
            f"{', '.join(sorted(service.methods_by_name))}"
        )
    return Target(str(service.full_name), command, method)


def _known_method(service: str, command: str) -> MethodDescriptor | None:
    """Return a method of a generated module that is imported, or None."""
    try:
        return Default().FindServiceByName(service).methods_by_name.get(command)
    except KeyError:
        return None


class _NamingChannel:
    """A channel that opens nothing: all that a stub asks of it is a callable for each method."""

    def _method(self, path: str, *_: object, **__: object) -> StubMethod:
        return StubMethod(path)

    unary_unary = unary_stream = stream_unary = stream_stream = _method
