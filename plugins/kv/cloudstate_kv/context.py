"""What the handlers of a value entity are given."""

from __future__ import annotations

from typing import Any

from cloudstate.value_entity_pb2 import ValueEntityAction
from cloudstate_core.caller import Caller
from cloudstate_core.context import CommandContext
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_kv.draft import Draft

__all__ = ["ValueEntityCommandContext"]


class ValueEntityCommandContext(CommandContext):
    """One command for a value entity."""

    def __init__(
        self,
        *,
        entity_id: str,
        service_name: str,
        command_name: str,
        command_id: int,
        draft: Draft,
        metadata: Metadata = EMPTY_METADATA,
        caller: Caller | None = None,
    ) -> None:
        """Keep the command's data, and the value that it may change."""
        super().__init__(
            entity_id=entity_id,
            service_name=service_name,
            command_name=command_name,
            command_id=command_id,
            metadata=metadata,
            caller=caller,
        )
        self._draft = draft

    @property
    def state(self) -> Any:  # of whatever type the entity declares
        """Return the state, with what this command made of it so far.

        None if there is no value, or what the entity's `init_state` makes. It is the handler's own:
        changing it changes nothing until it is given to `update`.

        Raises:
            AnyError: What is stored is not of the state's type.
        """
        return self._draft.state

    def update(self, value: object) -> None:
        """Make a value the state, in the place of the one before.

        It is stored as it is now, after the handler returned and before the client is answered. Of
        several updates and deletes of a command, the last one counts.

        Raises:
            AnyError: It is None, or not of the entity's `state_type`. Nothing was changed.
        """
        self.check_usable()
        self._draft.update(value)

    def delete(self) -> None:
        """Delete the value, after the handler returned and before the client is answered."""
        self.check_usable()
        self._draft.delete()

    @property
    def state_action(self) -> ValueEntityAction | None:
        """Return the protocol's form of what becomes of the value; None if it stays."""
        return self._draft.action
