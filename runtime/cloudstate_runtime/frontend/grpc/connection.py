"""gRPC on one connection: HTTP/2 frames by `h2`, calls by the methods of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Protocol, cast

import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes

from cloudstate_core.errors import MalformedRequest
from cloudstate_core.frontend import Limits
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.call import Call, Conversation, Method, Unary
from cloudstate_runtime.frontend.grpc.http2 import (
    CONNECTION_WINDOW_BYTES,
    DEFAULT_WINDOW_BYTES,
    goaway_frame,
    open_connection,
    request_line,
)
from cloudstate_runtime.frontend.grpc.packing import announce_packing, packed_frame
from cloudstate_runtime.frontend.grpc.status import (
    OK_TRAILERS,
    RESPONSE_HEADERS,
    Aborted,
    trailers,
)
from cloudstate_runtime.frontend.grpc.wire import MessageReader, message_frame, timeout_s

__all__ = ["GrpcConnection", "Server"]

Header = tuple[bytes, bytes]

_ACCEPTED_ENCODINGS = (b"grpc-accept-encoding", b"identity,gzip")

#: Streams that a client may cancel in vain, and frames it may send that are no calls, for each call
#: that it lets run to its end; and how many it may in any case.
_MAX_IDLE_FRAMES = 1000

DEADLINE = Refusal(Status.DEADLINE_EXCEEDED, "the deadline passed before there was an answer")
STOPPING = Refusal(Status.UNAVAILABLE, "this server is stopping; try another, or later")


class Server(Protocol):
    """What all connections share.

    Attributes:
        limits: What to refuse.
        gzip_above_bytes: Messages above this size are packed for clients that accept it.
        tasks: What answers calls, also those whose clients are gone.
    """

    limits: Limits
    gzip_above_bytes: int
    tasks: set[asyncio.Task[None]]

    def method(self, path: str) -> Method:
        """Return the method at a path; one that refuses if there is none."""
        ...

    def refusal(self, error: Exception, call: Call) -> Refusal:
        """Return what to tell the client about an error."""
        ...

    def now_s(self) -> float:
        """Return the monotonic time."""
        ...

    def opened(self, connection: GrpcConnection) -> None:
        """Take note of a connection."""
        ...

    def closed(self, connection: GrpcConnection) -> None:
        """Forget a connection."""
        ...


class GrpcConnection(asyncio.Protocol):
    """Serves the calls of one client.

    Args:
        server: What all connections share.

    Attributes:
        calls: The calls that are not answered, by stream.
        is_greeted: Whether the client has sent its settings, as every client of HTTP/2 does first.
        opened_s: When the connection was opened, on the monotonic clock.
        last_call_s: When a call was last begun or ended.
        is_draining: Whether new calls are refused.
    """

    def __init__(self, server: Server) -> None:
        self.calls: dict[int, Call] = {}
        self.is_draining = self.is_greeted = False
        self.opened_s = self.last_call_s = server.now_s()
        self._server = server
        self._limits = server.limits
        self._h2 = open_connection(server.limits)
        self._loop = asyncio.get_running_loop()
        self._is_flush_due = False
        self._idle_frames = 0
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._handlers: dict[type[h2.events.Event], Callable[..., None]] = {
            h2.events.RequestReceived: self._on_request,
            h2.events.DataReceived: self._on_data,
            h2.events.StreamEnded: self._on_stream_ended,
            h2.events.StreamReset: self._on_stream_reset,
            h2.events.WindowUpdated: self._on_window_updated,
            h2.events.ConnectionTerminated: self._on_goaway,
            h2.events.PingReceived: self._on_idle_frame,
            h2.events.RemoteSettingsChanged: self._on_settings_changed,
            h2.events.PriorityUpdated: self._on_idle_frame,
            h2.events.UnknownFrameReceived: self._on_idle_frame,
        }

    # --- What the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not to be checked: the transports of other event loops derive from nothing.
        self._transport = cast("asyncio.Transport", transport)
        self._server.opened(self)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            # `h2` has put a GOAWAY with the reason into its output.
            self._end_all()
            return
        for event in events:
            handle = self._handlers.get(type(event))
            if handle is not None:
                handle(event)
        if self._idle_frames > _MAX_IDLE_FRAMES:
            self.close(ErrorCodes.ENHANCE_YOUR_CALM)
            return
        self._flush()

    def eof_received(self) -> None:
        """Let the transport close; a client that sends nothing more reads nothing more."""

    def pause_writing(self) -> None:
        # Whoever does not read its answers gets no more questions in.
        self._can_write.clear()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._can_write.set()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._end_all()
        self._can_write.set()
        self._server.closed(self)

    # --- What the server calls ---

    def drain(self) -> None:
        """Refuse new calls, and close when the last one is answered."""
        if not self.is_draining and not self._transport.is_closing():
            self.is_draining = True
            # Not by `h2`, which takes a GOAWAY of its own for the end of everything.
            self._flush()
            self._transport.write(goaway_frame(self._h2.highest_inbound_stream_id))
        for call in tuple(self.calls.values()):
            if isinstance(call.method, Conversation):
                self.abort(call, STOPPING)
        self._close_if_drained()

    def expire(self, now_s: float) -> None:
        """End the calls whose deadline is over."""
        for call in tuple(self.calls.values()):
            if call.deadline_s <= now_s:
                self.abort(call, DEADLINE)

    def close(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Close at once, after what is already in the transport's hands."""
        if not self._transport.is_closing():
            self._h2.close_connection(code)
            self._end_all()

    def cut_off(self) -> None:
        """Close at once, whatever is still to be sent."""
        self._transport.abort()

    # --- Events of `h2` ---

    def _on_request(self, event: h2.events.RequestReceived) -> None:
        stream_id, headers = event.stream_id, event.headers
        if self.is_draining:
            with suppress(StreamClosedError):
                self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self.last_call_s = self._server.now_s()
        path, wanted_s, encoding, is_grpc = request_line(headers)
        if not is_grpc:
            self._refuse_foreign(stream_id)
            return
        call = Call(
            self,
            stream_id,
            self._server.method(path),
            headers,
            self.last_call_s + self._limits.default_deadline_s,
            MessageReader(encoding, self._limits.max_request_bytes),
        )
        self.calls[stream_id] = call
        if encoding not in ("identity", "gzip"):
            call.reply_headers.append(_ACCEPTED_ENCODINGS)
            reason = f"expected grpc-encoding 'gzip' or none, found {encoding[:80]!r}"
            self.abort(call, Refusal(Status.UNIMPLEMENTED, reason))
            return
        if wanted_s is not None:
            try:
                seconds = timeout_s(wanted_s)
            except MalformedRequest as error:
                self.abort(call, Refusal(error.status, str(error)))
                return
            call.deadline_s = self.last_call_s + min(seconds, self._limits.max_deadline_s)
            if seconds <= 0:
                self.abort(call, DEADLINE)
                return
        if isinstance(call.method, Conversation):
            self._begin(call, self._converse(call, call.method))

    def _on_data(self, event: h2.events.DataReceived) -> None:
        call = self.calls.get(event.stream_id)
        size_bytes = event.flow_controlled_length
        if call is None or call.is_over:
            self._consumed(event.stream_id, size_bytes)
            self._on_idle_frame(event)
            return
        try:
            messages = call.reader.feed(event.data or b"")
        except Exception as error:
            self._consumed(call.stream_id, size_bytes)
            self.abort(call, self._server.refusal(error, call))
            return
        if not event.data:
            self._on_idle_frame(event)
        if isinstance(call.method, Unary):
            call.messages.extend(messages)
            self._consumed(call.stream_id, size_bytes)
        else:
            call.received(messages, size_bytes)

    def _on_stream_ended(self, event: h2.events.StreamEnded) -> None:
        call = self.calls.get(event.stream_id)
        if call is None or call.is_over:
            return
        call.received_all = True
        if isinstance(call.method, Conversation):
            call.wake()
        elif call.reader.is_within_a_message():
            reason = "the request ended in the middle of a message"
            self.abort(call, Refusal(Status.INVALID_ARGUMENT, reason))
        else:
            self._begin(call, self._answer(call, call.method))

    def _on_stream_reset(self, event: h2.events.StreamReset) -> None:
        call = self.calls.get(event.stream_id)
        self._on_idle_frame(event)
        if call is not None:
            self._hang_up(call)

    def _on_goaway(self, event: h2.events.ConnectionTerminated) -> None:
        # Whoever says this has no more questions. `h2` sends nothing after it, answers included.
        self._end_all()

    def _end_all(self) -> None:
        """Say what is left to say, close, and forget the calls."""
        self._flush()
        self._transport.close()
        for call in tuple(self.calls.values()):
            self._hang_up(call)

    def _on_window_updated(self, event: h2.events.WindowUpdated) -> None:
        self._on_idle_frame(event)
        if event.stream_id:
            call = self.calls.get(event.stream_id)
            if call is not None and call.window_opened is not None:
                call.window_opened.set()
        else:
            self._open_all_windows()

    def _on_settings_changed(self, event: h2.events.RemoteSettingsChanged) -> None:
        self.is_greeted = True
        self._on_idle_frame(event)
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self._open_all_windows()

    def _on_idle_frame(self, event: h2.events.Event) -> None:
        self._idle_frames += 1

    def _open_all_windows(self) -> None:
        for call in self.calls.values():
            if call.window_opened is not None:
                call.window_opened.set()

    # --- Calls ---

    def _begin(self, call: Call, answering: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(answering)
        call.task = task
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    async def _answer(self, call: Call, method: Unary) -> None:
        try:
            payload = await method.answer(call, call.only_message())
        except Aborted as aborted:
            self.abort(call, aborted.refusal)
        except Exception as error:
            self.abort(call, self._server.refusal(error, call))
        else:
            if not call.is_over:
                await self._reply(call, payload)

    async def _reply(self, call: Call, payload: bytes) -> None:
        """Send the one message of a reply and end the call."""
        connection, stream_id = self._h2, call.stream_id
        if len(payload) <= self._server.gzip_above_bytes:
            frame = message_frame(payload)
        else:
            announce_packing(call)
            frame = await packed_frame(call, payload)
            if call.is_over:
                return
        self._send_headers(call)
        if len(frame) <= connection.local_flow_control_window(stream_id) and len(frame) <= (
            connection.max_outbound_frame_size
        ):
            connection.send_data(stream_id, frame)
        else:
            await self._send(call, frame)
        self._end(call, OK_TRAILERS)

    async def _converse(self, call: Call, method: Conversation) -> None:
        try:
            await method.hold(call)
        except Aborted as aborted:
            self.abort(call, aborted.refusal)
        except Exception as error:
            self.abort(call, self._server.refusal(error, call))
        else:
            self._send_headers(call)
            self._end(call, OK_TRAILERS)

    async def send_message(self, call: Call, payload: bytes) -> None:
        if not call.sent_headers:
            announce_packing(call)
        if len(payload) <= self._server.gzip_above_bytes:
            frame = message_frame(payload)
        else:
            frame = await packed_frame(call, payload)
        self._send_headers(call)
        await self._send(call, frame)

    def consumed(self, call: Call, size_bytes: int) -> None:
        if not call.is_over:
            self._consumed(call.stream_id, size_bytes)
            self._flush_later()

    async def _send(self, call: Call, data: bytes) -> None:
        """Send data in as many frames as the client's windows ask for."""
        view = memoryview(data)
        while view and not call.is_over:
            size = min(
                len(view),
                self._h2.local_flow_control_window(call.stream_id),
                self._h2.max_outbound_frame_size,
            )
            if size <= 0:
                call.window_opened = call.window_opened or asyncio.Event()
                call.window_opened.clear()
                self._flush_later()
                await call.window_opened.wait()
                continue
            self._h2.send_data(call.stream_id, bytes(view[:size]))
            self._idle_frames = 0
            view = view[size:]
            if not self._can_write.is_set():
                await self._can_write.wait()
        self._flush_later()

    def _send_headers(self, call: Call) -> None:
        if not call.sent_headers and not call.is_over:
            call.sent_headers = True
            headers = RESPONSE_HEADERS
            if call.reply_headers:
                headers = [*headers, *call.reply_headers]
            self._h2.send_headers(call.stream_id, headers)

    def abort(self, call: Call, refusal: Refusal) -> None:
        """End a call with a status; what answers it goes on if it is a command."""
        if call.is_over:
            return
        end = trailers(refusal)
        if not call.sent_headers:
            end = [*RESPONSE_HEADERS, *call.reply_headers, *end]
        self._end(call, end)
        if isinstance(call.method, Conversation) and call.task is not None:
            call.task.cancel()

    def _end(self, call: Call, end: list[Header]) -> None:
        if call.is_over:
            return
        self._forget(call)
        if call.received_all:
            self._idle_frames = 0
        # The client may have closed the stream in the same breath, which `h2` knows already.
        with suppress(StreamClosedError):
            self._h2.send_headers(call.stream_id, end, end_stream=True)
            if not call.received_all:
                # Nobody will read the rest of the request.
                self._h2.reset_stream(call.stream_id, ErrorCodes.NO_ERROR)
        if self.calls:
            self._flush_later()
        else:
            self._flush()  # nobody else has an answer that could go with it
        self._close_if_drained()

    def _hang_up(self, call: Call) -> None:
        """The client does not wait any more. A command goes on; it may be half done already."""
        self._forget(call)
        if isinstance(call.method, Conversation) and call.task is not None:
            call.task.cancel()
        self._close_if_drained()

    def _forget(self, call: Call) -> None:
        call.is_over = True
        if call.window_opened is not None:
            call.window_opened.set()
        self.calls.pop(call.stream_id, None)
        self.last_call_s = self._server.now_s()

    def _refuse_foreign(self, stream_id: int) -> None:
        self._on_idle_frame(h2.events.Event())
        with suppress(StreamClosedError):
            self._h2.send_headers(stream_id, [(b":status", b"415")], end_stream=True)
            self._h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    def _consumed(self, stream_id: int, size_bytes: int) -> None:
        if size_bytes:
            self._h2.acknowledge_received_data(size_bytes, stream_id)

    def _close_if_drained(self) -> None:
        if self.is_draining and not self.calls and not self._transport.is_closing():
            self._flush()
            self._transport.close()

    # --- Output ---

    def _flush_later(self) -> None:
        # Many calls end in one turn of the loop; their answers leave together.
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
