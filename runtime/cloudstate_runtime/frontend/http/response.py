"""From the bytes of a reply message to the body of an HTTP response, with no I/O."""

from __future__ import annotations

from google.protobuf.message import DecodeError, Message

from cloudstate_runtime.frontend.http.codec import MessageCodec
from cloudstate_runtime.frontend.http.rules import Binding

__all__ = ["JSON", "ReplyWriter", "UnreadableReply"]

JSON = "application/json"
_HTTP_BODY = "google.api.HttpBody"


class UnreadableReply(ValueError):
    """What the user function answered is no message of the type that the method declares."""


class ReplyWriter:
    """Writes the replies of one binding.

    A `google.api.HttpBody` is answered as it is; everything else as JSON, the whole message or the
    field that the binding names.

    Args:
        binding: The binding.
        reply_class: The reply message's class.
        codec: For replies of that class.

    Attributes:
        is_raw: Whether bodies are the user function's own.
    """

    def __init__(self, binding: Binding, reply_class: type[Message], codec: MessageCodec) -> None:
        self._reply_class = reply_class
        self._codec = codec
        self._field = binding.response_field
        self.is_raw = reply_class.DESCRIPTOR.full_name == _HTTP_BODY and self._field is None
        self._of_nothing: tuple[str, bytes] | None = None  # what most commands are answered with

    def write(self, reply: bytes) -> tuple[str, bytes]:
        """Return the content type, empty for none, and the body.

        Raises:
            UnreadableReply: If the bytes are no message of the declared type, or hold an `Any` of
                an unknown type.
        """
        if reply:
            return self._written(reply)
        if self._of_nothing is None:
            self._of_nothing = self._written(reply)
        return self._of_nothing

    def _written(self, reply: bytes) -> tuple[str, bytes]:
        try:
            message = self._reply_class.FromString(reply)
            if self.is_raw:
                # By name: the class comes from the user function's own descriptor pool.
                return message.content_type, message.data  # type: ignore[attr-defined]
            if self._field is not None:
                return JSON, self._codec.format_field(message, self._field)
            return JSON, self._codec.format(message)
        except (DecodeError, ValueError) as error:
            name = self._reply_class.DESCRIPTOR.full_name
            raise UnreadableReply(f"reply is not a readable {name}: {error}") from error
