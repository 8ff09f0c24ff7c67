"""For tests: a real NATS server that ends with the test."""

from __future__ import annotations

from cloudstate_nats.testing.server import NatsServer, start_nats_server

__all__ = ["NatsServer", "start_nats_server"]
