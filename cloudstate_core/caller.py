"""Commands that a handler sends by itself, and waits for."""

from __future__ import annotations

from typing import Protocol

from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import AskFailed
from cloudstate_core.handler import Hop
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.status import Status
from cloudstate_core.value import value

__all__ = ["DEFAULT_ASK_TIMEOUT_S", "Ask", "Caller", "LateCaller"]

#: How long an answer may take if the asking handler does not say, in seconds.
DEFAULT_ASK_TIMEOUT_S = 10.0

_NOBODY = Hop("", "", "ask")


@value
class Ask:
    """One command that a handler sends.

    Attributes:
        service: Full name of a service of the same deployment.
        command: Name of its method.
        payload: The method's request, packed.
        timeout_s: How long the answer may take, in seconds.
        metadata: Headers for it.
        waiting: Entities that wait for the answer in the middle of a command of their own, the
            asking one last; each as service, "/" and entity id.
        command_key: A name under which the command is carried out once, however often it is sent;
            empty for none.
        hop: Who asks.
    """

    service: str
    command: str
    payload: Any
    timeout_s: float
    metadata: Metadata = EMPTY_METADATA
    waiting: tuple[str, ...] = ()
    command_key: str = ""
    hop: Hop = _NOBODY


class Caller(Protocol):
    """The way from a handler to other services."""

    async def ask(self, ask: Ask) -> Any:
        """Send a command and return the reply's message, packed.

        Raises:
            AskFailed: There was no reply; its `code` says why.
        """
        ...


class LateCaller:
    """A caller that is connected when the user function is served."""

    def __init__(self) -> None:
        """Start without a connection."""
        self._caller: Caller | None = None

    def connect(self, caller: Caller) -> None:
        """Use this way from now on."""
        self._caller = caller

    async def ask(self, ask: Ask) -> Any:
        """Send a command and return the reply's message; see `Caller.ask`."""
        if self._caller is None:
            raise AskFailed(
                f"cannot ask {ask.service}.{ask.command}: the user function is not connected to a "
                "runtime",
                code=Status.UNAVAILABLE,
            )
        return await self._caller.ask(ask)
