"""gRPC on one connection: HTTP/2 frames by `h2`, calls by the methods of the server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Protocol, cast

import h2.events
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes

from cloudstate_core.errors import MalformedRequest
from cloudstate_core.frontend import Limits
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import STOPPING, Refusal
from cloudstate_runtime.frontend.grpc.call import (
    WITHIN_A_MESSAGE,
    Call,
    Conversation,
    Method,
    Unary,
)
from cloudstate_runtime.frontend.grpc.farewell import Farewell
from cloudstate_runtime.frontend.grpc.gate import Gate
from cloudstate_runtime.frontend.grpc.http2 import (
    DEFAULT_WINDOW_BYTES,
    connection_window_bytes,
    head_refusal,
    open_connection,
    request_line,
)
from cloudstate_runtime.frontend.grpc.outgoing import Outgoing
from cloudstate_runtime.frontend.grpc.packing import announce_packing, packed_frame
from cloudstate_runtime.frontend.grpc.presence import Advice, Presence
from cloudstate_runtime.frontend.grpc.status import (
    DEADLINE,
    OK_TRAILERS,
    RESPONSE_HEADERS,
    STREAM_DEADLINE,
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

#: How many of them are forgiven each time the server looks: a stream that lives for days sees a
#: ping now and then.
_FORGIVEN_FRAMES = 10


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

    def gate(self, connection: H2Connection) -> Gate | None:
        """Return what takes calls out of a connection; None for nothing."""
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
        farewell: How it ends.
    """

    def __init__(self, server: Server) -> None:
        self.calls: dict[int, Call] = {}
        self.is_greeted = False
        self.opened_s = self.last_call_s = server.now_s()
        self._server = server
        self._limits = server.limits
        self._h2 = open_connection(server.limits)
        self._gate = server.gate(self._h2)
        self._out = Outgoing(self._h2)
        self.farewell = Farewell(self._h2, self._out)
        self._loop = asyncio.get_running_loop()
        self._presence = Presence(self.opened_s)
        self._handlers: dict[type[h2.events.Event], Callable[..., None]] = {
            h2.events.RequestReceived: self._on_request,
            h2.events.DataReceived: self._on_data,
            h2.events.StreamEnded: self._on_stream_ended,
            h2.events.StreamReset: self._on_stream_reset,
            h2.events.WindowUpdated: self._on_window_updated,
            h2.events.ConnectionTerminated: self._on_goaway,
            h2.events.PingReceived: self._on_idle_frame,
            h2.events.PingAckReceived: lambda event: self.farewell.hear(event.ping_data),
            h2.events.RemoteSettingsChanged: self._on_settings_changed,
            h2.events.PriorityUpdated: self._on_idle_frame,
            h2.events.UnknownFrameReceived: self._on_idle_frame,
        }

    # --- What the transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not to be checked: the transports of other event loops derive from nothing.
        self._transport = cast("asyncio.Transport", transport)
        self._out.open(self._transport)
        self._server.opened(self)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(
            connection_window_bytes(self._limits) - DEFAULT_WINDOW_BYTES
        )
        self._out.flush()

    def data_received(self, data: bytes) -> None:
        if self.farewell.parting is not None:
            self.farewell.parting.drop(data)
            return
        self._presence.was_heard = True
        if self._gate is not None:
            data, refusals = self._gate.let_in(data)
            if refusals:
                self._transport.write(refusals)
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
        if self.farewell.was_heard:
            self._take_no_more()
        if self._out.idle_frames > _MAX_IDLE_FRAMES:
            self.close(ErrorCodes.ENHANCE_YOUR_CALM)
            return
        self._out.flush()

    def eof_received(self) -> None:
        """Let the transport close; a client that sends nothing more reads nothing more."""

    def pause_writing(self) -> None:
        # Whoever does not read its answers gets no more questions in.
        self._out.pause()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._out.resume()
        self._presence.was_heard = True  # by what it took
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._end_all()
        self._out.resume()
        self._server.closed(self)

    # --- What the server calls ---

    def drain(self) -> None:
        """Take the calls that are on their way, refuse later ones, and close after the last."""
        self.farewell.begin(self._server.now_s())
        self._stop_conversations()

    def end_calls(self) -> None:
        """Tell the clients of all calls that the server stops."""
        self._take_no_more()
        for call in tuple(self.calls.values()):
            self.abort(call, STOPPING)

    def _take_no_more(self) -> None:
        if self.farewell.name_last_call():
            self._stop_conversations()
            self._close_if_drained()

    def _stop_conversations(self) -> None:
        for call in tuple(self.calls.values()):
            if isinstance(call.method, Conversation) and not call.method.may_finish:
                self.abort(call, STOPPING)

    def look_after(self, now_s: float) -> None:
        """End the calls whose deadline is over, or all of them if the client is dead."""
        self._out.idle_frames = max(0, self._out.idle_frames - _FORGIVEN_FRAMES)
        for call in tuple(self.calls.values()):
            if call.deadline_s <= now_s:
                self.abort(call, DEADLINE if isinstance(call.method, Unary) else STREAM_DEADLINE)
        if self.farewell.is_overdue(now_s):
            self._take_no_more()
        match self._presence.look(now_s, has_calls=bool(self.calls)):
            case Advice.ASK:
                self._h2.ping(bytes(8))
                self._out.flush()
            case Advice.GIVE_UP:
                self.cut_off()

    def close(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Close at once, after what is already in the transport's hands."""
        if self.farewell.parting is not None:
            self.cut_off()
        elif not self._transport.is_closing():
            self._h2.close_connection(code)
            self._end_all()

    def cut_off(self) -> None:
        """Close at once, whatever is still to be sent."""
        self._transport.abort()

    # --- Events of `h2` ---

    def _on_request(self, event: h2.events.RequestReceived) -> None:
        stream_id, headers = event.stream_id, event.headers
        if self.farewell.takes_no_more:
            with suppress(StreamClosedError):
                self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self.last_call_s = self._server.now_s()
        path, wanted_s, encoding, is_grpc, size_bytes = request_line(headers)
        if not is_grpc:
            self._refuse_foreign(stream_id)
            return
        method = self._server.method(path)
        is_stream = isinstance(method, Conversation)
        call = Call(
            self,
            stream_id,
            method,
            headers,
            math.inf if is_stream else self.last_call_s + self._limits.default_deadline_s,
            MessageReader(encoding, self._limits.max_request_bytes),
        )
        self.calls[stream_id] = call
        refusal = head_refusal(encoding, size_bytes, self._limits)
        if refusal is not None:
            call.reply_headers.append(_ACCEPTED_ENCODINGS)
            self.abort(call, refusal)
            return
        if wanted_s is not None:
            try:
                seconds = timeout_s(wanted_s)
            except MalformedRequest as error:
                self.abort(call, Refusal(error.status, str(error)))
                return
            longest_s = math.inf if is_stream else self._limits.max_deadline_s
            call.deadline_s = self.last_call_s + min(seconds, longest_s)
            if seconds <= 0:
                self.abort(call, DEADLINE)
                return
        if isinstance(method, Conversation) and not method.takes_one:
            self._begin(call, self._converse(call, method))

    def _on_data(self, event: h2.events.DataReceived) -> None:
        call = self.calls.get(event.stream_id)
        size_bytes = event.flow_controlled_length
        if call is None or call.is_over:
            self._consumed(event.stream_id, size_bytes)
            self._on_idle_frame(event)
            return
        if not event.data:
            self._on_idle_frame(event)
        if isinstance(call.method, Conversation) and not call.method.takes_one:
            call.received(event.data or b"", size_bytes)
            return
        self._consumed(call.stream_id, size_bytes)
        try:
            call.messages += call.reader.feed(event.data or b"")
            if len(call.messages) > 1:
                call.only_message()  # which says what is wrong, before there are more
        except Exception as error:
            self._fail(call, error)

    def _on_stream_ended(self, event: h2.events.StreamEnded) -> None:
        call = self.calls.get(event.stream_id)
        if call is None or call.is_over:
            return
        call.received_all = True
        method = call.method
        if isinstance(method, Conversation) and not method.takes_one:
            call.wake()
        elif call.reader.is_within_a_message():
            self.abort(call, Refusal(Status.INVALID_ARGUMENT, WITHIN_A_MESSAGE))
        elif isinstance(method, Conversation):
            self._begin(call, self._converse(call, method))
        else:
            self._begin(call, self._answer(call, method))

    def _on_stream_reset(self, event: h2.events.StreamReset) -> None:
        self._on_idle_frame(event)
        if call := self.calls.get(event.stream_id):
            self._hang_up(call)

    def _on_goaway(self, event: h2.events.ConnectionTerminated) -> None:
        # Whoever says this has no more questions. `h2` sends nothing after it, answers included.
        self._end_all()

    def _end_all(self) -> None:
        """Say what is left to say, close, and forget the calls."""
        self._out.flush()
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
        self._out.idle_frames += 1

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
        except Exception as error:
            self._fail(call, error)
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
            await self._out.send(call, frame)
        self._end(call, OK_TRAILERS)

    async def _converse(self, call: Call, method: Conversation) -> None:
        try:
            await method.hold(call)
        except Exception as error:
            self._fail(call, error)
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
        await self._out.send(call, frame)

    def consumed(self, call: Call, size_bytes: int) -> None:
        if not call.is_over:
            self._consumed(call.stream_id, size_bytes)
            self._out.flush_later()

    def _send_headers(self, call: Call) -> None:
        if not call.sent_headers and not call.is_over:
            call.sent_headers = True
            headers = RESPONSE_HEADERS
            if call.reply_headers:
                headers = [*headers, *call.reply_headers]
            self._h2.send_headers(call.stream_id, headers)

    def _fail(self, call: Call, error: Exception) -> None:
        if isinstance(error, Aborted):
            self.abort(call, error.refusal)
        else:
            self.abort(call, self._server.refusal(error, call))

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
            self._out.idle_frames = 0
        # The client may have closed the stream in the same breath, which `h2` knows already.
        with suppress(StreamClosedError):
            self._h2.send_headers(call.stream_id, end, end_stream=True)
            if not call.received_all:
                # Nobody will read the rest of the request.
                self._h2.reset_stream(call.stream_id, ErrorCodes.NO_ERROR)
        if self.calls:
            self._out.flush_later()
        else:
            self._out.flush()  # nobody else has an answer that could go with it
        self._close_if_drained()

    def _hang_up(self, call: Call) -> None:
        """The client does not wait any more. A command goes on; it may be half done already."""
        self._forget(call)
        call.leave()
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
        if self.farewell.takes_no_more and not self.calls:
            self.farewell.part(self._transport)
