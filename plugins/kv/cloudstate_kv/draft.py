"""The value of one entity in the hands of one command: what it was, and what it is to be."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.any_pb2 import Any

from cloudstate.value_entity_pb2 import ValueEntityAction
from cloudstate_kv.state_type import StateType

__all__ = ["Draft"]

_UNREAD = object()


class Draft:
    """Starts as the value that is stored; the last change counts.

    Values are kept packed, as they are stored. Whoever reads gets a copy of his own, so that
    nothing but `update` and `delete` changes what others will see.
    """

    def __init__(
        self,
        state_type: StateType,
        initial_state: Callable[[], object] | None,
        stored: Any | None,
    ) -> None:
        """Start with what is stored.

        Args:
            state_type: How values are packed.
            initial_state: Makes the state where there is no value; None if that is None.
            stored: The value; None if there is none.
        """
        self._state_type = state_type
        self._initial_state = initial_state
        self._packed = stored
        self._read: object = _UNREAD
        self._is_changed = False

    @property
    def state(self) -> object:
        """Return the state as it is now; the same object until the next change.

        Raises:
            AnyError: What is stored is not of the state's type.
        """
        if self._read is _UNREAD:
            if self._packed is not None:
                self._read = self._state_type.unpack(self._packed)
            else:
                self._read = None if self._initial_state is None else self._initial_state()
        return self._read

    @property
    def action(self) -> ValueEntityAction | None:
        """Return what is to become of the stored value; None if it stays."""
        if not self._is_changed:
            return None
        action = ValueEntityAction()
        if self._packed is None:
            action.delete.SetInParent()
        else:
            action.update.value.CopyFrom(self._packed)
        return action

    def update(self, value: object) -> None:
        """Put a value in the state's place.

        Raises:
            AnyError: It is no value of the state's type. Nothing was changed.
        """
        self._change(self._state_type.pack(value))

    def delete(self) -> None:
        """Leave no value."""
        self._change(None)

    def _change(self, packed: Any | None) -> None:
        self._packed, self._read, self._is_changed = packed, _UNREAD, True
