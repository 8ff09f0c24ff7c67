"""What a CRDT entity begins with that nobody has created yet."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import get_origin

from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import describe, is_async, is_generator
from cloudstate_crdt.data.crdt import Crdt, crdt_types, fresh
from cloudstate_crdt.data.lwwregister import LWWRegister

__all__ = ["Default"]


class Default:
    """Makes the CRDT of an entity that has none.

    Attributes:
        type: What it makes; None if only the entity id tells.
    """

    def __init__(self, default: object, where: str) -> None:
        """Look at what the application declares.

        Args:
            default: A type, or a function of the entity id, or of nothing, that returns a type or a
                new value.
            where: Whose it is, for error messages.

        Raises:
            RegistrationError: It is neither.
        """
        default = get_origin(default) or default
        self.type: type[Crdt] | None = None
        if isinstance(default, type):
            self.type = _checked(default, where)
            self._make: Callable[..., object] = default
            self._takes_id = False
            return
        if not callable(default):
            raise RegistrationError(
                f"{where}: expected the default to be a type of CRDT, such as GCounter, or a "
                f"function of the entity id, found {default!r}"
            )
        if is_async(default) or is_generator(default):
            raise RegistrationError(f"{describe(default)}: default: expected a plain function")
        self._make = default
        self._takes_id = _takes_id(default)

    def make(self, entity_id: str) -> Crdt:
        """Return the CRDT that an entity begins with.

        Raises:
            TypeError: What the application declares has returned something else.
        """
        made = self._make(entity_id) if self._takes_id else self._make()
        if isinstance(made, Crdt):
            return made
        if not isinstance(made, type):
            raise TypeError(
                f"{describe(self._make)}: expected a type of CRDT or a new value, found {made!r}"
            )
        return fresh(made)


def _checked(default: type, where: str) -> type[Crdt]:
    if default is LWWRegister:
        raise RegistrationError(
            f"{where}: an LWWRegister begins with a value: expected a function, such as "
            "lambda entity_id: LWWRegister(''), found the type"
        )
    if default not in crdt_types():
        names = ", ".join(sorted(each.__name__ for each in crdt_types()))
        raise RegistrationError(
            f"{where}: expected the default to be one of {names}, found {default.__name__}"
        )
    return default


def _takes_id(make: Callable[..., object]) -> bool:
    parameters = inspect.signature(make).parameters.values()
    required = [
        each
        for each in parameters
        if each.default is each.empty and each.kind not in {each.VAR_POSITIONAL, each.VAR_KEYWORD}
    ]
    if len(required) > 1 or any(each.kind is each.KEYWORD_ONLY for each in required):
        raise RegistrationError(
            f"{describe(make)}: default: expected a function of the entity id, or of nothing; "
            f"found parameters {', '.join(each.name for each in required)}"
        )
    return bool(required)
