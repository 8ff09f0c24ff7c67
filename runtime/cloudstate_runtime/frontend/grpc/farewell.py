"""How a connection ends without costing its client a call or an answer."""

from __future__ import annotations

import asyncio
import math

from h2.connection import H2Connection

from cloudstate_runtime.frontend.grpc.http2 import MAX_STREAM_ID, goaway_frame
from cloudstate_runtime.frontend.grpc.outgoing import Outgoing
from cloudstate_runtime.frontend.parting import Parting

__all__ = ["Farewell"]

#: What asks a client whether it has heard that the connection ends, and how long it may take to say
#: so, in seconds.
_HAVE_YOU_HEARD = b"GOAWAY ?"
_HEARD_TIMEOUT_S = 1.0


class Farewell:
    """Ends a connection in three steps (RFC 9113, section 6.8).

    The client is told to begin no more calls; those on their way are still taken. When it has heard
    of that, the last call is named, and later ones are refused. When all is answered, the
    connection is closed, as soon as the client has read it.

    Args:
        connection: The server's end in HTTP/2.
        out: Where its frames leave.

    Attributes:
        has_begun: Whether the client was told.
        was_heard: Whether it has said that it knows.
        takes_no_more: Whether the last call was named.
        parting: Set once all is said, and the client has yet to close its side.
    """

    def __init__(self, connection: H2Connection, out: Outgoing) -> None:
        self.has_begun = self.was_heard = self.takes_no_more = False
        self.parting: Parting | None = None
        self._h2 = connection
        self._out = out
        self._heard_by_s = math.inf

    def begin(self, now_s: float) -> None:
        """Tell the client, unless it was told."""
        if self.has_begun:
            return
        self.has_begun = True
        self._heard_by_s = now_s + _HEARD_TIMEOUT_S
        self._say_goaway(MAX_STREAM_ID)
        self._h2.ping(_HAVE_YOU_HEARD)
        self._out.flush()

    def hear(self, ping_data: bytes) -> None:
        """Take an answer to a question, this one or another.

        What came with it is still to be taken: a client answers first and sends its calls then.
        """
        self.was_heard |= ping_data == _HAVE_YOU_HEARD

    def is_overdue(self, now_s: float) -> bool:
        """Return whether the client had its time to say so."""
        return now_s >= self._heard_by_s

    def name_last_call(self) -> bool:
        """Take no more calls from now on; return whether that is new."""
        if self.takes_no_more:
            return False
        self.has_begun = self.takes_no_more = True
        self._say_goaway(self._h2.highest_inbound_stream_id)
        return True

    def part(self, transport: asyncio.Transport) -> None:
        """Say no more, since all is said."""
        if self.parting is None:
            self._out.end()
            self.parting = Parting(transport)

    def _say_goaway(self, last_stream_id: int) -> None:
        # Not by `h2`, which takes a GOAWAY of its own for the end of everything.
        self._out.put(goaway_frame(last_stream_id))
