"""What all replicated values have in common.

A value changes in two ways: a handler changes it, which is kept as the pending delta until that is
taken for the runtime; and the runtime sends a delta of what came from elsewhere.

There are as many types as the protocol has deltas (`CrdtDelta`, a closed choice).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any as AnyType
from typing import ClassVar, Protocol

from cloudstate.crdt_pb2 import CrdtDelta

__all__ = ["Crdt", "Holder", "WrongDelta", "crdt_from", "crdt_types", "fresh", "integer"]


class WrongDelta(ValueError):
    """A delta is not for the value that it was sent to. The value must not be used further."""


class Holder(Protocol):
    """What a value belongs to: an entity, or a map."""

    def admit_change(self, place: object, /) -> None:
        """Take note that the value at a place is about to change.

        Raises:
            RuntimeError: It must not change now.
        """
        ...


class _Nowhere:
    """What a value belongs to that was taken out of its map."""

    def admit_change(self, place: object, /) -> None:
        del place
        raise RuntimeError("this value was removed from its map: a change of it would be lost")


_NOWHERE = _Nowhere()
_types: dict[str, type[Crdt]] = {}


class Crdt(ABC):
    """One replicated value.

    It is changed by the handler that it is given to, until that returns, and by nobody else.

    Attributes:
        delta_name: The field of `CrdtDelta` that is for this type.
    """

    delta_name: ClassVar[str]

    def __init_subclass__(cls, **options: AnyType) -> None:
        super().__init_subclass__(**options)
        if "delta_name" in vars(cls):
            _types[cls.delta_name] = cls

    def __init__(self) -> None:
        """Begin with the value that every replica begins with."""
        self._holder: Holder | None = None
        self._place: object = None

    # What follows is called by the session, and by the map that the value is in.

    def belong(self, holder: Holder, place: object = None) -> None:
        """Become part of an entity or a map.

        Raises:
            RuntimeError: It is part of one.
        """
        if self._holder is not None:
            raise RuntimeError(f"this {type(self).__name__} is in use already; make a new one")
        self._holder, self._place = holder, place

    def leave(self) -> None:
        """Belong to nothing any more, and refuse every change."""
        self._holder = _NOWHERE

    def take_delta(self) -> CrdtDelta | None:
        """Return what was changed since the last time, None if nothing was, and begin anew."""
        delta = self.pending()
        self.forget_pending()
        return delta

    def apply(self, delta: CrdtDelta) -> None:
        """Take in what came from elsewhere: a change, or a whole state while there was none.

        Raises:
            WrongDelta: It is for another type.
        """
        name = delta.WhichOneof("delta")
        if name != self.delta_name:
            raise WrongDelta(f"expected a delta of type {self.delta_name!r}, found {name!r}")
        self._apply(getattr(delta, name))

    @abstractmethod
    def pending(self) -> CrdtDelta | None:
        """Return what was changed since the last `take_delta`; None if nothing was."""

    @abstractmethod
    def forget_pending(self) -> None:
        """Take what was changed as sent."""

    @abstractmethod
    def whole(self) -> CrdtDelta:
        """Return the delta that leads from the type's beginning to this value."""

    @abstractmethod
    def _apply(self, inner: AnyType) -> None:
        """Take in the part of a delta that is for this type."""

    @classmethod
    def _beginning(cls) -> Crdt:
        """Return the value to which a whole state can be applied."""
        return cls()

    def _before_change(self) -> None:
        """Be called before every change by a handler.

        Raises:
            RuntimeError: It must not change now.
        """
        if self._holder is not None:
            self._holder.admit_change(self._place)


def crdt_types() -> frozenset[type[Crdt]]:
    """Return all types."""
    return frozenset(_types.values())


def crdt_from(delta: CrdtDelta) -> Crdt:
    """Return a value with the state that a delta holds.

    Raises:
        WrongDelta: The delta is of no type, or holds one inside that is.
    """
    name = delta.WhichOneof("delta")
    if name is None:
        raise WrongDelta("expected a delta of some type, found one of none")
    made = _types[name]._beginning()  # noqa: SLF001  # of the same family
    made.apply(delta)
    return made


def fresh(made: object) -> Crdt:
    """Return a new value, given that itself, its type, or what makes one.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(made, Crdt):
        return made
    if not isinstance(made, type):  # `ORSet[str]` is none, and makes what `ORSet` makes
        made = getattr(made, "__origin__", made)
    if made is _types["lwwregister"]:
        raise TypeError(
            "an LWWRegister begins with a value: expected LWWRegister(value), or "
            "lambda: LWWRegister(value), found the type alone"
        )
    found = made() if callable(made) else made
    if not isinstance(found, Crdt):
        names = ", ".join(sorted(each.__name__ for each in crdt_types()))
        raise TypeError(f"expected one of {names}, found {found!r}")
    return found


def integer(what: str, number: object) -> int:
    """Return a number if it is a whole one.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{what}: expected an int, found {number!r}")
    return number
