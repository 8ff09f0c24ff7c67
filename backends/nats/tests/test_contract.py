"""The transport contract, against a real server."""

from __future__ import annotations

import asyncio

import pytest

from cloudstate_core.clock import SystemClock
from cloudstate_core.testing.transport_contract import Connect, Interrupt, TransportContract
from cloudstate_nats import NatsBackend, NatsSettings
from cloudstate_nats.testing import NatsServer


class TestNatsTransport(TransportContract):
    @pytest.fixture
    def connect(self, server: NatsServer) -> Connect:
        settings = NatsSettings(reconnect_wait_s=0.01, max_message_bytes=4_000_000)
        clock = SystemClock()
        return lambda node: NatsBackend().open(settings, server.address, node, clock)

    @pytest.fixture
    def interrupt(self, server: NatsServer) -> Interrupt:
        async def restart() -> None:
            await asyncio.to_thread(server.restart)

        return restart
