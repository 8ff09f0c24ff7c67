"""A runtime before user functions that are behind real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from google.protobuf.any_pb2 import Any

from cloudstate_core.clock import Clock, SystemClock
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.plugins import Plugins
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_runtime.function.grpc_link import open_grpc_link
from cloudstate_runtime.runtime import Runtime, open_runtime
from cloudstate_runtime.settings import RuntimeSettings
from runtime_doubles.functions import Function
from runtime_doubles.specs import entity, orders_file, spec
from runtime_doubles.toy_kind import ToyKind

SETTINGS = RuntimeSettings(
    relay_timeout_s=5.0, discovery_backoff_min_s=0.05, discovery_backoff_max_s=0.1
)


@asynccontextmanager
async def running(
    *functions: Function,
    clock: Clock | None = None,
    store: MemoryStore | None = None,
    plugins: Plugins | None = None,
    settings: RuntimeSettings = SETTINGS,
) -> AsyncIterator[Runtime]:
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        links = {
            function.address: await stack.enter_async_context(
                open_grpc_link(
                    function.address, SystemClock(), max_message_bytes=1 << 20, close_timeout_s=0.2
                )
            )
            for function in functions
        }
        yield await stack.enter_async_context(
            open_runtime(
                settings,
                plugins or Plugins(kinds={"toy": ToyKind()}),
                store or MemoryStore(clock),
                links,
                clock=clock,
                random=Random(1),
            )
        )


async def ask(runtime: Runtime, entity_id: str = "joe", service: str = "shop.Orders") -> str:
    payload = Any(value=b"\x0a" + bytes([len(entity_id)]) + entity_id.encode())
    outcome: Outcome = await runtime.handler.handle(Request(service, "Place", payload))
    return outcome.action.reply.payload.value.decode()


async def deployed(runtime: Runtime) -> None:
    async with asyncio.timeout(10):
        await runtime.wait_until_deployed()


def other_spec(name: str = "Returns"):
    made = orders_file()
    made.service[0].name = name
    return spec(made, entities=(entity(f"shop.{name}"),))
