"""The one shape that every stage of the request path has.

Front end, interceptors, router, region, activation and engine are all `CommandHandler`s: a
`Request` goes down, an `Outcome` comes back. Any stage can be replaced by another of the same
shape: a fake, a remote node, an interceptor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import ClientAction, SideEffect
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.value import value

__all__ = ["CommandHandler", "Hop", "Outcome", "Request"]


@value
class Hop:
    """One step by which a user function passed a request on.

    Attributes:
        service: The service that passed it on.
        command: The command of that service.
        how: "forward" or "side effect".
    """

    service: str
    command: str
    how: str


@value
class Request:
    """One message for one method of one service.

    Attributes:
        service: Full name of the service.
        command: Name of the method, without the service.
        payload: The request message, packed; its bytes are those the client sent.
        metadata: The client's headers.
        deadline_s: When the caller stops waiting, on the runtime's monotonic clock; None for
            "no deadline of its own".
        hops: How the request came here; empty for a client's own request.
    """

    service: str
    command: str
    payload: Any
    metadata: Metadata = EMPTY_METADATA
    deadline_s: float | None = None
    hops: tuple[Hop, ...] = ()


@value
class Outcome:
    """What came of a request.

    Attributes:
        action: A reply, a forward or a failure that the user function answered; may be unset.
            What the router returns is never a forward.
        side_effects: What the user function asked to have called, in order.
        restart: Whether the activation must be started again from the store, although an answer
            was given: its user function says its memory no longer matches the store.
    """

    action: ClientAction
    side_effects: Sequence[SideEffect] = ()
    restart: bool = False


class CommandHandler(Protocol):
    """A stage of the request path."""

    async def handle(self, request: Request) -> Outcome:
        """Carry out one request.

        Returns:
            What the user function answered, after everything it changed is durable.

        Raises:
            CloudstateError: Its `status` and text are what the client sees.
        """
        ...
