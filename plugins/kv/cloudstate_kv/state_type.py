"""How the state of an entity is packed into an `Any`, by the type that the entity declares."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any as AnyType
from typing import TypeGuard, get_origin

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message

from cloudstate_core.anys import (
    JSON_PREFIX,
    MESSAGE_PREFIX,
    PRIMITIVE_PREFIX,
    AnyError,
    Json,
    decode,
    encode,
    type_name,
)
from cloudstate_core.errors import RegistrationError
from cloudstate_kv.json_shape import shape_of

__all__ = ["StateType", "state_type_of"]

#: Python types that stand for protobuf scalars, with the scalars they take.
_PRIMITIVES: dict[type, tuple[str, ...]] = {
    str: ("string",),
    bytes: ("bytes",),
    int: ("int64", "int32"),
    float: ("double", "float"),
    bool: ("bool",),
}

#: What JSON is called that is of no class, as in other languages.
_NAMELESS = "object"


class StateType(ABC):
    """Packs and unpacks states of one type.

    Attributes:
        type: As declared.
        name: What it is called in messages.
    """

    def __init__(self, declared: AnyType) -> None:
        """Keep the type."""
        self.type = declared
        self.name = declared.__name__ if isinstance(declared, type) else repr(declared)

    @abstractmethod
    def pack(self, value: object) -> Any:
        """Return a value as it is stored.

        Raises:
            AnyError: If it is not of the type.
        """

    @abstractmethod
    def unpack(self, packed: Any) -> object:
        """Return a stored value, as an object of the reader's own.

        Raises:
            AnyError: If it is not of the type.
        """

    def unfit(self, value: object) -> AnyError:
        """Return the error that says a value is no state."""
        if value is None:
            return AnyError(
                f"expected a state of type {self.name}, found None; ctx.delete() leaves no state"
            )
        return AnyError(f"expected a state of type {self.name}, found {type(value).__name__}")

    def unfit_stored(self, packed: Any, expected: str) -> AnyError:
        """Return the error that says what is stored is no state."""
        return AnyError(
            f"expected a stored state of type {expected!r}, found {packed.type_url!r}: it was "
            f"stored with another state_type than {self.name}"
        )


def state_type_of(declared: object, where: str) -> StateType:
    """Return how to pack states of a type.

    Args:
        declared: A message class, str, bytes, int, float, bool, `Json`, a dataclass, or a list or
            dict of what JSON can hold.
        where: Whose it is, for error messages.

    Raises:
        RegistrationError: If it is of another sort.
    """
    if _is_message_class(declared):
        return _MessageType(declared)
    if isinstance(declared, type) and declared in _PRIMITIVES:
        return _PrimitiveType(declared)
    if declared is Json:
        return _NamedJsonType(declared)
    is_dataclass = isinstance(declared, type) and dataclasses.is_dataclass(declared)
    if is_dataclass or (get_origin(declared) or declared) in (dict, list):
        return _ShapedJsonType(declared, where)
    raise RegistrationError(
        f"{where}: expected state_type to be a generated message class, str, bytes, int, float, "
        f"bool, Json, a dataclass, a list or a dict, found {declared!r}"
    )


def _is_message_class(declared: object) -> TypeGuard[type[Message]]:
    # What is packed into an `Any` is never another `Any`.
    return (
        isinstance(declared, type)
        and issubclass(declared, Message)
        and declared not in (Message, Any)
    )


class _MessageType(StateType):
    def __init__(self, declared: type[Message]) -> None:
        super().__init__(declared)
        self._parse = declared.FromString
        self._full_name = str(declared.DESCRIPTOR.full_name)
        self.name = self._full_name

    def pack(self, value: object) -> Any:
        if not isinstance(value, self.type):
            raise self.unfit(value)
        return encode(value)

    def unpack(self, packed: Any) -> object:
        if type_name(packed.type_url) != self._full_name:
            raise self.unfit_stored(packed, MESSAGE_PREFIX + self._full_name)
        try:
            return self._parse(packed.value)
        except DecodeError as error:
            raise AnyError(f"not a valid {self._full_name!r}: {error}") from error


class _PrimitiveType(StateType):
    def __init__(self, declared: type) -> None:
        super().__init__(declared)
        self._type_urls = tuple(PRIMITIVE_PREFIX + name for name in _PRIMITIVES[declared])

    def pack(self, value: object) -> Any:
        # A bool is an int to Python, and nowhere else; an int is a float wherever one is expected.
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type:
            raise self.unfit(value)
        return encode(value)

    def unpack(self, packed: Any) -> object:
        if packed.type_url not in self._type_urls:
            raise self.unfit_stored(packed, self._type_urls[0])
        return decode(packed)


class _NamedJsonType(StateType):
    """JSON of any shape, whose name is part of the value."""

    def pack(self, value: object) -> Any:
        if not isinstance(value, Json):
            raise self.unfit(value)
        return encode(value)

    def unpack(self, packed: Any) -> object:
        return _json_of(self, packed)


class _ShapedJsonType(StateType):
    """JSON of the shape of a dataclass, a list or a dict."""

    def __init__(self, declared: object, where: str) -> None:
        super().__init__(declared)
        self._shape = shape_of(declared, where)
        is_class = isinstance(declared, type) and dataclasses.is_dataclass(declared)
        self._json_name = self.name if is_class else _NAMELESS

    def pack(self, value: object) -> Any:
        if value is None:
            raise self.unfit(value)
        try:
            return encode(Json(self._json_name, self._shape.write(value, "state")))
        except RecursionError:
            raise AnyError("state: too deeply nested") from None

    def unpack(self, packed: Any) -> object:
        # The name is the writer's affair: each language has other ones (Cloudstate protocol, JSON
        # values). What counts is the shape.
        try:
            return self._shape.read(_json_of(self, packed).value, "state")
        except RecursionError:
            raise AnyError("state: too deeply nested") from None


def _json_of(state_type: StateType, packed: Any) -> Json:
    if not packed.type_url.startswith(JSON_PREFIX):
        raise state_type.unfit_stored(packed, f"{JSON_PREFIX}...")
    value = decode(packed)
    assert isinstance(value, Json)
    return value
