"""A counter that grows and shrinks."""

from __future__ import annotations

from typing import ClassVar, Self

from cloudstate.crdt_pb2 import CrdtDelta, PNCounterDelta
from cloudstate_crdt.data.crdt import Crdt, integer

__all__ = ["PNCounter"]

_INT64 = range(-(2**63), 2**63)


class PNCounter(Crdt):
    """A counter that grows and shrinks; it counts what all nodes add and take away."""

    delta_name: ClassVar[str] = "pncounter"

    def __init__(self) -> None:
        """Begin with zero."""
        super().__init__()
        self._value = self._change = 0

    @property
    def value(self) -> int:
        """The total, as far as this node knows."""
        return self._value

    def increment(self, by: int = 1) -> None:
        """Add to it; a negative number takes away.

        Raises:
            OverflowError: One command would change it by more than 64 bits hold. Nothing was
                changed.
        """
        change = self._change + integer("increment", by)
        if change not in _INT64:
            raise OverflowError(f"expected changes of 64 bits in one command, found {change}")
        if by:
            self._before_change()
            self._value += by
            self._change = change

    def decrement(self, by: int = 1) -> None:
        """Take away from it; a negative number adds.

        Raises:
            OverflowError: As for `increment`.
        """
        self.increment(-integer("decrement", by))

    def __iadd__(self, by: int) -> Self:
        self.increment(by)
        return self

    def __isub__(self, by: int) -> Self:
        self.decrement(by)
        return self

    def __int__(self) -> int:
        return self._value

    def __repr__(self) -> str:
        return f"PNCounter({self._value})"

    def pending(self) -> CrdtDelta | None:
        return _delta(self._change) if self._change else None

    def forget_pending(self) -> None:
        self._change = 0

    def whole(self) -> CrdtDelta:
        return _delta(self._value)

    def _apply(self, inner: PNCounterDelta) -> None:
        self._value += inner.change


def _delta(change: int) -> CrdtDelta:
    return CrdtDelta(pncounter=PNCounterDelta(change=change))
