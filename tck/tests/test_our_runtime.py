"""The cases for proxies against our runtime, over both links to the user function."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random

import pytest_asyncio

from cloudstate_core.clock import SystemClock
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.plugins import load_plugins
from cloudstate_core.stores.memory import MemoryBackend
from cloudstate_runtime.function.grpc_link import open_grpc_link
from cloudstate_runtime.node import open_node
from cloudstate_runtime.settings import RuntimeSettings
from cloudstate_tck.examination import Conditions
from cloudstate_tck.meeting import ProxyAddress, examining_embedded, examining_proxy
from cloudstate_tck.model_function import model_function, serving_models
from cloudstate_tck.pytest_cases import test_proxy_case  # noqa: F401 - pytest finds it here

CONDITIONS = Conditions(patience_s=10.0, kinds=frozenset({"action", "crdt", "eventsourced", "kv"}))
SETTINGS = RuntimeSettings(port=0, discovery_backoff_min_s=0.05)
CLOCK = SystemClock()


@asynccontextmanager
async def node_before(link):
    backend = MemoryBackend()
    async with open_node(
        SETTINGS,
        load_plugins(),
        backend,
        backend.settings_type(),
        {"function": link},
        clock=CLOCK,
        random=Random(1),
    ) as node:
        yield ProxyAddress(node.address)


@asynccontextmanager
async def node_with_a_socket(function: str):
    async with (
        open_grpc_link(function, CLOCK, max_message_bytes=2**20, close_timeout_s=1.0) as link,
        node_before(link) as address,
    ):
        yield address


@asynccontextmanager
async def over_grpc():
    async with (
        serving_models() as function,
        examining_proxy(
            function, node_with_a_socket, CONDITIONS, listen="127.0.0.1:0"
        ) as examination,
    ):
        yield examination


def over_the_local_link():
    def start_proxy(function):
        return node_before(LocalLink(function, CLOCK))

    return examining_embedded(model_function(), start_proxy, CONDITIONS)


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[over_grpc, over_the_local_link]
)
async def examination(request):
    async with request.param() as examination:
        yield examination
