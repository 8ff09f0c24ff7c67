"""The state after a command, which is copied only if somebody looks at it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

__all__ = ["ShownState", "ShownStates"]


class ShownState:
    """The state at one moment, copied when it is looked at, or before it changes."""

    __slots__ = ("__weakref__", "_copied", "_error", "_read")

    def __init__(self, read: Callable[[], Any]) -> None:
        """Keep the way to the state.

        Args:
            read: Returns the state itself, as it is now, or raises what keeps it from being shown.
        """
        self._read: Callable[[], Any] | None = read
        self._copied: Any = None
        self._error: Exception | None = None

    def settle(self) -> None:
        """Copy the state, because it may change now."""
        if self._read is None:
            return
        try:
            self._copied = copy.deepcopy(self._read())
        except Exception as error:  # which concerns only a test that looks at the state
            self._error = error
        self._read = None

    def __call__(self) -> Any:
        """Return the copy."""
        self.settle()
        if self._error is not None:
            raise self._error
        return self._copied


class ShownStates:
    """Those states that a test may still look at: it keeps what was told of their commands.

    Without that, a test of a thousand commands would copy a growing state a thousand times.
    """

    def __init__(self) -> None:
        self._unsettled: WeakSet[ShownState] = WeakSet()

    def show(self, read: Callable[[], Any]) -> ShownState:
        """Return a state to be looked at."""
        shown = ShownState(read)
        self._unsettled.add(shown)
        return shown

    def settle(self) -> None:
        """Copy all of them, because they may change now."""
        for shown in list(self._unsettled):
            shown.settle()
        self._unsettled.clear()
