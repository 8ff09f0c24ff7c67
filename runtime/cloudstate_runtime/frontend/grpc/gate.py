"""Where the calls of one connection come in, or not."""

from __future__ import annotations

from h2.connection import H2Connection

from cloudstate_core.door import Door
from cloudstate_core.errors import LimitExceeded
from cloudstate_core.waiting import WAITING_HEADER
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.http2 import request_line
from cloudstate_runtime.frontend.grpc.methods import MethodTable
from cloudstate_runtime.frontend.grpc.sifting import Sifter

__all__ = ["Gate", "Gates"]

_WAITING = WAITING_HEADER.encode()

#: With room for so many calls, those that come in one turn of the loop are not counted one by one.
_PLENTY = 256


class Gates:
    """Makes the gates of all connections.

    Args:
        door: Says whom to refuse; None if nobody does beforehand.
        methods: Tells commands from what the front end serves itself, which is never refused.
    """

    def __init__(self, door: Door | None, methods: MethodTable) -> None:
        self._door = door
        self._methods = methods
        self._error: LimitExceeded | None = None
        self._refusal: Refusal | None = None

    def gate(self, connection: H2Connection) -> Gate | None:
        """Return the gate of a connection; None if it is to be always open."""
        if self._door is None:
            return None
        return Gate(self._door, Sifter(connection, self._may_refuse), self)

    def refusal(self, error: LimitExceeded) -> Refusal:
        """Return the refusal for an error: the same for the same, so that it is encoded once."""
        if self._refusal is None or error is not self._error:
            self._error = error
            self._refusal = Refusal(error.status, str(error), error.retry_after_s)
        return self._refusal

    def _may_refuse(self, headers: list[tuple[bytes, bytes]]) -> bool:
        # Somebody waits for such a call in the middle of a command of his own.
        if any(name == _WAITING for name, _ in headers):
            return False
        path, _, _, is_grpc, _ = request_line(headers)
        return is_grpc and self._methods.is_command(path)


class Gate:
    """Takes the calls for which there is no room out of what one client sends."""

    def __init__(self, door: Door, sifter: Sifter, gates: Gates) -> None:
        self._door = door
        self._sifter = sifter
        self._gates = gates

    def let_in(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what is to be read of some data, and what is to be answered to the rest."""
        sifter, door = self._sifter, self._door
        data = sifter.begin(data)
        room = max(0, door.room())
        if not sifter.has_to_sift() and (room > _PLENTY or not sifter.can_sift()):
            return data, b""
        sifted = sifter.sift(data, room, self._gates.refusal(door.refusal()))
        if sifted.expected:
            door.expect(sifted.expected)
        if sifted.refused:
            door.turned_away(sifted.refused)
        return sifted.passed, sifted.answers
