"""One setting's value: which types a field may have, and what of each type is accepted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["Between", "Env", "Hint", "Secret", "from_text", "hints_of", "typed"]

_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}


@dataclass(frozen=True, slots=True)
class Between:
    """In an annotation: the least and the greatest value that a number may have."""

    minimum: float
    maximum: float


class Env:
    """In an annotation: further environment variables for a field, the strongest first."""

    def __init__(self, *names: str) -> None:
        self.names = names


class Secret:
    """In an annotation: no error shows the value. Give the field `repr=False` as well."""


Many = type[list[object]] | type[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Hint:
    """What a field's annotation says.

    Attributes:
        type: `str`, `int`, `float`, `bool` or `Path`: of the value, or of each item.
        many: `list` or `tuple` if the value is a list, else None.
        choices: The only texts allowed; empty if any is.
        between: Bounds of a number.
        env: Further environment variables.
        is_secret: Whether nobody is shown the value.
    """

    type: type
    many: Many | None = None
    choices: tuple[str, ...] = ()
    between: Between | None = None
    env: tuple[str, ...] = ()
    is_secret: bool = False


def hints_of(section_type: type) -> dict[str, Hint]:
    """Return what the annotations of a dataclass say, by field.

    Raises:
        TypeError: A field has a type that settings cannot have.
    """
    hints = {}
    for name, annotation in get_type_hints(section_type, include_extras=True).items():
        try:
            hints[name] = _hint_of(annotation)
        except TypeError as error:
            raise TypeError(f"field {name!r}: {error}") from None
    return hints


def _hint_of(annotation: object) -> Hint:
    between: Between | None = None
    env: tuple[str, ...] = ()
    is_secret = False
    if get_origin(annotation) is Annotated:
        annotation, *extras = get_args(annotation)
        is_secret = any(isinstance(extra, Secret) for extra in extras)
        between = next((extra for extra in extras if isinstance(extra, Between)), None)
        env = next((extra.names for extra in extras if isinstance(extra, Env)), env)
    if get_origin(annotation) in (Union, UnionType):
        # None is "not set", which no source can say; what is left is the type.
        rest = [each for each in get_args(annotation) if each is not NoneType]
        if len(rest) != 1:
            raise TypeError(f"expected one type, with or without None, found {annotation!r}")
        annotation = rest[0]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal and all(isinstance(each, str) for each in arguments):
        return Hint(str, choices=arguments, env=env)
    if origin is list:
        return Hint(_plain(arguments[0]), many=list, between=between, env=env)
    if origin is tuple and arguments[1:] == (...,):
        return Hint(_plain(arguments[0]), many=tuple, between=between, env=env)
    return Hint(_plain(annotation), between=between, env=env, is_secret=is_secret)


def _plain(annotation: object) -> type:
    if isinstance(annotation, type) and annotation in _ACCEPT:
        return annotation
    raise TypeError(
        f"expected str, int, float, bool, Path, a Literal of texts or a list of these, "
        f"found {annotation!r}"
    )


def from_text(text: str, hint: Hint) -> object:
    """Turn the text of an environment variable into what a TOML file would hold.

    A text that is not of the wanted type is returned as it is; `typed` then refuses it.
    """
    if hint.many is not None:
        return [_scalar(item.strip(), hint.type) for item in text.split(",") if item.strip()]
    return _scalar(text, hint.type)


def _scalar(text: str, type_: type) -> object:
    if type_ is bool:
        lowered = text.strip().lower()
        return True if lowered in _TRUE else False if lowered in _FALSE else text
    if type_ not in (int, float):
        return text
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def typed(value: object, hint: Hint) -> object:
    """Return `value` as the type that `hint` asks for.

    Raises:
        ValueError: It is of another type, out of bounds, or none of the choices.
    """
    if hint.many is None:
        return _one(value, hint)
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list, found {value!r}")  # noqa: TRY004 - of a value
    return hint.many(_one(item, hint) for item in value)


def _one(value: object, hint: Hint) -> object:
    expected, accept = _ACCEPT[hint.type]
    accepted = accept(value)
    if accepted is None and hint.is_secret:
        raise ValueError(f"expected {expected}, found something else, which is not shown")
    if accepted is None:
        raise ValueError(f"expected {expected}, found {value!r}")
    if hint.choices and accepted not in hint.choices:
        raise ValueError(f"expected one of {', '.join(hint.choices)}, found {value!r}")
    if hint.between is not None and isinstance(accepted, int | float):
        low, high = hint.between.minimum, hint.between.maximum
        if not low <= accepted <= high:
            raise ValueError(f"expected a value between {low} and {high}, found {value!r}")
    return accepted


def _integer(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> object:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    # Infinity would take a limit away, and NaN compares as neither too small nor too large.
    return number if math.isfinite(number) else None


def _path(value: object) -> object:
    if isinstance(value, Path):
        return value
    return Path(value) if isinstance(value, str) and value and "\0" not in value else None


# For each type: how to call it in a message, and what turns a value into it, or into None.
_ACCEPT: dict[type, tuple[str, Callable[[object], object]]] = {
    bool: ("true or false", lambda value: value if isinstance(value, bool) else None),
    int: ("an integer", _integer),
    float: ("a finite number", _number),
    str: ("text", lambda value: value if isinstance(value, str) else None),
    Path: ("a path", _path),
}
