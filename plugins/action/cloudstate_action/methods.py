"""The methods of an action's service, and what their handlers can ask for."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import Any as AnyType
from typing import ClassVar, cast, get_args, get_origin

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.empty_pb2 import Empty

from cloudstate_action.context import ActionContext
from cloudstate_action.envelope import MessageEnvelope
from cloudstate_action.shape import STREAM, Shape, shape_of
from cloudstate_core.command_methods import CommandMethod, CommandMethods
from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import Handler, Slot, choices_of, describe, is_generator
from cloudstate_core.targets import Target

__all__ = ["ActionMethod", "ActionMethods"]


class ActionMethod(CommandMethod):
    """A method with the handler that serves it.

    The handler takes the message, the context, the call's metadata and the message in its envelope,
    in this order and as far as it asks; messages and envelopes come as streams if the caller sends
    a stream.

    Attributes:
        shape: What streams.
        must_answer_with_empty: Whether None stands for an `Empty` and not for no reply.
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
        super().__init__(descriptor, handler, blocking=blocking, targets=targets)
        self.shape = shape_of(descriptor)
        answers = str(descriptor.output_type.full_name)
        self.must_answer_with_empty = (
            not self.shape.server_streaming and answers == Empty.DESCRIPTOR.full_name
        )


class ActionMethods(CommandMethods):
    """The handlers of one action by the method's name."""

    method_class: ClassVar[type[CommandMethod]] = ActionMethod
    handlers_may_yield: ClassVar[bool] = True

    def __init__(self, service: ServiceDescriptor) -> None:
        """Start without handlers."""
        super().__init__(service, ActionContext)
        self._service_descriptor = service

    def add_of_shape(
        self,
        shape: Shape,
        name: str,
        function: Callable[..., AnyType],
        *,
        blocking: bool,
        calls: Sequence[object] | None,
    ) -> None:
        """Let a function serve the method `name`, which must have a shape.

        Raises:
            RegistrationError: As `add` says; or the method has another shape, or a function of this
                kind cannot serve it.
        """
        method = self._service_descriptor.methods_by_name.get(name)
        if method is not None:
            _check_shape(method, shape, function)
            _check_function(shape, function, blocking=blocking)
        self.add(name, function, blocking=blocking, calls=calls)

    def find(self, name: str) -> ActionMethod:
        return cast("ActionMethod", super().find(name))

    def check_all_handled(self) -> None:
        for method in self._service_descriptor.methods:
            if str(method.name) not in self._methods:
                raise RegistrationError(
                    f"{self._service_descriptor.full_name}: no handler for {method.name}; add "
                    f"@action.{shape_of(method).decorator}({str(method.name)!r})"
                )

    def slots(self, method: MethodDescriptor) -> tuple[Slot, ...]:
        message, *others = super().slots(method)

        def is_envelope(annotation: object) -> bool:
            return any(_is_envelope(each, message) for each in choices_of(annotation))

        envelope = Slot("message in its envelope", is_envelope)
        if not method.client_streaming:
            return (message, *others, envelope)
        return (
            Slot(f"AsyncIterator of {message.name}", _is_stream_of(message.accepts)),
            *others,
            Slot("AsyncIterator of messages in their envelopes", _is_stream_of(is_envelope)),
        )


def _check_shape(method: MethodDescriptor, shape: Shape, function: object) -> None:
    found = shape_of(method)
    if found != shape:
        raise RegistrationError(
            f"{describe(function)}: method {str(method.name)!r} has {found.what}, and "
            f"@action.{shape.decorator} is for {shape.what}; use "
            f"@action.{found.decorator}({str(method.name)!r})"
        )


def _check_function(shape: Shape, function: Callable[..., AnyType], *, blocking: bool) -> None:
    where = describe(function)
    if shape.client_streaming and blocking:
        raise RegistrationError(
            f"{where}: a handler that takes a stream must not be blocking, or callers that send "
            "nothing would take up all threads; await asyncio.to_thread(...) where it waits"
        )
    if not is_generator(function):
        return
    if not shape.server_streaming:
        raise RegistrationError(
            f"{where}: expected a function that returns one reply, found a generator"
        )
    is_async = inspect.isasyncgenfunction(function)
    if is_async and blocking:
        raise RegistrationError(f"{where}: an async generator must not be blocking")
    if not is_async and shape == STREAM:
        raise RegistrationError(
            f"{where}: expected an async generator, found a plain one, which cannot read a stream"
        )


def _is_envelope(annotation: object, message: Slot) -> bool:
    if annotation is MessageEnvelope:
        return True
    return get_origin(annotation) is MessageEnvelope and message.accepts(get_args(annotation)[0])


def _is_stream_of(accepts: Callable[[object], bool]) -> Callable[[object], bool]:
    def is_stream(annotation: object) -> bool:
        return get_origin(annotation) in (AsyncIterator, AsyncIterable) and accepts(
            get_args(annotation)[0]
        )

    return is_stream
