"""Connecting to a NATS server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from secrets import randbits
from typing import ClassVar, cast
from urllib.parse import urlsplit

from nats.aio.client import Client

from cloudstate_core.clock import Clock
from cloudstate_core.errors import SettingsError, TransportUnavailable
from cloudstate_core.transport import Transport, TransportBackend, check_node_name
from cloudstate_nats.security import tls_of
from cloudstate_nats.settings import NatsSettings
from cloudstate_nats.transport import FAILURES, NatsTransport

__all__ = ["NatsBackend", "servers_of"]

#: How many signs of life a server may owe.
_MAX_OUTSTANDING_PINGS = 2

#: How long a sender waits, in seconds, for what was sent before it to leave.
_FLUSH_TIMEOUT_S = 1.0

#: No limit, in the words of the client.
_WITHOUT_END = -1


class NatsBackend(TransportBackend):
    """Connects nodes through a NATS server, or a cluster of them.

    The address is `nats://HOST[:PORT]`, with further servers of one NATS cluster after commas, and
    `USER:PASSWORD@` before a host whose server asks for them.
    """

    scheme: ClassVar[str] = "nats"
    settings_type: ClassVar[type] = NatsSettings

    @asynccontextmanager
    async def open(
        self, settings: object, address: str, node: str, clock: Clock
    ) -> AsyncIterator[Transport]:
        chosen = cast("NatsSettings", settings)
        try:
            check_node_name(node)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        transport = await _connected(node, chosen, address, clock)
        try:
            yield transport
        finally:
            await transport.aclose()


async def _connected(
    node: str, settings: NatsSettings, address: str, clock: Clock
) -> NatsTransport:
    """Look for a server until one is found, or for as long as the settings allow."""
    servers = servers_of(address)
    connect = partial(_connect, servers=servers, tls=tls_of(settings))
    # No two processes may have one number, whatever seed the rest of them has.
    transport = NatsTransport(node, connect, settings, clock, process=randbits(64))
    reason = "no answer"
    try:
        async with clock.timeout(settings.connect_timeout_s):
            while True:
                try:
                    await transport.begin()
                except FAILURES as error:
                    reason = str(error) or type(error).__name__
                else:
                    return transport
                _go_on_unless_cancelled()
                await clock.sleep(settings.reconnect_wait_s)
    except BaseException as error:
        await transport.aclose()
        if not isinstance(error, TimeoutError):
            raise
        shown = ", ".join(_without_secrets(server) for server in servers)
        raise TransportUnavailable(
            f"no NATS server could be used at {shown} within {settings.connect_timeout_s:g} s "
            f"({reason}); start one with `nats-server`, or correct the address that --transport or "
            "the setting runtime.transport names"
        ) from error


def _go_on_unless_cancelled() -> None:
    """Raise what the client has caught: it takes a cancellation for a failed attempt."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _connect(
    client: Client, transport: NatsTransport, *, servers: list[str], tls: ssl.SSLContext | None
) -> None:
    settings = transport.settings
    await client.connect(
        servers=servers,
        name=f"cloudstate node {transport.node}",
        error_cb=transport.failed,
        disconnected_cb=transport.disconnected,
        reconnected_cb=transport.reconnected,
        closed_cb=transport.closed,
        no_echo=True,
        max_reconnect_attempts=_WITHOUT_END,
        # The client takes these as whole numbers by its hints alone.
        connect_timeout=cast("int", settings.connect_timeout_s),
        reconnect_time_wait=cast("int", settings.reconnect_wait_s),
        ping_interval=cast("int", settings.ping_interval_s),
        max_outstanding_pings=_MAX_OUTSTANDING_PINGS,
        flush_timeout=_FLUSH_TIMEOUT_S,
        pending_size=settings.max_buffered_bytes,
        user_credentials=settings.credentials_file or None,
        user=settings.user or None,
        password=settings.password or None,
        token=settings.token or None,
        tls=tls,
    )


def servers_of(address: str) -> list[str]:
    """Return the address of each server.

    Raises:
        SettingsError: There is something else.
    """
    _, _, rest = address.partition("://")
    servers = [f"nats://{each.removeprefix('nats://')}" for each in rest.split(",")]
    for server in servers:
        try:
            parts = urlsplit(server)
            is_one = bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_one = False
        if not is_one or parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise SettingsError(
                "expected a transport as nats://HOST:PORT, with more servers after commas, found "
                f"{_without_secrets(address)!r}"
            )
    return servers


def _without_secrets(address: str) -> str:
    # Of several servers the last alone is shown, should there be a comma in a password.
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
