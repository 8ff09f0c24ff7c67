"""One method of an event-sourced service, and the handler that serves it."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from cloudstate_core.anys import AnyError, decode
from cloudstate_core.injection import Handler

__all__ = ["CommandMethod"]


class CommandMethod:
    """A method of the service with the handler that serves it.

    Attributes:
        name: Bare name of the method.
        handler: The function; takes state, command, context and metadata, as far as it asks.
        blocking: Whether it must run in a thread, so that others are not held up.
    """

    def __init__(self, descriptor: MethodDescriptor, handler: Handler, *, blocking: bool) -> None:
        """Keep the parts."""
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
        if self._input_class is Any:
            return decode(payload)
        try:
            return self._input_class.FromString(payload.value)
        except DecodeError as error:
            name = self._input_class.DESCRIPTOR.full_name
            raise AnyError(f"not a valid {name!r}: {error}") from error

    def check_reply(self, reply: object) -> object:
        """Return the reply, or what stands for None.

        Raises:
            AnyError: If it is not of the type the method declares.
        """
        if reply is None or self._output_name == Any.DESCRIPTOR.full_name:
            return reply
        found = reply.DESCRIPTOR.full_name if isinstance(reply, Message) else type(reply).__name__
        if found != self._output_name:
            raise AnyError(
                f"{self.handler.where}: expected a reply of type {self._output_name}, found {found}"
            )
        return reply

    def default_reply(self) -> Message | None:
        """Return what None stands for: an `Empty` where the method returns one."""
        return Empty() if self._output_name == Empty.DESCRIPTOR.full_name else None
