"""What the handlers of an action are given."""

from __future__ import annotations

from cloudstate.action_pb2 import ActionResponse
from cloudstate_core.anys import AnyError
from cloudstate_core.caller import Caller
from cloudstate_core.context import CommandContext
from cloudstate_core.metadata import EMPTY_METADATA, Metadata

__all__ = ["ActionContext"]


class ActionContext(CommandContext):
    """One call of an action.

    In a handler that yields, what is asked for with `effect` and `forward` goes with the next
    element; what is left at the end is an element of its own. `fail` ends the call with a failure,
    and keeps the effects asked for since the element before.

    Attributes:
        metadata: Headers of the call. What came with single messages of a stream is in their
            `MessageEnvelope`.
    """

    def __init__(
        self,
        *,
        service_name: str,
        command_name: str,
        metadata: Metadata = EMPTY_METADATA,
        caller: Caller | None = None,
    ) -> None:
        """Keep what the call says about itself."""
        super().__init__(
            entity_id="",
            service_name=service_name,
            command_name=command_name,
            command_id=0,
            metadata=metadata,
            caller=caller,
        )

    def is_waiting(self) -> bool:
        """Return whether something was asked for that no element has taken yet."""
        return bool(self.side_effects) or self.forwarded is not None or self.failure is not None

    def move_to(self, response: ActionResponse) -> None:
        """Move what was asked for into a response, beside which nothing else may stand yet."""
        response.side_effects.extend(self.side_effects)
        self.side_effects = []
        if self.failure is not None:
            response.failure.CopyFrom(self.failure)
        elif self.forwarded is not None:
            response.forward.CopyFrom(self.forwarded)
            self.forwarded = None

    def check_declared(self, service: str, command: str) -> None:
        """Return if the handler may call a command.

        Raises:
            AnyError: It says which commands it calls, and this one is not among them.
        """
        name = f"{service}.{command}"
        if self.declared_targets is not None and name not in self.declared_targets:
            raise AnyError(
                f"the handler of {self.command_name!r} says which commands it calls, and {name} is "
                f"not among them: {', '.join(sorted(self.declared_targets)) or 'none'}"
            )
