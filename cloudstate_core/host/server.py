"""The gRPC server of a user function: discovery, and the streams of its entities."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import grpc
import structlog
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo, UserFunctionError
from cloudstate_core.errors import ConfigurationError
from cloudstate_core.host.calls import Calls
from cloudstate_core.host.streams import EntityStreams
from cloudstate_core.host.user_function import DISCOVERY_SERVICE, UserFunction
from cloudstate_core.links import CallMethod, ConversationMethod
from cloudstate_core.settings import HostSettings

__all__ = ["HostServer", "open_server"]

_log = structlog.get_logger("cloudstate.host")

# Discovery and error reports pass even when all streams are taken.
_SPARE_CALLS = 100

_MAX_METADATA_BYTES = 16 * 1024
_HANDSHAKE_TIMEOUT_MS = 10_000
# A proxy may ask for signs of life, but not all the time.
_MIN_PING_INTERVAL_MS = 10_000


class HostServer:
    """A user function that is being served.

    Attributes:
        host: Where it listens.
        port: On which port; never 0.
        streams: Its open entity streams.
        calls: Its calls that run.
    """

    def __init__(
        self, server: aio.Server, streams: EntityStreams, calls: Calls, host: str, port: int
    ) -> None:
        self._server = server
        self.streams = streams
        self.calls = calls
        self.host = host
        self.port = port

    @property
    def address(self) -> str:
        """Host and port, as a proxy is told them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def drain(self, grace_s: float) -> None:
        """Take no new streams, and end the open ones when the command they handle is answered.

        Returns when nothing runs any more, after `grace_s` seconds at the latest; what runs then
        is cut off. May be called again with less time.
        """
        self.streams.drain()
        self.calls.drain()
        await self._server.stop(grace_s)


@asynccontextmanager
async def open_server(function: UserFunction, settings: HostSettings) -> AsyncIterator[HostServer]:
    """Serve `function`, and stop at once in the end; `HostServer.drain` before that is gentler.

    Raises:
        ConfigurationError: The address cannot be listened on. Nothing was opened.
    """
    methods = function.methods.values()
    # One numbering, so that the id in a failure finds one line of the log.
    most, error_ids = settings.max_streams, count(1)
    streams = EntityStreams(
        [each for each in methods if isinstance(each, ConversationMethod)], most, error_ids
    )
    calls = Calls([each for each in methods if isinstance(each, CallMethod)], most, error_ids)
    server = aio.server(options=_options(settings))
    handlers = {**_discovery(function), **streams.handlers(), **calls.handlers()}
    server.add_generic_rpc_handlers((_ByPath(handlers),))
    port = _bind(server, settings)
    await server.start()
    opened = HostServer(server, streams, calls, settings.host, port)
    services = [str(entity.service.full_name) for entity in function.entities]
    _log.info("user_function_listens", address=opened.address, services=services)
    if not _is_loopback(settings.host):
        _log.warning("listens_beyond_loopback", address=opened.address)
    try:
        yield opened
    finally:
        await opened.drain(0)


class _ByPath(grpc.GenericRpcHandler):
    """Finds a method by its path."""

    def __init__(self, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._handlers = handlers

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._handlers.get(handler_call_details.method)


def _discovery(function: UserFunction) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    async def discover(proxy: ProxyInfo, _context: object) -> EntitySpec:
        return function.spec(proxy)

    async def report_error(error: UserFunctionError, _context: object) -> Empty:
        function.report_error(error.message)
        return Empty()

    return {
        f"/{DISCOVERY_SERVICE}/discover": grpc.unary_unary_rpc_method_handler(
            discover, ProxyInfo.FromString, EntitySpec.SerializeToString
        ),
        f"/{DISCOVERY_SERVICE}/reportError": grpc.unary_unary_rpc_method_handler(
            report_error, UserFunctionError.FromString, Empty.SerializeToString
        ),
    }


def _options(settings: HostSettings) -> list[tuple[str, Any]]:
    max_calls = settings.max_streams + _SPARE_CALLS
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_concurrent_streams", max_calls),
        # A window that grows with the speed of the line would let a sender get megabytes ahead of
        # a handler that does not read.
        ("grpc.http2.bdp_probe", 0),
        # A proxy that comes back opens the streams of all its entities at once.
        ("grpc.server.max_pending_requests", max_calls),
        ("grpc.server.max_pending_requests_hard_limit", max_calls),
        ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_TIMEOUT_MS),
        ("grpc.keepalive_time_ms", int(settings.keepalive_interval_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
        # Otherwise a second process could take half of the connections of the same port.
        ("grpc.so_reuseport", 0),
    ]


def _bind(server: aio.Server, settings: HostSettings) -> int:
    address = f"[{settings.host}]" if ":" in settings.host else settings.host
    _check_address(settings)
    try:
        port = server.add_insecure_port(f"{address}:{settings.port}")
    except RuntimeError as error:
        raise _cannot_listen(settings, "address cannot be bound") from error
    if port == 0:
        raise _cannot_listen(settings, "address cannot be bound")
    return port


def _check_address(settings: HostSettings) -> None:
    """Bind the address for a moment: gRPC says only that it failed, the system says why."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # With SO_REUSEADDR a bind beside a listening socket may pass; listening does not.
            probe.listen()
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(settings, _reason(error)) from error


def _reason(error: Exception) -> str:
    match error:
        case socket.gaierror():
            return "unknown host"
        case OSError(errno=errno.EADDRINUSE):
            return "port is in use"
        case OSError(errno=errno.EADDRNOTAVAIL):
            return "no interface of this machine has that address"
        case OSError(strerror=str(text)):
            return text.lower()
        case _:
            return str(error)


def _cannot_listen(settings: HostSettings, reason: str) -> ConfigurationError:
    return ConfigurationError(f"cannot listen on {settings.host!r}, port {settings.port}: {reason}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
