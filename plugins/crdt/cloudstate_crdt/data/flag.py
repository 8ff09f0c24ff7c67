"""A switch that can only be turned on."""

from __future__ import annotations

from typing import ClassVar

from cloudstate.crdt_pb2 import CrdtDelta, FlagDelta
from cloudstate_crdt.data.crdt import Crdt

__all__ = ["Flag"]


class Flag(Crdt):
    """A switch that can only be turned on; it is on once any node has turned it on."""

    delta_name: ClassVar[str] = "flag"

    def __init__(self) -> None:
        """Begin turned off."""
        super().__init__()
        self._enabled = self._is_news = False

    @property
    def enabled(self) -> bool:
        """Whether it is on, as far as this node knows."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        if enabled:
            self.enable()
        elif self._enabled:
            raise ValueError("a Flag cannot be turned off")

    def enable(self) -> None:
        """Turn it on; nothing happens if it is."""
        if not self._enabled:
            self._before_change()
            self._enabled = self._is_news = True

    def __bool__(self) -> bool:
        return self._enabled

    def __repr__(self) -> str:
        return f"Flag({self._enabled})"

    def pending(self) -> CrdtDelta | None:
        return CrdtDelta(flag=FlagDelta(value=True)) if self._is_news else None

    def forget_pending(self) -> None:
        self._is_news = False

    def whole(self) -> CrdtDelta:
        return CrdtDelta(flag=FlagDelta(value=self._enabled))

    def _apply(self, inner: FlagDelta) -> None:
        self._enabled = self._enabled or inner.value
