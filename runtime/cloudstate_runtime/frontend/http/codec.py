"""Between JSON and protobuf messages: what every codec must do.

A codec that is plugged in agrees with `JsonFormatCodec` on every document and every message.
"""

from __future__ import annotations

from typing import Protocol

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

__all__ = ["JsonCodec", "MessageCodec"]


class MessageCodec(Protocol):
    """Reads and writes one type of message, by the proto3 JSON mapping."""

    def parse(self, document: bytes, into: Message) -> None:
        """Read a JSON document into an empty message.

        Field names are proto names or JSON names. Refused are unknown fields, one field twice under
        any of its names, a key twice, and text that is not UTF-8.

        Raises:
            MalformedRequest: With the reason, in words for the sender of the document.
        """
        ...

    def format(self, message: Message) -> bytes:
        """Write a message: compact, JSON names, fields without presence even if default.

        Raises:
            ValueError: If it cannot be written, because an `Any` in it holds an unknown type.
        """
        ...

    def format_field(self, message: Message, field: FieldDescriptor) -> bytes:
        """Write what `format` would write for one field of the message.

        A singular message that is not set is written as if it were empty; any other field that has
        presence and is not set as `null`.

        Raises:
            ValueError: As for `format`.
        """
        ...


class JsonCodec(Protocol):
    """Makes codecs for the types of a descriptor pool."""

    def bind(self, message_class: type[Message], pool: DescriptorPool | None) -> MessageCodec:
        """Return the codec for a type. Called once for each, not on the request path.

        Args:
            message_class: The type.
            pool: Where types named in an `Any` are looked up; None for the process-wide pool.
        """
        ...
