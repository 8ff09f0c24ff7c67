"""The codec that stands on protobuf's own `json_format`, with no I/O."""

from __future__ import annotations

import json
from typing import NoReturn, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from cloudstate_core.errors import MalformedRequest
from cloudstate_runtime.frontend.http.plain_fields import PlainFields
from cloudstate_runtime.frontend.http.strictness import Strictness

__all__ = ["JsonFormatCodec"]

#: A reason longer than this lists every field of a large message.
_MAX_REASON_CHARACTERS = 300


class JsonFormatCodec:
    """Binds types to `json_format`.

    Args:
        max_depth: Deepest nesting of messages that is read.
    """

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth

    def bind(
        self, message_class: type[Message], pool: DescriptorPool | None
    ) -> JsonFormatMessageCodec:
        return JsonFormatMessageCodec(message_class, pool, self._max_depth)


class JsonFormatMessageCodec:
    """Reads and writes one type of message."""

    def __init__(
        self, message_class: type[Message], pool: DescriptorPool | None, max_depth: int
    ) -> None:
        descriptor = cast("Descriptor", message_class.DESCRIPTOR)
        self._type_name: str = descriptor.full_name
        self._strictness = Strictness(descriptor)
        self._plain_fields = PlainFields(descriptor)
        self._pool = pool
        self._max_depth = max_depth

    def parse(self, document: bytes, into: Message) -> None:
        value = _load(document)
        if self._plain_fields.read(value, into):
            return
        try:
            self._strictness.check(value)
            json_format.ParseDict(
                cast("dict[str, object]", value),
                into,
                descriptor_pool=self._pool,
                max_recursion_depth=self._max_depth,
            )
        except MalformedRequest:
            raise
        except Exception as error:
            # `json_format` raises ParseError for what it foresees and half a dozen built-in errors
            # for what it does not. Whatever it is, the document is no message of this type.
            raise MalformedRequest(self._reason(error)) from error

    def format(self, message: Message) -> bytes:
        return _dump(self._to_value(message))

    def format_field(self, message: Message, field: FieldDescriptor) -> bytes:
        if field.message_type is not None and not field.is_repeated:
            return _dump(self._to_value(getattr(message, field.name)))
        # A field that has presence and is not set is not among the values.
        value = self._to_value(message)
        assert isinstance(value, dict)  # a type with a JSON form of its own has no such fields
        return _dump(value.get(field.json_name))

    def _to_value(self, message: Message) -> object:
        try:
            return json_format.MessageToDict(
                message, always_print_fields_with_no_presence=True, descriptor_pool=self._pool
            )
        except (TypeError, json_format.SerializeToJsonError) as error:
            raise ValueError(str(error)) from error

    def _reason(self, error: Exception) -> str:
        # The first line says what is wrong; the others list all the fields there are.
        line = str(error).partition("\n")[0].strip()
        reason = f"not a {self._type_name}: {line}"
        return reason[:_MAX_REASON_CHARACTERS]


def _load(document: bytes) -> object:
    try:
        text = document.decode()
        if text.startswith("\ufeff"):
            raise MalformedRequest("the body is not JSON: Unexpected UTF-8 BOM")
        return _decoder.decode(text)
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise MalformedRequest("the body is not readable JSON: nested too deeply") from error
    except ValueError as error:
        raise MalformedRequest(f"the body is not readable JSON: {error}") from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Which of two values counts is a way to slip one of them past whoever reads the other.
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise MalformedRequest(f"the key {name[:80]!r} occurs twice in one object")
            seen.add(name)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"the body is not JSON: {name} is not a JSON value")


# Made once: `json.loads` and `json.dumps` would make them anew for each document.
_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _dump(value: object) -> bytes:
    return _encoder.encode(value).encode()
