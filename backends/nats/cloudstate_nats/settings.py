"""What can be set about the transport."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated

from cloudstate_core.settings_values import Between, Secret

__all__ = ["NatsSettings"]

_MIB = 1024 * 1024

_PREFIX = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """Section `nats`: how nodes are connected over NATS.

    Attributes:
        subject_prefix: What all subjects begin with. Clusters that share a server need different
            ones; the nodes of one cluster the same.
        credentials_file: File with the credentials to connect with, as `nsc` writes it; empty for
            none.
        user: Whom to connect as, with `password`; it goes before one in the address.
        password: The password.
        token: What to connect with where the server asks for a token; instead of a user.
        tls: Whether to use no server that does not ask for TLS. One that does gets it in any case.
        ca_file: File with the certificates that the server's is checked against; empty for those of
            the system.
        cert_file: File with the certificate that this node shows to a server that asks for one.
        key_file: File with its private key; empty if that is in `cert_file`.
        allow_clear_text_secrets: Whether a password or token may go to another machine over a
            connection without TLS.
        connect_timeout_s: How long to look for a server at start, in seconds.
        reconnect_wait_s: How long to wait between attempts to connect again, in seconds.
        renew_after_s: After so long without a connection, in seconds, the client that tries to have
            one is replaced by a new one, since it may have given up unnoticed.
        ping_interval_s: A server that was asked for a sign of life so often, in seconds, and has
            twice not given one counts as gone.
        max_message_bytes: Longest message. What is longer than the server allows is sent in pieces.
        max_buffered_bytes: How much may wait to be sent, in bytes, before senders wait.
        max_pending_messages: How many messages may wait to be taken by this node; more are lost.
        max_pending_bytes: How many bytes of them; more are lost. At least one longest message.
        max_incomplete_bytes: How much is kept of messages of which pieces are missing, in bytes. At
            least two longest messages.
    """

    subject_prefix: str = "cloudstate"
    credentials_file: str = ""
    user: str = ""
    password: Annotated[str, Secret()] = field(default="", repr=False)
    token: Annotated[str, Secret()] = field(default="", repr=False)
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    allow_clear_text_secrets: bool = False
    connect_timeout_s: Annotated[float, Between(0.1, 3600)] = 5.0
    reconnect_wait_s: Annotated[float, Between(0.01, 3600)] = 0.5
    renew_after_s: Annotated[float, Between(0.1, 86_400)] = 30.0
    ping_interval_s: Annotated[float, Between(1, 3600)] = 10.0
    max_message_bytes: Annotated[int, Between(65_536, 256 * _MIB)] = 17 * _MIB
    max_buffered_bytes: Annotated[int, Between(1024, 1024 * _MIB)] = 8 * _MIB
    max_pending_messages: Annotated[int, Between(1, 10_000_000)] = 65_536
    max_pending_bytes: Annotated[int, Between(1024, 4096 * _MIB)] = 64 * _MIB
    max_incomplete_bytes: Annotated[int, Between(65_536, 4096 * _MIB)] = 64 * _MIB

    def __post_init__(self) -> None:
        """Refuse a prefix that cannot begin a subject, and what does not go together.

        Raises:
            ValueError: Naming the key.
        """
        self._check_who_connects()
        if not _PREFIX.fullmatch(self.subject_prefix):
            raise ValueError(
                "key 'subject_prefix': expected words of letters, digits, '_' and '-' with dots "
                f"between them, found {self.subject_prefix!r}"
            )
        for key, least in (
            ("max_pending_bytes", self.max_message_bytes),
            ("max_incomplete_bytes", 2 * self.max_message_bytes),
        ):
            if getattr(self, key) < least:
                raise ValueError(
                    f"key {key!r}: expected at least {least}, as max_message_bytes is "
                    f"{self.max_message_bytes}, found {getattr(self, key)}"
                )

    def _check_who_connects(self) -> None:
        if bool(self.user) != bool(self.password):
            given, missing = ("user", "password") if self.user else ("password", "user")
            raise ValueError(f"key {given!r}: expected {missing!r} beside it, found none")
        ways = [key for key in ("user", "token", "credentials_file") if getattr(self, key)]
        if len(ways) > 1:
            raise ValueError(f"keys {ways[0]!r} and {ways[1]!r}: expected one of them, found both")
        if self.key_file and not self.cert_file:
            raise ValueError("key 'key_file': expected 'cert_file' beside it, found none")
