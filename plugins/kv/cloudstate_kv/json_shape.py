"""Python values of declared types as JSON, both ways, with errors that say where.

A type is looked at once, when it is declared. What it cannot say in JSON is an error then; a value
that is not of the type is an error when it is written or read, and names the place in it, such as
`state.items[2].quantity`. Nothing is guessed, and nothing is left out.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin, get_type_hints
from typing import Any as AnyType

from cloudstate_core.anys import AnyError
from cloudstate_core.errors import RegistrationError

__all__ = ["Shape", "shape_of"]


class Shape(ABC):
    """How values of one type look in JSON."""

    @abstractmethod
    def write(self, value: object, place: str) -> object:
        """Return what `json.dumps` takes.

        Raises:
            AnyError: The value is not of the type.
        """

    @abstractmethod
    def read(self, data: object, place: str) -> object:
        """Return the value that was written.

        Raises:
            AnyError: What is there is nothing that `write` gives.
        """


def shape_of(declared: object, where: str) -> Shape:
    """Return the shape of a type.

    Args:
        declared: A dataclass, enum, str, int, float, bool, None, `list[T]`, `dict[str, T]`, one of
            these or None, or `Any` for whatever JSON there is.
        where: Whose it is, for error messages.

    Raises:
        RegistrationError: If JSON cannot hold it, or reading could not tell what it was.
    """
    return _Shapes().find(declared, where)


class _Shapes:
    """Makes shapes; each dataclass once, so that it may contain itself."""

    def __init__(self) -> None:
        self._known: dict[type, _DataclassShape] = {}

    def find(self, declared: AnyType, where: str) -> Shape:
        origin, arguments = get_origin(declared), get_args(declared)
        if origin is Annotated:
            return self.find(arguments[0], where)
        if origin in (Union, UnionType):
            return self._optional(arguments, where)
        if declared is list or origin is list:
            return _ListShape(self.find(arguments[0] if arguments else AnyType, where))
        if declared is dict or origin is dict:
            return self._dict(arguments or (str, AnyType), where)
        if declared in _PLAIN:
            return _PlainShape(declared)
        if declared is AnyType or declared is object:
            return _JSON
        if isinstance(declared, type) and issubclass(declared, enum.Enum):
            return _EnumShape(declared, where)
        if isinstance(declared, type) and dataclasses.is_dataclass(declared):
            return self._dataclass(declared, where)
        raise RegistrationError(
            f"{where}: expected a dataclass, an enum, str, int, float, bool, None, list, dict or "
            f"one of these or None, found {_name(declared)}"
        )

    def _optional(self, choices: tuple[AnyType, ...], where: str) -> Shape:
        others = [choice for choice in choices if choice is not NoneType]
        if len(others) != 1:
            raise RegistrationError(
                f"{where}: expected one type or None, found {' | '.join(map(_name, choices))}: "
                "JSON does not tell them apart"
            )
        return _OptionalShape(self.find(others[0], where))

    def _dict(self, arguments: tuple[AnyType, ...], where: str) -> Shape:
        key, item = arguments
        if key is not str:
            raise RegistrationError(
                f"{where}: expected a dict with keys of str, found {_name(key)}"
            )
        return _DictShape(self.find(item, where))

    def _dataclass(self, declared: type, where: str) -> Shape:
        known = self._known.get(declared)
        if known is None:
            known = self._known[declared] = _DataclassShape(declared)
            hints = _hints_of(declared, where)
            for each in dataclasses.fields(declared):
                place = f"{where}: {declared.__qualname__}.{each.name}"
                if not each.init:
                    raise RegistrationError(f"{place}: a field with init=False cannot be read back")
                known.add(each, self.find(hints[each.name], place))
        return known


class _JsonShape(Shape):
    """Whatever JSON can hold."""

    def write(self, value: object, place: str) -> object:
        match value:
            case list():
                return _each(self.write, value, place)
            case dict():
                return _each_value(self.write, value, place)
            case None | bool() | int() | float() | str():
                return _finite(value, place)
            case _:
                raise _unfit(place, "what JSON can hold", value)

    def read(self, data: object, place: str) -> object:
        return data


_JSON = _JsonShape()

_PLAIN: tuple[AnyType, ...] = (str, int, float, bool, None, NoneType)


class _PlainShape(Shape):
    def __init__(self, declared: type | None) -> None:
        self._type = NoneType if declared is None else declared

    def write(self, value: object, place: str) -> object:
        return self.read(value, place)

    def read(self, data: object, place: str) -> object:
        # True is no 1 in JSON; 1 is a float there.
        if type(data) is self._type:
            return _finite(data, place)
        if self._type is float and type(data) is int:
            return float(data)
        raise _unfit(place, _name(self._type), data)


class _OptionalShape(Shape):
    def __init__(self, item: Shape) -> None:
        self._item = item

    def write(self, value: object, place: str) -> object:
        return None if value is None else self._item.write(value, place)

    def read(self, data: object, place: str) -> object:
        return None if data is None else self._item.read(data, place)


class _ListShape(Shape):
    def __init__(self, item: Shape) -> None:
        self._item = item

    def write(self, value: object, place: str) -> object:
        return _each(self._item.write, value, place)

    def read(self, data: object, place: str) -> object:
        return _each(self._item.read, data, place)


class _DictShape(Shape):
    def __init__(self, item: Shape) -> None:
        self._item = item

    def write(self, value: object, place: str) -> object:
        return _each_value(self._item.write, value, place)

    def read(self, data: object, place: str) -> object:
        return _each_value(self._item.read, data, place)


class _EnumShape(Shape):
    """A member as its value."""

    def __init__(self, declared: type[enum.Enum], where: str) -> None:
        self._type = declared
        self._members = {member.value: member for member in declared}
        for member in declared:
            if type(member.value) not in (str, int):
                raise RegistrationError(
                    f"{where}: expected members of {declared.__qualname__} with values of str or "
                    f"int, found {member.name} = {member.value!r}"
                )

    def write(self, value: object, place: str) -> object:
        if not isinstance(value, self._type):
            raise _unfit(place, _name(self._type), value)
        return value.value

    def read(self, data: object, place: str) -> object:
        known = self._members.get(data) if type(data) in (str, int) else None
        if known is None:
            choices = ", ".join(map(repr, self._members))
            raise AnyError(f"{place}: expected one of {choices}, found {_shown(data)}")
        return known


class _DataclassShape(Shape):
    """An object with a member for each field."""

    def __init__(self, declared: type) -> None:
        self._type = declared
        self._shapes: dict[str, Shape] = {}
        self._required: list[str] = []

    def add(self, field: dataclasses.Field[AnyType], shape: Shape) -> None:
        self._shapes[field.name] = shape
        missing = dataclasses.MISSING
        if field.default is missing and field.default_factory is missing:
            self._required.append(field.name)

    def write(self, value: object, place: str) -> object:
        # What a derived class has beside these fields would be lost.
        if type(value) is not self._type:
            raise _unfit(place, _name(self._type), value)
        return {
            name: shape.write(getattr(value, name), f"{place}.{name}")
            for name, shape in self._shapes.items()
        }

    def read(self, data: object, place: str) -> object:
        if not isinstance(data, dict):
            raise _unfit(place, f"an object with the fields of {_name(self._type)}", data)
        for name in data:
            if name not in self._shapes:
                raise AnyError(f"{place}: {_name(self._type)} has no field {_shown(name)}")
        for name in self._required:
            if name not in data:
                raise AnyError(f"{place}.{name}: expected a value, found none")
        read = {
            name: self._shapes[name].read(item, f"{place}.{name}") for name, item in data.items()
        }
        try:
            return self._type(**read)
        except Exception as error:  # a class may refuse values in its own words
            raise AnyError(f"{place}: {_name(self._type)}: {error}") from error


def _hints_of(declared: type, where: str) -> dict[str, AnyType]:
    try:
        return get_type_hints(declared, include_extras=True)
    except NameError as error:
        raise RegistrationError(
            f"{where}: {declared.__qualname__}: the annotation {error.name!r} is not defined at "
            "run time; define or import it at the top of the module, outside `if TYPE_CHECKING`"
        ) from error


def _each(change: Callable[[object, str], object], items: object, place: str) -> list[object]:
    if not isinstance(items, list):
        raise _unfit(place, "a list", items)
    return [change(item, f"{place}[{index}]") for index, item in enumerate(items)]


def _each_value(
    change: Callable[[object, str], object], items: object, place: str
) -> dict[str, object]:
    if not isinstance(items, dict):
        raise _unfit(place, "a dict", items)
    for key in items:
        if not isinstance(key, str):
            raise _unfit(place, "keys of str", key)
    return {key: change(item, f"{place}[{_shown(key)}]") for key, item in items.items()}


def _finite(value: object, place: str) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise _unfit(place, "a finite number", value)
    return value


def _unfit(place: str, expected: str, found: object) -> AnyError:
    return AnyError(f"{place}: expected {expected}, found {_shown(found)}")


#: An error message is read by a person.
_MAX_SHOWN_CHARACTERS = 40


def _shown(value: object) -> str:
    """Return a short value as it is, and what any other is."""
    if value is None or isinstance(value, str | int | float):
        text = repr(value)
        if len(text) <= _MAX_SHOWN_CHARACTERS:
            return text
    return type(value).__name__


def _name(declared: object) -> str:
    return "None" if declared is NoneType else getattr(declared, "__qualname__", repr(declared))
