"""Streamed methods over HTTP: as long as both ends want, and no faster than either of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

from google.protobuf.any_pb2 import Any as PackedAny

from cloudstate.entity_pb2 import ClientAction, Failure, Reply
from cloudstate_core.errors import MalformedRequest
from cloudstate_core.failure_code import code_of
from cloudstate_core.frontend import FrontEndHost
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.one_message import OneMessage
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import STOPPING, Calls, Refusal
from cloudstate_runtime.frontend.conditions import conditions_of
from cloudstate_runtime.frontend.http.asgi import (
    Message,
    Receive,
    Send,
    reply_headers,
    send_response,
    too_large,
    whole_body,
)
from cloudstate_runtime.frontend.http.endpoints import Endpoint
from cloudstate_runtime.frontend.http.errors import (
    Response,
    failure_response,
    refusal_response,
)
from cloudstate_runtime.frontend.http.framing import Framing, RawFraming, framing_for
from cloudstate_runtime.frontend.http.incoming import Headers, decompressed
from cloudstate_runtime.frontend.http.lines import MessageLines, is_lines
from cloudstate_runtime.frontend.http.protocol import STREAMED, StreamControl
from cloudstate_runtime.frontend.http.request import check_json_type

__all__ = ["Streams"]

#: A client of events that hears nothing for so long is sent a comment, in seconds: whatever stands
#: between the two must not take the silence for an end, and a client that is gone is found out.
_HEARTBEAT_S = 15.0

#: Whoever sends so much without waiting for anything lets others have their turn.
_TURN_BYTES = 16 * 1024
_TURN_ELEMENTS = 64

_OF_ANYTHING = "application/octet-stream"

#: Proxies are asked to pass every event on when it comes.
_UNBUFFERED = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))

Answer = Callable[[Endpoint, Outcome], Response]


class Streams:
    """Serves streamed methods.

    Args:
        host: Where requests go, and the limits.
        calls: Tells what clients see of failures.
        answer: Makes the whole response of a method that answers once.
    """

    def __init__(self, host: FrontEndHost, calls: Calls, answer: Answer) -> None:
        self.host = host
        self.calls = calls
        self.answer = answer
        self._running: set[_Stream] = set()

    async def serve(
        self,
        endpoint: Endpoint,
        variables: tuple[str, ...],
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer one request, until its stream ends or its client is gone."""
        control = scope["extensions"].get(STREAMED)
        if control is None:
            return  # the client has gone before this was begun
        stream = _Stream(self, endpoint, scope, send, control)
        self._running.add(stream)
        try:
            await stream.run(variables, receive)
        finally:
            self._running.discard(stream)

    def stop(self) -> None:
        """End all that run, and tell their clients why."""
        for stream in tuple(self._running):
            stream.stop()


