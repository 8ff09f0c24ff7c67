"""What the parameters of a handler can ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any as AnyType
from typing import get_origin

from google.protobuf.message import Message

from cloudstate_core.anys import Json
from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import Slot, choices_of, describe, same_type, signature_of
from cloudstate_core.metadata import Metadata
from cloudstate_eventsourced.context import (
    EventContext,
    EventSourcedCommandContext,
    SnapshotContext,
)
from cloudstate_eventsourced.value_types import PRIMITIVES

__all__ = ["Slots"]


class Slots:
    """The slots of one entity's handlers."""

    def __init__(self, state_type: object) -> None:
        """Keep the type of the state; None if it is not known."""
        self._state_type = state_type
        if state_type is None:
            self._state = Slot("state (of a type that init_state does not tell)", _may_be_state)
        else:
            self._state = Slot("state", self._is_state)

    def for_command(self) -> tuple[Slot, ...]:
        """Return what a command handler can ask for beside what every command offers."""
        return (self._state,)

    def for_value(self, what: str, value_type: type, context_type: type) -> tuple[Slot, ...]:
        """Return what an event or snapshot handler can ask for: value, state, context."""
        return (Slot(what, _asks_for(value_type)), *self.for_state(context_type))

    def for_state(self, context_type: type) -> tuple[Slot, ...]:
        """Return what a function that takes snapshots can ask for: state, context."""
        return (self._state, Slot("context", _asks_for(context_type)))

    def snapshot_type(self, function: Callable[..., AnyType]) -> type:
        """Return the type of snapshot that a snapshot handler takes.

        Raises:
            RegistrationError: If its annotations do not tell.
        """
        asked = (each.annotation for each in signature_of(function).parameters.values())
        storable: list[type] = list(dict.fromkeys(each for each in asked if _can_be_stored(each)))
        # A snapshot may be of the state's own type.
        others = [each for each in storable if not same_type(each, self._state_type)]
        found = others or storable
        if len(found) != 1:
            raise RegistrationError(
                f"{describe(function)}: expected one parameter annotated with the snapshot's type, "
                f"found {', '.join(each.__name__ for each in found) or 'none'}"
            )
        return found[0]

    def _is_state(self, annotation: object) -> bool:
        # As with any other variable, a wider type than the state's will do.
        return same_type(annotation, self._state_type) or any(
            _is_wider(get_origin(choice) or choice, get_origin(type_) or type_)
            for choice in choices_of(annotation)
            for type_ in choices_of(self._state_type)
        )


def _may_be_state(annotation: object) -> bool:
    # `init_state` does not tell what it returns: whatever is nothing else must be the state.
    return not _is_offered(annotation) and not _is_message(annotation)


def _is_wider(annotation: object, type_: object) -> bool:
    if annotation is AnyType:
        return True
    try:
        return issubclass(type_, annotation)  # type: ignore[arg-type]  # they may be no classes
    except TypeError:
        return False


def _asks_for(*wanted: type) -> Callable[[object], bool]:
    return lambda annotation: any(same_type(annotation, each) for each in wanted)


_is_offered = _asks_for(EventContext, SnapshotContext, EventSourcedCommandContext, Metadata)


def _is_message(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Message)


def _can_be_stored(annotation: object) -> bool:
    return _is_message(annotation) or any(annotation is each for each in (Json, *PRIMITIVES))
