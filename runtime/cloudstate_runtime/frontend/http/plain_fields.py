"""Fields whose JSON is their value already, set without `json_format`, with no I/O.

Most commands are a few texts and numbers, for which `json_format` spends ten times as long to find
out that nothing has to be converted.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from cloudstate_runtime.frontend.http.strictness import OWN_FORM

__all__ = ["PlainFields"]

#: A 64-bit integer is written as text as a rule, but may be a number. A real number needs a closer
#: look: JSON has some that are too large for any.
_PLAIN = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_INT32: int,
    FieldDescriptor.TYPE_SINT32: int,
    FieldDescriptor.TYPE_SFIXED32: int,
    FieldDescriptor.TYPE_UINT32: int,
    FieldDescriptor.TYPE_FIXED32: int,
    FieldDescriptor.TYPE_INT64: int,
    FieldDescriptor.TYPE_SINT64: int,
    FieldDescriptor.TYPE_SFIXED64: int,
    FieldDescriptor.TYPE_UINT64: int,
    FieldDescriptor.TYPE_FIXED64: int,
}


class PlainFields:
    """Reads documents of one type of message that hold nothing but plain fields.

    Args:
        descriptor: The type.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self._has_own_form = descriptor.full_name in OWN_FORM
        # A JSON name goes before the proto name of another field, as in `json_format`.
        named = {field.name: field for field in descriptor.fields}
        named |= {field.json_name: field for field in descriptor.fields}
        self._fields: dict[tuple[str, type], str] = {
            (name, plain): field.name for name, field in named.items() for plain in _plain(field)
        }

    def read(self, document: object, into: Message) -> bool:
        """Fill an empty message, and return whether that is all there is to do.

        If not, for whatever reason, the message may hold a part of the document, and what is wrong
        with it is for others to find.
        """
        if self._has_own_form or type(document) is not dict:
            return False
        values = {}
        for name, value in document.items():
            field = self._fields.get((name, type(value)))
            if field is None or field in values:
                return False
            values[field] = value
        try:
            for field, value in values.items():
                setattr(into, field, value)
        except ValueError:  # a number out of range, or half of a surrogate pair
            return False
        return True


def _plain(field: FieldDescriptor) -> Iterator[type]:
    oneof = field.containing_oneof
    if not field.is_repeated and (oneof is None or len(oneof.fields) == 1) and field.type in _PLAIN:
        yield _PLAIN[field.type]
