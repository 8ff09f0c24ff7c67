"""What the handlers of an event-sourced entity are given."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.anys import encode
from cloudstate_core.caller import Caller
from cloudstate_core.context import CommandContext
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.value import value

__all__ = ["EventContext", "EventSourcedCommandContext", "SnapshotContext"]


@value
class EventContext:
    """The event being applied.

    Attributes:
        entity_id: Which entity.
        sequence: The event's number; the first one of an entity is 1.
    """

    entity_id: str
    sequence: int


@value
class SnapshotContext:
    """The snapshot being taken or restored.

    Attributes:
        entity_id: Which entity.
        sequence: Number of the last event the snapshot covers.
    """

    entity_id: str
    sequence: int


class EventSourcedCommandContext(CommandContext):
    """One command for an event-sourced entity.

    Attributes:
        sequence: Number of the entity's last event, including those emitted so far.
        state: The state, with the events emitted so far. A handler that was given the state needs
            this only if event handlers put another state in its place.
        events: What was emitted, packed, in order.
    """

    def __init__(
        self,
        *,
        entity_id: str,
        service_name: str,
        command_name: str,
        command_id: int,
        sequence: int,
        state: object,
        apply: Callable[[Any, int], object],
        metadata: Metadata = EMPTY_METADATA,
        caller: Caller | None = None,
    ) -> None:
        """Keep the command's data, and what returns the state after an event and its number."""
        super().__init__(
            entity_id=entity_id,
            service_name=service_name,
            command_name=command_name,
            command_id=command_id,
            metadata=metadata,
            caller=caller,
        )
        self.sequence = sequence
        self.state = state
        self.events: list[Any] = []
        self._apply = apply
        self._spoilt_by: BaseException | None = None

    def emit(self, event: object) -> None:
        """Record that something happened, and apply it to the state at once.

        The event is stored, together with all others of this command, after the handler returned
        and before the client is answered.

        Args:
            event: A protobuf message, a primitive or `Json`, of a type that has an event handler.

        Raises:
            AnyError: If the event cannot be packed, or no event handler takes its type.
            Exception: Whatever the event handler raises. The command has failed then, whether the
                caller lets the exception pass or not.
        """
        self.check_usable()
        packed = encode(event)
        try:
            self.state = self._apply(packed, self.sequence + 1)
        except BaseException as error:  # whatever it is, the state may be half changed
            self._spoilt_by = error
            raise
        self.sequence += 1
        self.events.append(packed)

    def client_action(self, returned: object) -> ClientAction:
        if self._spoilt_by is not None:
            # The event handler may have changed half of the state: it is not that of any events.
            raise self._spoilt_by
        return super().client_action(returned)
