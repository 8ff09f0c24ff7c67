"""What the parameters of a handler can ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any as AnyType

from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cloudstate_core.anys import Json
from cloudstate_core.errors import RegistrationError
from cloudstate_core.injection import Slot, describe, same_type
from cloudstate_core.metadata import Metadata
from cloudstate_eventsourced.context import (
    EventContext,
    EventSourcedCommandContext,
    SnapshotContext,
)
from cloudstate_eventsourced.value_types import PRIMITIVES

__all__ = ["Slots"]

_OFFERED = frozenset({EventContext, SnapshotContext, EventSourcedCommandContext, Metadata})


class Slots:
    """The slots of one entity's handlers."""

    def __init__(self, state_type: object) -> None:
        """Keep the type of the state; None if it is not known."""
        self._state_type = state_type

    def for_command(self, method: MethodDescriptor) -> tuple[Slot, ...]:
        """Return what a command handler can ask for: state, command, context, metadata."""
        input_class = GetMessageClass(method.input_type)

        def is_command(annotation: object) -> bool:
            if input_class is Any:
                return annotation in {Any, Message, Json, *PRIMITIVES}
            return same_type(annotation, input_class)

        return (
            Slot("state", lambda a: self._is_state(a) and not is_command(a)),
            Slot(f"command {input_class.DESCRIPTOR.full_name}", is_command),
            Slot("context", lambda a: isinstance(a, type) and a in _CONTEXTS),
            Slot("metadata", lambda a: a is Metadata),
        )

    def for_value(self, what: str, value_type: type | None, context_type: type) -> tuple[Slot, ...]:
        """Return what an event or snapshot handler can ask for: state, value, context."""

        def is_value(annotation: object) -> bool:
            return value_type is not None and same_type(annotation, value_type)

        return (
            Slot("state", lambda a: self._is_state(a) and not is_value(a)),
            Slot(what, is_value),
            Slot("context", lambda a: a is context_type),
        )

    def snapshot_type(self, function: Callable[..., AnyType]) -> type:
        """Return the type of snapshot that a snapshot handler takes.

        Raises:
            RegistrationError: If its annotations do not tell.
        """
        found: list[type] = [
            parameter.annotation
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if _can_be_stored(parameter.annotation) and parameter.annotation != self._state_type
        ]
        if len(found) != 1:
            raise RegistrationError(
                f"{describe(function)}: expected one parameter annotated with the snapshot's type"
            )
        return found[0]

    def _is_state(self, annotation: object) -> bool:
        if self._state_type is not None:
            return same_type(annotation, self._state_type) or annotation in {AnyType, object}
        # `init` does not say what it returns: whatever is nothing else must be the state.
        return annotation not in _OFFERED and not _is_message(annotation)


_CONTEXTS = frozenset(EventSourcedCommandContext.__mro__) - {object}


def _is_message(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Message)


def _can_be_stored(annotation: object) -> bool:
    return _is_message(annotation) or annotation in {Json, *PRIMITIVES}
