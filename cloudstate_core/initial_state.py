"""The state of an entity without events, and what its type is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import Any as AnyType
from typing import get_origin

from cloudstate_core.anys import AnyError
from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import choices_of, describe, is_async, signature_of

__all__ = ["InitialState"]


class InitialState:
    """Makes initial states.

    Attributes:
        type: The type of the state, as far as the function tells; None if it does not.
    """

    def __init__(self, make: Callable[..., object]) -> None:
        """Look at the function: whether it takes the entity id, and what it returns.

        Raises:
            RegistrationError: If it is no plain function of at most one parameter.
        """
        if not callable(make):
            raise RegistrationError(f"init_state: expected a function, found {make!r}")
        where = describe(make)
        if is_async(make) or inspect.isgeneratorfunction(make):
            raise RegistrationError(f"{where}: init_state: expected a plain function")
        signature = _signature(make)
        self.type = make if isinstance(make, type) else _result_type(signature)
        self._make = make
        self._takes_id = signature is not None and _takes_id(signature, where)
        self._classes = _classes_of(self.type)

    def make(self, entity_id: str) -> object:
        """Return the state of an entity that has no events."""
        return self._make(entity_id) if self._takes_id else self._make()

    def replaced(self, returned: object, where: str) -> object:
        """Return what a handler returned in the state's place.

        Raises:
            AnyError: If it is no state.
        """
        if self._classes is None:
            fits = not isinstance(returned, CoroutineType)
        else:
            fits = isinstance(returned, self._classes)
        if not fits:
            expected = "state" if self._classes is None else _names(self._classes)
            raise AnyError(
                f"{where}: expected None or a new {expected}, found {type(returned).__name__}"
            )
        return returned


def _signature(make: Callable[..., object]) -> inspect.Signature | None:
    """Return the signature; None for those built-in types that tell nothing, such as dict."""
    if isinstance(make, type):
        try:
            return inspect.signature(make)
        except (TypeError, ValueError):
            return None
    return signature_of(make)


def _takes_id(signature: inspect.Signature, where: str) -> bool:
    required = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    ]
    if len(required) > 1 or any(each.kind is each.KEYWORD_ONLY for each in required):
        raise RegistrationError(
            f"{where}: init_state: expected a function of the entity id, or of nothing; found "
            f"parameters {', '.join(each.name for each in required)}"
        )
    return bool(required)


def _result_type(signature: inspect.Signature | None) -> object:
    if signature is None or not choices_of(signature.return_annotation):
        return None
    told = signature.return_annotation
    return None if told is signature.empty or told is AnyType or told is object else told


def _classes_of(state_type: object) -> tuple[type, ...] | None:
    """Return the classes whose instances are states; None if that cannot be told."""
    classes = [get_origin(choice) or choice for choice in choices_of(state_type)]
    for each in classes:
        try:
            isinstance(None, each)  # type: ignore[arg-type]  # whether that works is the question
        except TypeError:
            return None  # a protocol, a typed dict, a new type
    return tuple(each for each in classes if isinstance(each, type)) or None


def _names(classes: tuple[type, ...]) -> str:
    return " or ".join(each.__name__ for each in classes)
