"""Declaring an action: decorators that fill a handler table.

Everything about a handler is worked out when it is registered; what cannot be worked out is an
error then, naming the function and the file, and not at the first call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any as AnyType
from typing import ClassVar, TypeVar

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from cloudstate_action.methods import ActionMethod, ActionMethods
from cloudstate_action.shape import STREAM, STREAM_IN, STREAM_OUT, UNARY, Shape
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import describe
from cloudstate_core.targets import Target

__all__ = ["Action"]

F = TypeVar("F", bound=Callable[..., AnyType])


class Action(EntityDefinition):
    """A service without state, whose methods may stream.

    Example:
        >>> action = Action(CONVERTER, [convert_pb2.DESCRIPTOR])
        >>> @action.unary_handler("Convert")
        ... async def convert(amount: Amount, ctx: ActionContext) -> Amount: ...
        >>> @action.stream_out_handler("Watch")
        ... async def watch(pair: Pair) -> AsyncIterator[Rate]:
        ...     while True:
        ...         yield await next_rate(pair)

    A handler names what it wants by annotation: the message (its type, or `MessageEnvelope` of it
    to have its metadata as well), or `AsyncIterator` of either if the caller sends a stream; the
    `ActionContext`; the call's `Metadata`. It returns, or yields, messages, `MessageEnvelope`s,
    `ActionReply`s, or None for no reply.
    """

    entity_type: ClassVar[str] = "cloudstate.action.ActionProtocol"

    def __init__(
        self,
        service_descriptor: ServiceDescriptor,
        file_descriptors: Sequence[FileDescriptor] = (),
    ) -> None:
        """Declare an action; its handlers follow by decorators.

        Args:
            service_descriptor: The service, as the generated module has it.
            file_descriptors: Further files to announce. What the service refers to is always
                announced.

        Raises:
            RegistrationError: If one of these cannot work.
        """
        _check_files(file_descriptors)
        super().__init__(service_descriptor, file_descriptors)
        self._methods = ActionMethods(service_descriptor)

    def unary_handler(
        self, name: str, *, blocking: bool = False, calls: Sequence[object] | None = None
    ) -> Callable[[F], F]:
        """Register the function that serves a method with one message and one reply.

        Args:
            name: Bare name of the method.
            blocking: Run a plain function in a thread, because it waits for something.
            calls: The commands that the function forwards to, asks, or has called as effects; each
                as `cloudstate_core.targets.target_of` takes them; checked at start. None leaves it
                open.

        Raises:
            RegistrationError: If there is no such method, it has another shape or a handler, or the
                function asks for something it cannot be given.
        """
        return self._handler(UNARY, name, blocking=blocking, calls=calls)

    def stream_in_handler(
        self, name: str, *, calls: Sequence[object] | None = None
    ) -> Callable[[F], F]:
        """Register the function that serves a method with a stream of messages and one reply.

        It is an async function, and need not read all messages before it returns.

        Raises:
            RegistrationError: As for `unary_handler`, whose arguments these are.
        """
        return self._handler(STREAM_IN, name, blocking=False, calls=calls)

    def stream_out_handler(
        self, name: str, *, blocking: bool = False, calls: Sequence[object] | None = None
    ) -> Callable[[F], F]:
        """Register the function that serves a method with one message and a stream of replies.

        It is an async generator or a plain one, or returns something that can be iterated over. It
        is asked for the next reply when the caller has room for it, and closed when the caller
        leaves.

        Raises:
            RegistrationError: As for `unary_handler`, whose arguments these are.
        """
        return self._handler(STREAM_OUT, name, blocking=blocking, calls=calls)

    def stream_handler(
        self, name: str, *, calls: Sequence[object] | None = None
    ) -> Callable[[F], F]:
        """Register the function that serves a method with streams in both directions.

        It is an async generator, or returns something that can be iterated over.

        Raises:
            RegistrationError: As for `unary_handler`, whose arguments these are.
        """
        return self._handler(STREAM, name, blocking=False, calls=calls)

    def validate(self) -> None:
        self._methods.check_all_handled()

    def declared_calls(self) -> Iterable[tuple[str, Target]]:
        return self._methods.declared_calls()

    def method(self, name: str) -> ActionMethod:
        """Return the method of that name.

        Raises:
            AnyError: If there is none.
        """
        return self._methods.find(name)

    def _handler(
        self, shape: Shape, name: str, *, blocking: bool, calls: Sequence[object] | None
    ) -> Callable[[F], F]:
        if not isinstance(name, str):
            raise RegistrationError(
                f"{describe(name)}: expected the name of a method: "
                f"@action.{shape.decorator}('Name')"
            )

        def register(function: F) -> F:
            self._methods.add_of_shape(shape, name, function, blocking=blocking, calls=calls)
            return function

        return register


def _check_files(files: object) -> None:
    if not isinstance(files, Sequence) or not all(isinstance(f, FileDescriptor) for f in files):
        raise RegistrationError(
            "expected file_descriptors to be a list of file descriptors, such as "
            f"[shop_pb2.DESCRIPTOR], found {files!r}"
        )
