"""Handing a handler the parameters it asks for, by their type annotations.

Annotations are read once, when the handler is registered. What is left for a call is to pick values
out of a tuple.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from types import UnionType
from typing import Any, Union, get_args, get_origin

from cloudstate_core.errors import RegistrationError

__all__ = ["Handler", "Slot", "bind", "describe", "same_type"]


@dataclass(frozen=True, slots=True)
class Slot:
    """One value a handler can ask for.

    Attributes:
        name: What it is, for error messages.
        accepts: Whether an annotation asks for it.
    """

    name: str
    accepts: Callable[[object], bool]


class Handler:
    """A function and which of the offered values it takes.

    Attributes:
        function: As registered.
        is_async: Whether calling it gives an awaitable.
        where: Its name, file and line, for error messages.
    """

    __slots__ = ("_pick", "function", "is_async", "where")

    def __init__(self, function: Callable[..., Any], indexes: tuple[int, ...]) -> None:
        """Keep the function and the positions of the values it takes, in its own order."""
        self.function = function
        self.is_async = inspect.iscoroutinefunction(_unwrapped(function))
        self.where = describe(function)
        self._pick = _picker(indexes)

    def __call__(self, *values: object) -> Any:  # whatever the function returns
        """Call the function with those of `values` it asked for."""
        return self.function(*self._pick(values))


def bind(function: Callable[..., Any], slots: Sequence[Slot]) -> Handler:
    """Work out which slot each parameter of a handler asks for.

    Args:
        function: Any callable with annotated parameters.
        slots: What can be asked for. The first that accepts an annotation gets the parameter.

    Raises:
        RegistrationError: Naming the function and its place, if a parameter has no annotation, asks
            for nothing that is offered, or for the same thing as another one.
    """
    where = describe(function)
    if not callable(function):
        raise RegistrationError(f"{where}: expected a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RegistrationError(f"{where}: expected a function that returns, found a generator")
    indexes: list[int] = []
    for parameter in _signature(function, where).parameters.values():
        index = _slot_for(parameter, slots, where)
        if index is None:
            continue
        if index in indexes:
            raise RegistrationError(
                f"{where}: two parameters ask for the {slots[index].name}; "
                f"remove {parameter.name!r}"
            )
        indexes.append(index)
    return Handler(function, tuple(indexes))


def describe(function: object) -> str:
    """Return where a function stands: its name, file and line."""
    inner = _unwrapped(function)
    code = getattr(inner, "__code__", None)
    name = getattr(inner, "__qualname__", None) or repr(function)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else name


def same_type(annotation: object, wanted: object) -> bool:
    """Return whether an annotation names a type: itself, its generic form, or one of a union."""
    if annotation is wanted or annotation == wanted:
        return True
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        return any(same_type(choice, wanted) for choice in get_args(annotation))
    wanted_origin = get_origin(wanted) or wanted
    return origin is not None and origin is wanted_origin


def _slot_for(parameter: inspect.Parameter, slots: Sequence[Slot], where: str) -> int | None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise RegistrationError(f"{where}: parameter *{parameter.name} cannot be filled; name it")
    if parameter.kind is parameter.KEYWORD_ONLY:
        if parameter.default is not parameter.empty:
            return None
        raise RegistrationError(f"{where}: parameter {parameter.name!r} must not be keyword-only")
    if parameter.annotation is parameter.empty:
        raise RegistrationError(
            f"{where}: parameter {parameter.name!r} has no type annotation; "
            f"annotate it as one of {_choices(slots)}"
        )
    for index, slot in enumerate(slots):
        if slot.accepts(parameter.annotation):
            return index
    raise RegistrationError(
        f"{where}: nothing to give for parameter {parameter.name!r} of type "
        f"{_type_name(parameter.annotation)}; expected one of {_choices(slots)}"
    )


def _signature(function: Callable[..., Any], where: str) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError as error:
        raise RegistrationError(
            f"{where}: the annotation {error.name!r} is not defined at run time; "
            "import it outside `if TYPE_CHECKING`"
        ) from error
    except (TypeError, ValueError) as error:
        raise RegistrationError(f"{where}: its signature cannot be read: {error}") from error


def _unwrapped(function: object) -> object:
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, type):
        return type(function).__call__ if callable(function) else function
    return function


def _picker(indexes: tuple[int, ...]) -> Callable[[tuple[object, ...]], tuple[object, ...]]:
    match indexes:
        case ():
            return lambda _: ()
        case (only,):
            return lambda values: (values[only],)
        case _:
            return itemgetter(*indexes)


def _choices(slots: Sequence[Slot]) -> str:
    return ", ".join(f"the {slot.name}" for slot in slots)


def _type_name(annotation: object) -> str:
    return getattr(annotation, "__qualname__", None) or repr(annotation)
