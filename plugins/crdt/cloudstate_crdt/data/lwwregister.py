"""A value of which the write with the greatest clock stays."""

from __future__ import annotations

from enum import IntEnum
from typing import Any as AnyType
from typing import ClassVar, Generic, cast

from typing_extensions import TypeVar

from cloudstate.crdt_pb2 import CrdtDelta, LWWRegisterDelta
from cloudstate_crdt.data.crdt import Crdt, integer
from cloudstate_crdt.data.elements import Element

__all__ = ["Clock", "LWWRegister"]

# With a default, since who names no type gets `Any`, and no error in strict mode.
V = TypeVar("V", default=AnyType)

_INT64 = range(-(2**63), 2**63)


class Clock(IntEnum):
    """How a write is dated. All writes of a register should be dated in one way."""

    #: The time: the last write stays.
    DEFAULT = 0
    #: The negated time: the first write stays.
    REVERSE = 1
    #: The number given: the write with the greatest one stays.
    CUSTOM = 2
    #: The number given, or one more than the present one where that is not below it.
    CUSTOM_AUTO_INCREMENT = 3


_CUSTOM = (Clock.CUSTOM, Clock.CUSTOM_AUTO_INCREMENT)


class LWWRegister(Crdt, Generic[V]):
    """One value that is replaced as a whole; of several writes, the one with the greatest clock.

    A register has a value from the beginning, which is a write like every other. By that it is
    known to type checkers: `LWWRegister("")` is an `LWWRegister[str]`.
    """

    delta_name: ClassVar[str] = "lwwregister"

    def __init__(
        self, value: V, *, clock: Clock = Clock.DEFAULT, custom_clock: int | None = None
    ) -> None:
        """Begin with a value; the arguments are those of `set`.

        Raises:
            AnyError: The value cannot be packed.
            ValueError: `custom_clock` does not go with `clock`.
        """
        super().__init__()
        self._packed = Element.of(value)
        self._pending: CrdtDelta | None = _write(self._packed, clock, custom_clock)

    @property
    def value(self) -> V:
        """The value; of a message, a copy. None if another language has written none.

        Raises:
            AnyError: Its type is not known here.
        """
        return cast("V", self._packed.value() if self._packed.type_url else None)

    @value.setter
    def value(self, value: V) -> None:
        self.set(value)

    def set(
        self, value: V, *, clock: Clock = Clock.DEFAULT, custom_clock: int | None = None
    ) -> None:
        """Write a value. Nothing happens if it is the present one and `clock` is the default.

        Args:
            value: A message, str, bytes, int, float, bool or `Json`.
            clock: How the write is dated. A write that is dated lower than the present one loses:
                the register takes its old value again after the command.
            custom_clock: The number for the two custom clocks, of 64 bits; for no others.

        Raises:
            AnyError: It cannot be packed. Nothing was changed.
            ValueError: `custom_clock` does not go with `clock`. Nothing was changed.
        """
        packed = Element.of(value)
        written = _write(packed, clock, custom_clock)
        if packed == self._packed and clock == Clock.DEFAULT:
            return
        self._before_change()
        self._packed, self._pending = packed, written

    def __repr__(self) -> str:
        return f"LWWRegister({self._packed.type_url!r}, {self._packed.data!r})"

    def pending(self) -> CrdtDelta | None:
        return self._pending

    def forget_pending(self) -> None:
        self._pending = None

    def whole(self) -> CrdtDelta:
        return _write(self._packed, Clock.DEFAULT, None)

    def _apply(self, inner: LWWRegisterDelta) -> None:
        # Whatever was not sent yet, such as the value that it began with, has lost.
        self._packed, self._pending = Element.from_wire(inner.value), None

    @classmethod
    def _beginning(cls) -> Crdt:
        return cls(cast("V", ""))


def _write(packed: Element, clock: Clock, custom_clock: int | None) -> CrdtDelta:
    clock = Clock(clock)
    if clock in _CUSTOM:
        if custom_clock is None:
            raise ValueError(f"clock {clock.name}: expected custom_clock, found none")
        if integer("custom_clock", custom_clock) not in _INT64:
            raise ValueError(f"expected custom_clock to have 64 bits, found {custom_clock}")
    elif custom_clock:
        raise ValueError(f"clock {clock.name}: expected no custom_clock, found {custom_clock}")
    return CrdtDelta(
        lwwregister=LWWRegisterDelta(
            value=packed.to_wire(),
            clock=int(clock),  # type: ignore[arg-type]  # an enum of the same numbers
            custom_clock_value=custom_clock or 0,
        )
    )
