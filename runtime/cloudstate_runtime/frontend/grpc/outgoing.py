"""What leaves on one connection, no faster than its client takes it."""

from __future__ import annotations

import asyncio

from h2.connection import H2Connection

from cloudstate_runtime.frontend.grpc.call import Call

__all__ = ["Outgoing"]

#: So much of the messages of streams is gathered before it is handed to the transport, and whoever
#: sends more waits for the loop: a stream that never waits for anything would stop all others.
_FLUSH_FROM_BYTES = 16 * 1024
_FLUSH_FROM_MESSAGES = 64


class Outgoing:
    """Sends the frames of one connection.

    Args:
        connection: Its end in HTTP/2.

    Attributes:
        idle_frames: How many frames of the client that were no calls have come since it took
            something that it had asked for.
    """

    def __init__(self, connection: H2Connection) -> None:
        self.idle_frames = 0
        self._h2 = connection
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_flush_due = False
        self._unflushed_bytes = self._unflushed_messages = 0
        self._can_write = asyncio.Event()
        self._can_write.set()

    def open(self, transport: asyncio.Transport) -> None:
        """Send through this transport from now on."""
        self._transport = transport

    def pause(self) -> None:
        """Let everything wait: the transport holds as much as it should."""
        self._can_write.clear()

    def resume(self) -> None:
        """Go on, or let those who wait find out that there is nobody left."""
        self._can_write.set()

    async def send(self, call: Call, data: bytes) -> None:
        """Send data of a call; what is left of it is dropped if the call ends meanwhile.

        Returns when the client has allowed all of it, and the transport holds little of it.
        """
        if not self._can_write.is_set():
            await self._can_write.wait()
        if call.is_over:
            return
        if len(data) <= self._room(call):
            self._put(call, data)
        else:
            await self._send_in_parts(call, memoryview(data))
        self._unflushed_messages += 1
        if self._is_enough():
            self.flush()
            await asyncio.sleep(0)
        else:
            self.flush_later()

    async def _send_in_parts(self, call: Call, left: memoryview) -> None:
        while left and not call.is_over:
            size = min(len(left), self._room(call))
            if size <= 0:
                await self._window(call)
                continue
            self._put(call, bytes(left[:size]))
            left = left[size:]
            if self._is_enough():
                self.flush()
            if not self._can_write.is_set():
                await self._can_write.wait()

    def _room(self, call: Call) -> int:
        return min(
            self._h2.local_flow_control_window(call.stream_id), self._h2.max_outbound_frame_size
        )

    def _put(self, call: Call, data: bytes) -> None:
        self._h2.send_data(call.stream_id, data)
        self._unflushed_bytes += len(data)
        self.idle_frames = 0

    async def _window(self, call: Call) -> None:
        """Return when the client may have opened its window."""
        call.window_opened = call.window_opened or asyncio.Event()
        call.window_opened.clear()
        self.flush_later()
        await call.window_opened.wait()

    def _is_enough(self) -> bool:
        return (
            self._unflushed_bytes >= _FLUSH_FROM_BYTES
            or self._unflushed_messages >= _FLUSH_FROM_MESSAGES
        )

    def flush_later(self) -> None:
        """Send with what else is said in this turn of the loop."""
        # Many calls end in one turn; their answers leave together.
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self.flush)

    def put(self, frame: bytes) -> None:
        """Hand over a frame that `h2` knows nothing of, after everything that it has said."""
        self.flush()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def end(self) -> None:
        """Hand everything to the transport, and nothing any more."""
        self.flush()
        self._transport = None

    def flush(self) -> None:
        """Hand everything to the transport."""
        self._is_flush_due = False
        self._unflushed_bytes = self._unflushed_messages = 0
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
