"""The state of an entity without events, and what its type is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any as AnyType

from cloudstate_core.anys import AnyError
from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import describe

__all__ = ["InitialState"]


class InitialState:
    """Makes initial states.

    Attributes:
        type: The type of the state, as far as the function tells; None if it does not.
    """

    def __init__(self, make: Callable[..., object]) -> None:
        """Look at the function: whether it takes the entity id, and what it returns.

        Raises:
            RegistrationError: If it is no function of at most one parameter.
        """
        if not callable(make):
            raise RegistrationError(f"init_state: expected a function, found {make!r}")
        self.type = _type_of_result(make)
        self._make = make
        self._takes_id = _takes_id(make)

    def make(self, entity_id: str) -> object:
        """Return the state of an entity that has no events."""
        return self._make(entity_id) if self._takes_id else self._make()

    def replaced(self, returned: object, where: str) -> object:
        """Return what a handler returned in the state's place.

        Raises:
            AnyError: If it is no state.
        """
        if isinstance(self.type, type) and not isinstance(returned, self.type):
            raise AnyError(
                f"{where}: expected None or a new {self.type.__name__}, found "
                f"{type(returned).__name__}"
            )
        return returned


def _takes_id(make: Callable[..., object]) -> bool:
    try:
        parameters = [
            parameter
            for parameter in inspect.signature(make).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        ]
    except (TypeError, ValueError):
        return False  # a built-in type, such as dict
    if len(parameters) > 1:
        raise RegistrationError(
            f"{describe(make)}: expected a function of the entity id, found one of "
            f"{len(parameters)} parameters"
        )
    return bool(parameters)


def _type_of_result(make: Callable[..., object]) -> object:
    if isinstance(make, type):
        return make
    try:
        returned = inspect.signature(make, eval_str=True).return_annotation
    except (TypeError, ValueError, NameError):
        return None
    return None if returned in {inspect.Signature.empty, None, AnyType, object} else returned
