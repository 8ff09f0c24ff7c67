"""Registers the transport."""

from __future__ import annotations

from cloudstate_core.hookspecs import hookimpl
from cloudstate_core.transport import TransportBackend
from cloudstate_nats.backend import NatsBackend

__all__ = ["cloudstate_register_transports"]


@hookimpl
def cloudstate_register_transports() -> list[TransportBackend]:
    return [NatsBackend()]
