"""Which handler takes a stored value: by the type its `Any` names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message

from cloudstate_core.anys import (
    JSON_PREFIX,
    PRIMITIVE_PREFIX,
    AnyError,
    Json,
    decode,
    type_name,
)
from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import Handler

__all__ = ["PRIMITIVES", "HandlersByType", "ValueHandler"]

#: Python types that stand for protobuf scalars, with the scalars they take.
PRIMITIVES: dict[type, tuple[str, ...]] = {
    str: ("string",),
    bytes: ("bytes",),
    int: ("int64", "int32"),
    float: ("double", "float"),
    bool: ("bool",),
}

Read = Callable[[Any], object]

# Where the context stands among what a handler of a value can ask for; see `Slots.for_value`.
_CONTEXT = 2


class ValueHandler:
    """A handler and how to read the values it takes.

    Attributes:
        handler: The function.
        read: Unpacks a value; raises AnyError if the bytes are not of the type.
        asks_for_context: Whether the handler takes the context.
    """

    __slots__ = ("asks_for_context", "handler", "read")

    def __init__(self, handler: Handler, read: Read) -> None:
        """Keep both."""
        self.handler, self.read = handler, read
        self.asks_for_context = handler.takes(_CONTEXT)


class HandlersByType:
    """The handlers of one sort of value, such as events, by the type of the value."""

    def __init__(self, what: str) -> None:
        """Start empty; `what` is the word for the values, for error messages."""
        self._what = what
        self._by_name: dict[str, ValueHandler] = {}

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def add(self, value_type: type, handler: Handler) -> None:
        """Let `handler` take the values of a type.

        Args:
            value_type: A message class, a primitive type, or `Json` for all JSON.
            handler: The function.

        Raises:
            RegistrationError: If it is no such type, or is taken already.
        """
        for name in _names_of(value_type, handler.where):
            if name in self._by_name:
                raise RegistrationError(
                    f"{handler.where}: {self._what}s of type {name} are handled already by "
                    f"{self._by_name[name].handler.where}"
                )
            self._by_name[name] = ValueHandler(handler, _reader(value_type))

    def find(self, type_url: str) -> ValueHandler:
        """Return what takes values of a type.

        Raises:
            AnyError: If nothing does.
        """
        # Whole type URLs stand beside the names, so that replay finds them in one step.
        found = self._by_name.get(type_url)
        return found if found is not None else self._find_by_name(type_url)

    def _find_by_name(self, type_url: str) -> ValueHandler:
        if type_url.startswith(JSON_PREFIX):
            name = JSON_PREFIX
        elif type_url.startswith(PRIMITIVE_PREFIX):
            name = type_url
        else:
            name = type_name(type_url)
        found = self._by_name.get(name)
        if found is None:
            raise AnyError(
                f"no {self._what} handler for {type_url!r}: add @entity."
                f"{self._what}_handler for that type"
            )
        if name != JSON_PREFIX:  # names of JSON values are not bounded
            self._by_name[type_url] = found
        return found


def _names_of(value_type: type, where: str) -> tuple[str, ...]:
    if value_type is Json:
        return (JSON_PREFIX,)
    if value_type in PRIMITIVES:
        return tuple(PRIMITIVE_PREFIX + name for name in PRIMITIVES[value_type])
    # What is packed into an `Any` is never another `Any`.
    if _is_generated(value_type) and value_type is not Any:
        return (str(value_type.DESCRIPTOR.full_name),)
    raise RegistrationError(
        f"{where}: expected a generated message class, str, bytes, int, float, bool or Json, found "
        f"{value_type!r}"
    )


def _is_generated(value_type: type) -> TypeGuard[type[Message]]:
    return issubclass(value_type, Message) and value_type is not Message


def _reader(value_type: type) -> Read:
    if not _is_generated(value_type):
        return decode
    parse, name = value_type.FromString, value_type.DESCRIPTOR.full_name

    def read(packed: Any) -> object:
        try:
            return parse(packed.value)
        except DecodeError as error:
            raise AnyError(f"not a valid {name!r}: {error}") from error

    return read
