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
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cloudstate_core.errors import RegistrationError

__all__ = [
    "Handler",
    "Slot",
    "bind",
    "choices_of",
    "describe",
    "is_async",
    "is_generator",
    "same_type",
    "signature_of",
]


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
        call: Calls the function with those of the values given that it asks for.
        function: As registered.
        is_async: Whether calling it gives an awaitable.
        where: Its name, file and line, for error messages.
    """

    __slots__ = ("_indexes", "call", "function", "is_async", "where")

    def __init__(self, function: Callable[..., Any], indexes: tuple[int, ...]) -> None:
        """Keep the function and the positions of the values it takes, in its own order."""
        self.function = function
        self.is_async = is_async(function)
        self.where = describe(function)
        self.call = _caller(function, indexes)
        self._indexes = frozenset(indexes)

    def __call__(self, *values: object) -> Any:  # whatever the function returns
        """Call the function with those of `values` it asked for."""
        return self.call(*values)

    def takes(self, index: int) -> bool:
        """Return whether the function asks for the value that stands at this place."""
        return index in self._indexes


def bind(
    function: Callable[..., Any], slots: Sequence[Slot], *, may_yield: bool = False
) -> Handler:
    """Work out which slot each parameter of a handler asks for.

    Args:
        function: Any callable with annotated parameters.
        slots: What can be asked for. The first that accepts an annotation gets the parameter. If
            several parameters have such an annotation, the last of them is for the first slot, and
            those before it for the slots after it: `(state: str, event: str)`.
        may_yield: Whether the function may be a generator.

    Raises:
        RegistrationError: Naming the function and its place, if a parameter has no annotation, asks
            for nothing that is offered, or for the same thing as another one.
    """
    where = describe(function)
    signature = signature_of(function)
    if not may_yield and is_generator(function):
        raise RegistrationError(f"{where}: expected a function that returns, found a generator")
    asked = {
        parameter.name: _slots_for(parameter, slots, where)
        for parameter in signature.parameters.values()
        if not _is_left_out(parameter, where)
    }
    indexes: list[int] = []
    for name, accepting in asked.items():
        alike = [other for other, others in asked.items() if others == accepting]
        index = accepting[(len(alike) - 1 - alike.index(name)) % len(accepting)]
        if index in indexes:
            raise RegistrationError(
                f"{where}: two parameters ask for the {slots[index].name}; remove {name!r}"
            )
        indexes.append(index)
    return Handler(function, tuple(indexes))


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a callable, with annotations that were written as text resolved.

    Raises:
        RegistrationError: Naming the function and its place, if it is no function, or an annotation
            means nothing at run time.
    """
    where = describe(function)
    if not callable(function):
        raise RegistrationError(f"expected a function, found {function!r}")
    try:
        signature = inspect.signature(function)
        hints = get_type_hints(_innermost(function), include_extras=True)
    except NameError as error:
        raise RegistrationError(
            f"{where}: the annotation {error.name!r} is not defined at run time; define or import "
            "it at the top of the module, outside `if TYPE_CHECKING`"
        ) from error
    except Exception as error:  # an annotation may be any expression
        raise RegistrationError(f"{where}: its annotations cannot be read: {error}") from error
    return signature.replace(
        parameters=[
            parameter.replace(annotation=hints.get(name, parameter.annotation))
            for name, parameter in signature.parameters.items()
        ],
        return_annotation=hints.get("return", signature.return_annotation),
    )


def describe(function: object) -> str:
    """Return where a function stands: its name, file and line."""
    inner = _innermost(function)
    code = getattr(inner, "__code__", None)
    name = getattr(inner, "__qualname__", None) or repr(function)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else name


def is_async(function: object) -> bool:
    """Return whether calling a function gives an awaitable, as far as its declaration tells."""
    return inspect.iscoroutinefunction(_called(function))


def is_generator(function: object) -> bool:
    """Return whether calling a function gives a generator, as far as its declaration tells."""
    called = _called(function)
    return inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called)


def same_type(annotation: object, wanted: object) -> bool:
    """Return whether an annotation names a type: itself, its generic form, or one of a union."""
    return any(
        choice == each or (get_origin(choice) or choice) == (get_origin(each) or each)
        for choice in choices_of(annotation)
        for each in choices_of(wanted)
    )


def choices_of(annotation: object) -> list[object]:
    """Return the types of a union other than None, or the one type that an annotation names."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return choices_of(get_args(annotation)[0])
    if origin is Union or origin is UnionType:
        return [type_ for choice in get_args(annotation) for type_ in choices_of(choice)]
    return [] if annotation is None or annotation is NoneType else [annotation]


def _is_left_out(parameter: inspect.Parameter, where: str) -> bool:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        raise RegistrationError(
            f"{where}: parameter {stars}{parameter.name} cannot be filled; name what is asked for, "
            "and use functools.wraps in a decorator"
        )
    if parameter.kind is not parameter.KEYWORD_ONLY:
        return False
    if parameter.default is parameter.empty:
        raise RegistrationError(f"{where}: parameter {parameter.name!r} must not be keyword-only")
    return True


def _slots_for(parameter: inspect.Parameter, slots: Sequence[Slot], where: str) -> list[int]:
    if parameter.annotation is parameter.empty:
        raise RegistrationError(
            f"{where}: parameter {parameter.name!r} has no type annotation; "
            f"annotate it as one of {_choices(slots)}"
        )
    accepting = [i for i, slot in enumerate(slots) if slot.accepts(parameter.annotation)]
    if not accepting:
        raise RegistrationError(
            f"{where}: nothing to give for parameter {parameter.name!r} of type "
            f"{_type_name(parameter.annotation)}; expected one of {_choices(slots)}"
        )
    return accepting


def _called(function: object) -> object:
    """Return the function that runs when `function` is called."""
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, type):
        return type(function).__call__ if callable(function) else function
    return function


def _innermost(function: object) -> Any:
    """Return the function that its author wrote, inside what decorators made of it."""
    return inspect.unwrap(_called(function))  # type: ignore[arg-type]  # anything will do


def _caller(function: Callable[..., Any], indexes: tuple[int, ...]) -> Callable[..., Any]:
    # The short ones are written out: they are most, and picking values with anything else takes as
    # long as a short handler does.
    match indexes:
        case ():
            return lambda *_: function()
        case (only,):
            return lambda *values: function(values[only])
        case (first, second):
            return lambda *values: function(values[first], values[second])
        case _:
            pick = itemgetter(*indexes)
            return lambda *values: function(*pick(values))


def _choices(slots: Sequence[Slot]) -> str:
    return ", ".join(f"the {slot.name}" for slot in slots)


def _type_name(annotation: object) -> str:
    return getattr(annotation, "__qualname__", None) or repr(annotation)
