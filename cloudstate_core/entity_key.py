"""Reading the entity id out of a request.

The fields that make up the id carry the option `cloudstate.entity_key` (or the older one of the
same meaning). Several fields are joined with "-" in the order in which the message declares them
(Cloudstate protocol, "entity keys").
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

from google.protobuf.descriptor import EnumValueDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from cloudstate_core.entity import DeployedMethod
from cloudstate_core.errors import MalformedRequest
from cloudstate_core.store import MAX_ENTITY_ID_BYTES

__all__ = ["EntityIdReader", "entity_id_reader", "unusable_key_fields"]

EntityIdReader = Callable[[bytes], str]

_UNUSABLE = {
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_MESSAGE: "a message",
    FieldDescriptor.TYPE_GROUP: "a group",
}


def unusable_key_fields(method: DeployedMethod) -> list[str]:
    """Name the key fields of a method whose value cannot be an entity id, with the reason."""
    fields = method.input_class.DESCRIPTOR.fields_by_name
    found = []
    for name in method.key_fields:
        field = fields[name]
        if field.is_repeated:
            found.append(f"{name} is repeated")
        elif field.type in _UNUSABLE:
            found.append(f"{name} is {_UNUSABLE[field.type]}")
    return found


def entity_id_reader(method: DeployedMethod) -> EntityIdReader:
    """Return a function from the request's bytes to the entity id.

    Args:
        method: A method with at least one key field.

    Returns:
        The reader. It raises MalformedRequest if the bytes are no such request, or the id is empty
        or too long.
    """
    parse = method.input_class.FromString
    fields = method.input_class.DESCRIPTOR.fields_by_name
    texts = [_text_of(fields[name]) for name in method.key_fields]  # type: ignore[arg-type]  # upb
    type_name = method.input_class.DESCRIPTOR.full_name
    key_names = ", ".join(method.key_fields)

    def read(data: bytes) -> str:
        try:
            message = parse(data)
        except DecodeError as error:
            raise MalformedRequest(f"the request is not a valid {type_name}: {error}") from error
        parts = [text(message) for text in texts]
        if not any(parts):
            raise MalformedRequest(f"the entity key is missing: set {key_names} of {type_name}")
        entity_id = parts[0] if len(parts) == 1 else "-".join(parts)
        # Most ids are short; only a long one is worth encoding to count its bytes.
        if len(entity_id) * 4 > MAX_ENTITY_ID_BYTES:
            _check_length(entity_id)
        return entity_id

    return read


def _check_length(entity_id: str) -> None:
    size = len(entity_id.encode())
    if size > MAX_ENTITY_ID_BYTES:
        raise MalformedRequest(
            f"the entity key is too long: expected at most {MAX_ENTITY_ID_BYTES} bytes, "
            f"found {size}"
        )


def _text_of(field: FieldDescriptor) -> Callable[[Message], str]:
    name = field.name
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return _string_of(field)
        case FieldDescriptor.TYPE_BOOL:
            return lambda message: "true" if getattr(message, name) else "false"
        case FieldDescriptor.TYPE_ENUM:
            names = {value.number: value.name for value in _values_of(field)}
            return lambda message: names.get(getattr(message, name), str(getattr(message, name)))
        case FieldDescriptor.TYPE_FLOAT:
            return lambda message: _shortest(getattr(message, name))
        case _:
            return lambda message: str(getattr(message, name))


def _string_of(field: FieldDescriptor) -> Callable[[Message], str]:
    name, place = field.name, field.full_name

    def text(message: Message) -> str:
        value = getattr(message, name)
        # The older syntax lets any bytes pass as text, which then come out as bytes.
        if value.__class__ is not str:
            raise MalformedRequest(f"the entity key {place} is not valid UTF-8")
        return value

    return text


def _shortest(value: float) -> str:
    """Return the shortest text of a number that has 32 bits on the wire."""
    wire = pack("f", value)
    for digits in (6, 7, 8):
        shorter = float(f"{value:.{digits}g}")
        if pack("f", shorter) == wire:
            return repr(shorter)
    return repr(float(f"{value:.9g}"))


def _values_of(field: FieldDescriptor) -> list[EnumValueDescriptor]:
    return list(field.enum_type.values) if field.enum_type is not None else []
