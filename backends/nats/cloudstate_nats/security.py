"""What a server must be before it is told anything: who it is, and whether others can listen."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from pathlib import Path

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from cloudstate_core.errors import SettingsError
from cloudstate_nats.settings import NatsSettings

__all__ = ["CarefulClient", "ServerNotTrusted", "tls_of"]

_FILES = ("credentials_file", "ca_file", "cert_file", "key_file")

#: How long a client may take to stop its attempts to connect, in seconds, before it is told again.
_STOP_AGAIN_AFTER_S = 0.1

#: What a client says first: this word, and then who it is, as JSON.
_CONNECT = b"CONNECT "

#: Of that, what whoever reads it could use. A signature is good for one connection only.
_SECRETS = {"pass", "auth_token"}


class ServerNotTrusted(nats.errors.Error):
    """A server was told nothing, since it is not what the settings ask for."""


class CarefulClient(Client):
    """The client, which says who it is only where nobody can listen.

    It looks at every connection for itself, also at those that it makes to other servers of the
    cluster, and after a server was lost.
    """

    def __init__(self, settings: NatsSettings) -> None:
        """Keep what the settings ask for."""
        super().__init__()
        self._settings = settings

    def _connect_command(self) -> bytes:
        # Nothing is sent before it, and by now the connection is secured if the server asks for it.
        # The client has no public place for this.
        command = super()._connect_command()
        reason = self._reason_to_say_nothing(command)
        if reason:
            # Left to itself, the client would keep it open beside the next one that it makes.
            self.cut()
            raise ServerNotTrusted(reason)
        return command

    def cut(self) -> None:
        """End the connection at once, with what could not be sent."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def stop_connecting(self) -> None:
        """End the attempts to connect again of a client that was closed.

        A cancellation that comes as the server answers is lost on the client, which then goes on.
        """
        attempts = self._reconnection_task
        while attempts is not None and not attempts.done():
            attempts.cancel()
            await asyncio.wait((attempts,), timeout=_STOP_AGAIN_AFTER_S)

    def _reason_to_say_nothing(self, command: bytes) -> str:
        if self._writer is not None and self._writer.get_extra_info("ssl_object"):
            return ""
        if self._settings.tls:
            return "the server does not ask for TLS, which the setting tls of section [nats] wants"
        if self._is_far() and _has_secrets(command):
            return (
                "the server is on another machine and does not ask for TLS, so that others could "
                "read the password: have it use TLS, or set allow_clear_text_secrets"
            )
        return ""

    def _is_far(self) -> bool:
        if self._settings.allow_clear_text_secrets:
            return False
        peer = None if self._writer is None else self._writer.get_extra_info("peername")
        return not (isinstance(peer, tuple) and _is_loopback(str(peer[0])))

    @property
    def _writer(self) -> asyncio.StreamWriter | None:
        # The client has no public way to it.
        carrier = self._transport
        return carrier._io_writer if isinstance(carrier, TcpTransport) else None  # noqa: SLF001


def _has_secrets(command: bytes) -> bool:
    return not _SECRETS.isdisjoint(json.loads(command.removeprefix(_CONNECT)))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def tls_of(settings: NatsSettings) -> ssl.SSLContext | None:
    """Return how to secure connections; None for the client's own way, with the system's files.

    Raises:
        SettingsError: A file is not there, or does not hold what it should.
    """
    for key in _FILES:
        name = getattr(settings, key)
        if name and not Path(name).is_file():
            raise SettingsError(f"section [nats], key {key!r}: there is no file {name!r}")
    if not (settings.ca_file or settings.cert_file):
        return None
    context = _context_of(settings)
    if settings.cert_file:
        _show_certificate(context, settings)
    return context


def _context_of(settings: NatsSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file or None)
    except ssl.SSLError as error:
        raise SettingsError(
            f"section [nats], key 'ca_file': no certificates in {settings.ca_file!r}"
        ) from error


def _show_certificate(context: ssl.SSLContext, settings: NatsSettings) -> None:
    def no_password() -> str:
        # Otherwise the terminal would be asked, and the process hang where there is none.
        raise SettingsError(
            f"section [nats], key {key!r}: the private key has a password, which cannot be given"
        )

    key = "key_file" if settings.key_file else "cert_file"
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file or None, no_password)
    except ssl.SSLError as error:
        raise SettingsError(
            f"section [nats], key {key!r}: no certificate with its private key in "
            f"{' and '.join(filter(None, (settings.cert_file, settings.key_file)))!r}"
        ) from error
