"""Our runtime before a user function that breaks the protocol."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random

import pytest_asyncio

from cloudstate_core.clock import SystemClock
from cloudstate_core.plugins import load_plugins
from cloudstate_core.stores.memory import MemoryBackend
from cloudstate_runtime.function.grpc_link import open_grpc_link
from cloudstate_runtime.node import open_node
from cloudstate_runtime.settings import RuntimeSettings
from cloudstate_tck.examination import Conditions
from cloudstate_tck.meeting import ProxyAddress, examining_hostile_proxy
from cloudstate_tck.pytest_cases import test_hostile_case  # noqa: F401 - pytest finds it here

# Also the deadline of every call, and here three sides share one busy event loop.
RELAY_TIMEOUT_S = 3.0
CONDITIONS = Conditions(
    patience_s=10.0,
    relay_timeout_s=RELAY_TIMEOUT_S,
    kinds=frozenset({"crdt", "eventsourced", "kv"}),
)
SETTINGS = RuntimeSettings(
    port=0,
    discovery_backoff_min_s=0.05,
    relay_timeout_s=RELAY_TIMEOUT_S,
    stream_close_timeout_s=0.5,
)
CLOCK = SystemClock()


@asynccontextmanager
async def node_before(function: str):
    backend = MemoryBackend()
    async with (
        open_grpc_link(
            function,
            CLOCK,
            max_message_bytes=SETTINGS.max_function_message_bytes,
            close_timeout_s=SETTINGS.stream_close_timeout_s,
        ) as link,
        open_node(
            SETTINGS,
            load_plugins(),
            backend,
            backend.settings_type(),
            {"function": link},
            clock=CLOCK,
            random=Random(1),
        ) as node,
    ):
        yield ProxyAddress(node.address)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def examination():
    async with examining_hostile_proxy(
        node_before, CONDITIONS, listen="127.0.0.1:0"
    ) as examination:
        yield examination
