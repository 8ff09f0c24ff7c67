"""The ASGI application that serves methods over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus

from google.protobuf.any_pb2 import Any as PackedAny

from cloudstate_core.frontend import FrontEndHost
from cloudstate_core.handler import Conditions, Outcome, Request
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Calls
from cloudstate_runtime.frontend.conditions import conditions_of
from cloudstate_runtime.frontend.http.asgi import (
    ClientGone,
    Message,
    Receive,
    Send,
    reply_headers,
    send_response,
    too_large,
    whole_body,
)
from cloudstate_runtime.frontend.http.codec import JsonCodec
from cloudstate_runtime.frontend.http.endpoints import Endpoint, endpoints_of
from cloudstate_runtime.frontend.http.errors import (
    Response,
    error_response,
    failure_response,
    refusal_response,
)
from cloudstate_runtime.frontend.http.incoming import Headers, decompressed
from cloudstate_runtime.frontend.http.protocol import JSON_REPLY, STREAMED
from cloudstate_runtime.frontend.http.request import check_json_type
from cloudstate_runtime.frontend.http.response import JSON
from cloudstate_runtime.frontend.http.routes import RouteTable
from cloudstate_runtime.frontend.http.streams import Streams

__all__ = ["HttpApplication"]

_PROBE = b"k-network-probe"
_JSON_ONLY = ((b"content-type", b"application/json"),)
_NOT_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class HttpApplication:
    """Serves what is served at the moment.

    Header names are taken as they come: in lower case from any ASGI server, as they were sent from
    the one in this package.

    Args:
        host: What is served, and the limits.
        calls: Runs the requests.
        codec: Reads and writes JSON.

    Attributes:
        streams: Serves the streamed methods.
    """

    def __init__(self, host: FrontEndHost, calls: Calls, codec: JsonCodec) -> None:
        self._host = host
        self._calls = calls
        self._codec = codec
        self.streams = Streams(host, calls, self._answer)
        self._revision: int | None = None
        self._routes: RouteTable[Endpoint] = RouteTable(())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        method, path = scope["method"], scope["raw_path"].decode("latin-1")
        found = self._current_routes().find(method, path)
        if found is None and method == "HEAD":
            found = self._routes.find("GET", path)
        try:
            if found is None:
                response = self._unrouted(method, path, scope)
            elif found[0].streams:
                await self.streams.serve(*found, scope, receive, send)
                return
            else:
                response = await self._call(*found, scope, receive)
        except ClientGone:
            return
        except asyncio.CancelledError:
            return  # the server is closed, and so is the connection
        if response.headers is not _JSON_ONLY or not _sent_at_once(response, scope):
            await send_response(response, send)

    def is_whole_command(self, method: str, path: str) -> bool:
        """Return whether a request is for a user function, and sends no stream."""
        found = self._current_routes().find(method, path)
        return found is not None and not found[0].client_streaming

    def _current_routes(self) -> RouteTable[Endpoint]:
        served = self._host.served
        if served.revision != self._revision:
            self._routes = endpoints_of(served, self._codec, self._host.limits)
            self._revision = served.revision
        return self._routes

    async def _call(
        self, endpoint: Endpoint, variables: tuple[str, ...], scope: Message, receive: Receive
    ) -> Response:
        try:
            headers = Headers(scope["headers"])
            body = b""
            if endpoint.reader.takes_body:
                limit = self._host.limits.max_request_bytes
                packed = await whole_body(headers, receive, limit)
                if packed is None:
                    return too_large(limit)
                check_json_type(headers.content_type)
                body = decompressed(packed, headers.content_encoding, limit)
            payload = endpoint.reader.read(variables, scope["query_string"], body)
            host = self._host
            outcome = await self._calls.run(
                Request(
                    endpoint.service,
                    endpoint.command,
                    PackedAny(type_url=endpoint.type_url, value=payload),
                    headers.metadata,
                    host.clock.monotonic_s() + host.limits.default_deadline_s,
                    conditions=_conditions(headers, endpoint) if headers.conditions else None,
                    departure=scope.get("extensions", {}).get(STREAMED),
                )
            )
            return self._answer(endpoint, outcome)
        except ClientGone:
            raise
        except Exception as error:
            refusal = self._calls.refusal(error, endpoint.service, endpoint.command)
            return refusal_response(refusal)

    def _answer(self, endpoint: Endpoint, outcome: Outcome) -> Response:
        action = outcome.action
        if action.HasField("reply"):
            reply = action.reply
            content_type, body = endpoint.writer.write(reply.payload.value)
            if content_type == JSON and not reply.HasField("metadata"):
                return Response(HTTPStatus.OK, body, _JSON_ONLY, outcome.version)
            headers = [(b"content-type", content_type.encode("latin-1"))] if content_type else []
            if reply.HasField("metadata"):
                headers += reply_headers(reply.metadata, outcome.version)
            return Response(HTTPStatus.OK, body, tuple(headers), outcome.version)
        if action.HasField("failure"):
            return failure_response(action.failure)
        return refusal_response(self._calls.no_reply(action, endpoint.service, endpoint.command))

    def _unrouted(self, method: str, path: str, scope: Message) -> Response:
        probe = next((v for n, v in scope["headers"] if n.lower() == _PROBE), None)
        if probe is not None:
            return _probed(probe)
        allowed = self._routes.methods(path)
        if not allowed:
            return error_response(
                HTTPStatus.NOT_FOUND, Status.UNIMPLEMENTED, "nothing is served at this path"
            )
        names = {*allowed, "OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())
        allow = (b"allow", ", ".join(sorted(names)).encode())
        if method == "OPTIONS":
            return Response(HTTPStatus.NO_CONTENT, headers=(allow,))
        return error_response(
            HTTPStatus.METHOD_NOT_ALLOWED,
            Status.UNIMPLEMENTED,
            f"expected one of {', '.join(sorted(names))}, found {method}",
            allow,
        )


def _probed(value: bytes) -> Response:
    """Answer Knative's queue proxy, which asks by a header whether anybody listens."""
    if value == b"queue":
        return Response(HTTPStatus.OK, b"queue", (_NOT_TEXT,))
    shown = value[:80].decode("latin-1")
    text = f"unexpected probe header value: {shown}"
    return Response(HTTPStatus.BAD_REQUEST, text.encode(), (_NOT_TEXT,))


def _conditions(headers: Headers, endpoint: Endpoint) -> Conditions:
    return conditions_of(headers.conditions, versions=endpoint.may_have_versions)


def _sent_at_once(response: Response, scope: Message) -> bool:
    """Send a reply that is JSON and nothing else, if the server has a short way for those."""
    extensions: Mapping[str, Callable[[Message, bytes, int | None], bool]]
    extensions = scope.get("extensions", {})
    send_json = extensions.get(JSON_REPLY)
    return send_json is not None and send_json(scope, response.body, response.version)
