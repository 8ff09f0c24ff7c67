"""HTTP/1.1 on one connection: uvicorn's protocol, with limits on size and time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from cloudstate_core.frontend import Limits
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.http.errors import error_response
from cloudstate_runtime.frontend.http.gate import Gate, response_bytes
from cloudstate_runtime.frontend.http.transport import ClosedByUs
from cloudstate_runtime.frontend.parting import Parting

__all__ = ["JSON_REPLY", "STREAMED", "BoundedHttpProtocol", "StreamControl"]

#: Key among the extensions of an ASGI scope for a function that sends a whole response, 200 with a
#: body of JSON. It takes the scope, the body and the version of the entity, and returns whether it
#: did; if not, the response is to be sent as any other.
JSON_REPLY = "cloudstate.json_reply"

#: Key among the extensions of an ASGI scope for the connection: a `StreamControl`.
STREAMED = "cloudstate.streamed"

#: How long a client may take for what was sent before its connection was cut off, in seconds.
_LINGER_S = 10.0

_JSON_REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
_ETAG = b'etag: "%d"\r\n'

#: Chunks of one byte take six bytes each on the wire, and nobody has a reason for worse.
_MAX_WIRE_BYTES_PER_BODY_BYTE = 6

#: What may come beside a message in any case: line ends, chunk extensions, a whole read.
_SLACK_BYTES = 64 * 1024

_OFFER = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


def _without_offer(data: bytes) -> bytes:
    """Decline the offer to go on in another protocol, by not hearing it.

    The parser would take what follows such a request for the other protocol, its body included.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    # A header that is meant for the next hop as well, and means nothing here.
    return _OFFER.sub(b"\r\nte:", head) + end + rest


