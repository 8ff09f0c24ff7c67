"""The end of a connection whose client may still be sending."""

from __future__ import annotations

import asyncio

__all__ = ["Parting"]

#: How long a client may take to close its side, once it could have had all that was sent, in
#: seconds.
_PATIENCE_S = 1.0

#: How long it may take for the next bit of what was sent, in seconds.
_BIT_TIMEOUT_S = 30.0

#: How much it may still send meanwhile.
_MAX_DROPPED_BYTES = 32 * 1024 * 1024


class Parting:
    """Says no more on a connection, and closes it once its client has done so too.

    A socket that is closed while something of the client waits in it is reset by the system, and
    with that the client may lose answers that it has not read (RFC 9112, section 9.6). So only this
    side is closed at first, and what still comes is dropped. A client that does not close its side
    is cut off a second after it could have had everything, or when it has sent too much.

    Args:
        transport: Nothing may be written to it from now on.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._left_bytes = self._dropped_bytes = 0
        if not transport.can_write_eof():
            transport.close()
        elif not transport.is_closing():
            transport.write_eof()
            self._left_bytes = transport.get_write_buffer_size()
            self._wait()

    def drop(self, data: bytes) -> None:
        """Take what still comes."""
        self._dropped_bytes += len(data)
        if self._dropped_bytes > _MAX_DROPPED_BYTES:
            self._transport.abort()

    def _wait(self) -> None:
        patience_s = _BIT_TIMEOUT_S if self._left_bytes else _PATIENCE_S
        self._loop.call_later(patience_s, self._look)

    def _look(self) -> None:
        if self._transport.is_closing():
            return
        before, self._left_bytes = self._left_bytes, self._transport.get_write_buffer_size()
        if self._left_bytes < before:
            self._wait()
        else:
            self._transport.abort()