class _Stream:
    """One streamed call."""

    def __init__(
        self,
        streams: Streams,
        endpoint: Endpoint,
        scope: Message,
        send: Send,
        control: StreamControl,
    ) -> None:
        self._host, self._calls, self._answer = streams.host, streams.calls, streams.answer
        self._endpoint = endpoint
        self._scope = scope
        self._send = send
        self._control = control
        self._task = asyncio.current_task()
        self._framing = _framing(endpoint, scope)
        self._beating: asyncio.Task[None] | None = None
        self._is_started = self._is_stopping = self._has_sent = False
        self._turn_bytes = self._turn_elements = 0

    def stop(self) -> None:
        """End it, and tell the client why."""
        if self._task is not None and not self._is_stopping:
            self._is_stopping = True
            self._task.cancel()

    async def run(self, variables: tuple[str, ...], receive: Receive) -> None:
        """Return when everything is said; the call ends at once when the client is gone."""
        if self._task is not None:
            self._control.when_left(self._task.cancel)
        try:
            await self._respond(variables, receive)
        except asyncio.CancelledError:
            if not self._is_stopping or self._task is None:
                raise
            self._task.uncancel()
            await self._end_with(STOPPING)
        except Exception as error:
            endpoint = self._endpoint
            await self._end_with(self._calls.refusal(error, endpoint.service, endpoint.command))
        finally:
            self._stop_beating()
            self._control.when_left(None)

    async def _respond(self, variables: tuple[str, ...], receive: Receive) -> None:
        request = await self._request(variables, receive)
        if request is None:
            response = too_large(self._host.limits.max_request_bytes)
            await send_response(response, self._send)
            return
        async with aclosing(self._host.handler.stream(request)) as outcomes:
            if self._endpoint.server_streaming:
                failure = await self._send_elements(outcomes)
            else:
                response = await self._only_response(outcomes)
        # Not before the call has ended at the user function.
        if not self._endpoint.server_streaming:
            await send_response(response, self._send)
        elif failure is None:
            await self._end()
        elif self._is_started:
            code = code_of(failure) or Status.UNKNOWN
            await self._end_with(Refusal(code, failure.description))
        else:
            await send_response(failure_response(failure), self._send)

    # --- The request ---

    async def _request(self, variables: tuple[str, ...], receive: Receive) -> Request | None:
        """Return the request, whose messages may be still to come; None if it is too large."""
        endpoint, scope = self._endpoint, self._scope
        headers, limits = Headers(scope["headers"]), self._host.limits
        read = partial(endpoint.reader.read, variables, scope["query_string"])
        request = partial(
            Request,
            endpoint.service,
            endpoint.command,
            metadata=headers.metadata,
            conditions=conditions_of(headers.conditions, versions=False)
            if headers.conditions
            else None,
        )
        takes_body = endpoint.reader.takes_body
        if takes_body and endpoint.client_streaming and is_lines(headers.content_type):
            if headers.content_encoding not in ("", "identity"):
                raise MalformedRequest(
                    "expected no content-encoding for a body of lines, "
                    f"found {headers.content_encoding[:80]!r}"
                )
            self._control.be_patient()
            lines = MessageLines(receive, read, endpoint.type_url, limits.max_request_bytes)
            return request(PackedAny(), messages=lines)
        body = b""
        if takes_body:
            packed = await whole_body(headers, receive, limits.max_request_bytes)
            if packed is None:
                return None
            check_json_type(headers.content_type)
            body = decompressed(packed, headers.content_encoding, limits.max_request_bytes)
        message = PackedAny(type_url=endpoint.type_url, value=read(body))
        if endpoint.client_streaming:
            return request(PackedAny(), messages=OneMessage(message))
        return request(message)

    # --- The response ---

    async def _only_response(self, outcomes: AsyncGenerator[Outcome, None]) -> Response:
        outcome = Outcome(ClientAction())
        async for outcome in outcomes:
            if outcome.action.WhichOneof("action") in ("reply", "failure"):
                break
        return self._answer(self._endpoint, outcome)

    async def _send_elements(self, outcomes: AsyncGenerator[Outcome, None]) -> Failure | None:
        """Send all that comes, and return what it failed with; nothing is asked for in advance."""
        async for outcome in outcomes:
            action = outcome.action
            if action.HasField("failure"):
                return action.failure
            if action.HasField("reply"):
                await self._send_element(action.reply)
                if self._scope["method"] == "HEAD":
                    break
        return None

    async def _send_element(self, reply: Reply) -> None:
        content_type, body = self._endpoint.writer.write(reply.payload.value)
        if not self._is_started:
            await self._start(content_type, reply)
        await self._put(self._framing.element(body))
        self._turn_bytes += len(body)
        self._turn_elements += 1
        if self._turn_bytes >= _TURN_BYTES or self._turn_elements >= _TURN_ELEMENTS:
            self._turn_bytes = self._turn_elements = 0
            await asyncio.sleep(0)

    async def _start(self, content_type: str, first: Reply | None = None) -> None:
        kind = self._framing.content_type or content_type or _OF_ANYTHING
        headers = [(b"content-type", kind.encode("latin-1"))]
        if first is not None and first.HasField("metadata"):
            headers += reply_headers(first.metadata, None)
        if self._framing.heartbeat:
            given = {name.lower() for name, _ in headers}
            headers += [header for header in _UNBUFFERED if header[0] not in given]
        self._is_started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._framing.heartbeat:
            self._beating = asyncio.create_task(self._beat())

    async def _put(self, body: bytes) -> None:
        self._has_sent = True
        if body:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _end(self) -> None:
        if not self._is_started:
            await self._start("")
        self._stop_beating()
        await self._send({"type": "http.response.body", "body": b""})

    async def _end_with(self, refusal: Refusal) -> None:
        response = refusal_response(refusal)
        if not self._is_started:
            await send_response(response, self._send)
            return
        await self._put(self._framing.error(response.body))
        if self._framing.error_is_an_end:
            await self._end()
            return
        # The body must not look complete. The connection's end ends this task, too.
        self._stop_beating()
        self._control.cut_off()
        await asyncio.Event().wait()

    async def _beat(self) -> None:
        while True:
            await self._host.clock.sleep(_HEARTBEAT_S)
            if not self._has_sent:
                await self._put(self._framing.heartbeat)
            self._has_sent = False

    def _stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()


def _framing(endpoint: Endpoint, scope: Message) -> Framing:
    if endpoint.writer.is_raw:
        return RawFraming()
    accepted = (v.decode("latin-1") for n, v in scope["headers"] if n.lower() == b"accept")
    return framing_for(",".join(accepted))