class StreamControl(Protocol):
    """The connection, as far as a streamed response needs it; and a `Departure`.

    As long as somebody listens for it, a client that says no more is gone.
    """

    def has_left(self) -> bool:
        """Return whether the client is gone."""
        ...

    def when_left(self, listener: Callable[[], object] | None) -> None:
        """Have a function called as soon as the client is gone; None for an end of that."""
        ...

    def be_patient(self) -> None:
        """Let the body of the request take as long as parts of it keep coming."""
        ...

    def cut_off(self) -> None:
        """Close the connection after what was sent, although the response is not complete."""
        ...


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses what is too large, and does not wait for ever for the rest of a message.

    Header names reach the application as they were sent.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        limits: Limits,
        closed: Callable[[], None],
        gate: Gate | None = None,
    ) -> None:
        """Keep the collaborators.

        Args:
            config: What uvicorn's protocol needs.
            server_state: Likewise.
            limits: What to refuse.
            closed: Called when the connection is over.
            gate: Says which requests are to be read at all; None for all.
        """
        super().__init__(config, server_state, app_state={})
        self._closed = closed
        self.access_log = False  # paths hold entity ids, which are the application's data
        self._limits = limits
        self._gate = gate
        self._is_kept_out = False
        self._refusal: tuple[int, Status, str] | None = None
        self._is_broken = False
        self._parting: Parting | None = None
        self._in_head = self._in_message = self._is_fresh = False
        self._head_bytes = self._body_bytes = self._wire_bytes = 0
        self._patience: asyncio.TimerHandle | None = None
        self._gone: Callable[[], object] | None = None
        self._is_patient = self._has_heard = False
        self._extensions: Any = {JSON_REPLY: self._send_json, STREAMED: self}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._connection = transport
        seen = ClosedByUs(transport, self._close)
        super().connection_made(cast("asyncio.Transport", seen))

    def data_received(self, data: bytes) -> None:
        if self._parting is not None:
            self._parting.drop(data)
        if self._is_broken:
            return
        self._unset_keepalive_if_required()
        if (b"pgrade:" in data or b"PGRADE:" in data) and (self._in_head or not self._in_message):
            data = _without_offer(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # an offer that came in two pieces; declined, but without the request's body
        except httptools.HttpParserError:
            self._break_off()
            return
        if self._in_message:
            self._wait_for_more(len(data))
        elif self._patience is not None:
            self._stop_waiting()

    def eof_received(self) -> bool:  # type: ignore[override]
        # A client that has said all it wants to say may still want to hear the answer.
        # One that follows a stream would have to be waited for, perhaps for ever.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if self._is_broken or cycle is None or cycle.response_complete:
            return False
        if self._in_message or self._gone:
            return False
        cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._extensions.clear()  # it refers to this object
        cast("ClosedByUs", self.transport).has_ended()
        super().connection_lost(exc)
        if self._gone is not None:
            self._gone()
        self._closed()

    # What a streamed response calls: a `StreamControl`.

    def has_left(self) -> bool:
        return self._is_broken or self.transport.is_closing()

    def when_left(self, listener: Callable[[], object] | None) -> None:
        self._gone = listener
        self._is_patient = False

    def be_patient(self) -> None:
        self._is_patient = True

    def cut_off(self) -> None:
        self._is_broken = True
        self.transport.close()
        self.loop.call_later(_LINGER_S, self.transport.abort)

    # Callbacks of the parser. What they raise comes out of `feed_data` as an HttpParserError.

    def on_message_begin(self) -> None:
        self._in_head = self._in_message = self._is_fresh = True
        self._is_kept_out = False
        self._head_bytes = self._body_bytes = self._wire_bytes = 0
        super().on_message_begin()
        self.scope["extensions"] = self._extensions

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._limits.max_path_bytes:
            self._refuse(
                HTTPStatus.REQUEST_URI_TOO_LONG,
                f"expected a path with query of at most {self._limits.max_path_bytes} bytes, "
                "found more",
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come here as well, after the application was called; they are not its business.
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self._limits.max_metadata_bytes:
            self._refuse_head()
        if self._in_head:
            if name.lower() == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._gate is not None and self._may_keep_out():
            self._is_kept_out = not self._gate.lets_in(self.parser.get_method(), self.url)
        if not self._is_kept_out:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._is_kept_out:
            if self._body_bytes > self._limits.max_request_bytes:
                self._refuse(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"expected at most {self._limits.max_request_bytes} bytes of body, found more",
                )
            return
        if self._body_bytes > self._limits.max_request_bytes and self.cycle.response_complete:
            # Nobody reads it, and the answer is out.
            self._part()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        if self._is_kept_out:
            self._turn_away()
            return
        super().on_message_complete()

    def _may_keep_out(self) -> bool:
        """Return whether a request could be answered here, of which only the head is known."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return (
            (cycle is None or cycle.response_complete)
            and not self.expect_100_continue
            and self.parser.get_method() != b"HEAD"
        )

    def _turn_away(self) -> None:
        """Answer a request for which there was no room, now that all of it has come."""
        assert self._gate is not None
        self._is_kept_out = False
        keep_alive = self.parser.should_keep_alive()
        self.transport.write(self._gate.answer(keep_alive=keep_alive))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _send_json(self, scope: object, body: bytes, version: int | None) -> bool:
        """Send a reply in one piece, unless there is anything special about it."""
        cycle = self.cycle
        if (
            cycle.scope is not scope  # the one for a later request, sent ahead
            or cycle.disconnected
            or not cycle.keep_alive
            or self.flow.write_paused
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        etag = b"" if version is None else _ETAG % version
        self.transport.write(_JSON_REPLY % (len(body), etag, body))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._refusal = (status, Status.RESOURCE_EXHAUSTED, message)
        raise ValueError(message)

    def _refuse_head(self) -> None:
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"expected at most {self._limits.max_metadata_bytes} bytes of headers, found more",
        )

    def _wait_for_more(self, received_bytes: int) -> None:
        """Bound the size and the time of a message of which more is to come."""
        if self._is_broken:
            return
        # The parser keeps a header until it is complete, so bytes are counted here as well. Those
        # of the read in which the message began may belong to the one before.
        self._wire_bytes += 0 if self._is_fresh else received_bytes
        self._has_heard = self._has_heard or received_bytes > 0
        self._is_fresh = False
        limits = self._limits
        allowed = limits.max_metadata_bytes + limits.max_path_bytes
        if not self._in_head:
            allowed += _SLACK_BYTES + _MAX_WIRE_BYTES_PER_BODY_BYTE * self._body_bytes
        if self._wire_bytes > allowed:
            try:
                self._refuse_head()
            except ValueError:
                self._break_off()
            return
        if self._patience is None:
            delay_s = limits.handshake_timeout_s if self._in_head else limits.default_deadline_s
            self._patience = self.loop.call_later(delay_s, self._lose_patience, self._in_head)

    def _lose_patience(self, waited_for_head: bool) -> None:  # noqa: FBT001
        self._patience = None
        if not self._in_message or self.transport.is_closing():
            return
        is_alive = self._is_patient and self._has_heard
        if self.flow.read_paused or waited_for_head != self._in_head or is_alive:
            self._has_heard = False
            self._is_fresh = True  # nothing new was received
            self._wait_for_more(0)
            return
        what = "headers" if self._in_head else "body"
        self._refusal = (
            HTTPStatus.REQUEST_TIMEOUT,
            Status.DEADLINE_EXCEEDED,
            f"the {what} did not arrive in time",
        )
        self._break_off()

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _break_off(self) -> None:
        """Close, after telling the client why if no other answer has to come first."""
        if self._is_broken:
            return
        status, code, message = self._refusal or (
            HTTPStatus.BAD_REQUEST,
            Status.INVALID_ARGUMENT,
            "the request is not HTTP/1.1 that can be read",
        )
        if self._may_answer():
            self._write_error(status, code, message)
        self._part()

    def _close(self) -> None:
        if self._in_message and self._parting is None:
            self._part()
        else:
            self._connection.close()

    def _part(self) -> None:
        """Let the client read what was sent, and hear neither it nor the application any more."""
        if self._parting is not None:
            return
        self._is_broken = True
        self._stop_waiting()
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if self._gone is not None:
            self._gone()
        self.flow.resume_reading()
        self._parting = Parting(self._connection)
        cast("ClosedByUs", self.transport).has_ended()

    def _may_answer(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:
            return True
        # An earlier request of this connection may still wait for its answer, which has to come
        # first. Then there is none for this one: the connection just ends.
        return not self._in_head and not cycle.response_started and not self.pipeline

    def _write_error(self, status: int, code: Status, message: str) -> None:
        response = error_response(status, code, message)
        self.transport.write(response_bytes(response, (b"connection", b"close")))
