"""A counter that only grows."""

from __future__ import annotations

from typing import ClassVar, Self

from cloudstate.crdt_pb2 import CrdtDelta, GCounterDelta
from cloudstate_crdt.data.crdt import Crdt, integer

__all__ = ["GCounter"]

#: The field is unsigned, and other languages read it into a signed one.
_MAX_INCREMENT = 2**63 - 1


class GCounter(Crdt):
    """A counter that only grows; it counts what all nodes add."""

    delta_name: ClassVar[str] = "gcounter"

    def __init__(self) -> None:
        """Begin with zero."""
        super().__init__()
        self._value = self._increment = 0

    @property
    def value(self) -> int:
        """The total, as far as this node knows."""
        return self._value

    def increment(self, by: int = 1) -> None:
        """Add to it.

        Raises:
            ValueError: `by` is less than 0. Nothing was changed.
            OverflowError: One command would add 2**63 or more. Nothing was changed.
        """
        if integer("increment", by) < 0:
            raise ValueError(
                f"a GCounter cannot shrink: expected an increment of at least 0, found {by}; "
                "a PNCounter can"
            )
        if self._increment + by > _MAX_INCREMENT:
            raise OverflowError(
                f"expected increments of at most {_MAX_INCREMENT} in one command, found "
                f"{self._increment + by}"
            )
        if by:
            self._before_change()
            self._value += by
            self._increment += by

    def __iadd__(self, by: int) -> Self:
        self.increment(by)
        return self

    def __int__(self) -> int:
        return self._value

    def __repr__(self) -> str:
        return f"GCounter({self._value})"

    def pending(self) -> CrdtDelta | None:
        return _delta(self._increment) if self._increment else None

    def forget_pending(self) -> None:
        self._increment = 0

    def whole(self) -> CrdtDelta:
        return _delta(self._value)

    def _apply(self, inner: GCounterDelta) -> None:
        self._value += inner.increment


def _delta(increment: int) -> CrdtDelta:
    return CrdtDelta(gcounter=GCounterDelta(increment=increment))
