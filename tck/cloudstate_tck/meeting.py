"""Meeting the sides under examination: connections, discovery, and waiting until both are ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from cloudstate.crdt_pb2 import CrdtStreamIn
from cloudstate.entity_pb2 import EntitySpec
from cloudstate.value_entity_pb2 import ValueEntityStreamIn
from cloudstate_core.host.user_function import UserFunction
from cloudstate_tck.examination import Conditions, Examination
from cloudstate_tck.function_client import FunctionClient, proxy_info
from cloudstate_tck.hostile_crdt_scripts import open_crdt_session
from cloudstate_tck.hostile_scripts import open_session
from cloudstate_tck.hostile_values import open_value_session
from cloudstate_tck.interceptor import intercepting
from cloudstate_tck.proxy_client import ProxyClient
from cloudstate_tck.recorded_function import RecordedFunction
from cloudstate_tck.recorder import Recorder
from cloudstate_tck.scripted.crdt_session import crdt_spec
from cloudstate_tck.scripted.function import ScriptedFunction, Session, StreamIn, model_spec
from cloudstate_tck.scripted.value_session import value_spec

__all__ = [
    "DEFAULT_LISTEN",
    "ProxyAddress",
    "StartProxy",
    "examining_embedded",
    "examining_function",
    "examining_hostile_proxy",
    "examining_proxy",
    "running_proxy",
]

#: Where a proxy under examination finds its user function, unless told otherwise.
DEFAULT_LISTEN = "127.0.0.1:8090"

#: An answer after this many relay timeouts is too late, however the proxy rounds.
LATE_FACTOR = 1.5

#: The longest pause that a proxy is known to make between two attempts to discover.
DISCOVERY_PAUSE_S = 15.0


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """Where a proxy is, as `HOST:PORT`.

    Attributes:
        grpc: Where it serves gRPC.
        http: Where it serves HTTP; empty if that is the same port.
    """

    grpc: str
    http: str = ""


#: Starts a proxy whose user function is at the given address; it runs while the context is open.
StartProxy = Callable[[str], AbstractAsyncContextManager[ProxyAddress]]


def running_proxy(address: ProxyAddress) -> StartProxy:
    """Return the start of a proxy that somebody else starts and stops."""

    @asynccontextmanager
    async def start(function: str) -> AsyncIterator[ProxyAddress]:
        yield address

    return start


@asynccontextmanager
async def examining_function(function: str, conditions: Conditions) -> AsyncIterator[Examination]:
    """Speak to the user function at `HOST:PORT` in a proxy's place.

    Raises:
        ConfigurationError: If it does not answer in time.
    """
    async with FunctionClient(function, patience_s=conditions.patience_s) as client:
        spec = await client.discover(within_s=conditions.startup_timeout_s)
        yield Examination(conditions, spec, client)


@asynccontextmanager
async def examining_proxy(
    function: str, start_proxy: StartProxy, conditions: Conditions, *, listen: str
) -> AsyncIterator[Examination]:
    """Stand between a proxy and its user function, and be the proxy's client.

    Args:
        function: `HOST:PORT` of the user function.
        start_proxy: Called once there is somebody for the proxy to talk to.
        conditions: How long to wait.
        listen: `HOST:PORT` where the proxy expects its user function; port 0 for any.

    Raises:
        ConfigurationError: If a side does not answer in time, or the address cannot be bound.
    """
    async with AsyncExitStack() as stack:
        examination = await stack.enter_async_context(examining_function(function, conditions))
        recorder = examination.recorder = Recorder(patience_s=conditions.patience_s)
        address = await stack.enter_async_context(
            intercepting(recorder, listen=listen, function=function)
        )
        proxy = await stack.enter_async_context(start_proxy(address))
        await _meet_intercepted(stack, proxy, examination, recorder)
        yield examination


@asynccontextmanager
async def examining_embedded(
    function: UserFunction,
    start_proxy: Callable[[UserFunction], AbstractAsyncContextManager[ProxyAddress]],
    conditions: Conditions,
) -> AsyncIterator[Examination]:
    """Be the client of a runtime that has its user function in the same process.

    Args:
        function: The user function.
        start_proxy: Called with what the runtime is to serve: the same function, overheard.
        conditions: How long to wait.

    Raises:
        ConfigurationError: If the runtime does not answer in time.
    """
    recorder = Recorder(patience_s=conditions.patience_s)
    examination = Examination(conditions, function.spec(proxy_info()), recorder=recorder)
    async with AsyncExitStack() as stack:
        overheard = RecordedFunction(function, recorder)
        proxy = await stack.enter_async_context(start_proxy(overheard))
        await _meet_intercepted(stack, proxy, examination, recorder)
        yield examination


@asynccontextmanager
async def examining_hostile_proxy(
    start_proxy: StartProxy, conditions: Conditions, *, listen: str
) -> AsyncIterator[Examination]:
    """Put a user function that breaks the protocol behind a proxy, and be the proxy's client.

    Args:
        start_proxy: Called once there is somebody for the proxy to talk to.
        conditions: How long to wait.
        listen: `HOST:PORT` where the proxy expects its user function; port 0 for any.

    Raises:
        ConfigurationError: If the proxy does not answer in time, or the address cannot be bound.
    """
    async with AsyncExitStack() as stack:
        late_s = conditions.relay_timeout_s * LATE_FACTOR
        hostile = await stack.enter_async_context(
            ScriptedFunction(
                partial(_open_hostile, late_s), listen=listen, spec=hostile_spec(conditions.kinds)
            )
        )
        examination = Examination(conditions, hostile.spec, hostile=hostile)
        proxy = await stack.enter_async_context(start_proxy(hostile.address))
        examination.proxy = await _meet(stack, proxy, examination)
        # A proxy that has served before may not have noticed yet that somebody is there again.
        await _wait(hostile.discovered, _discovery_pause_s(conditions))
        yield examination


def hostile_spec(kinds: Collection[str]) -> EntitySpec:
    """Return what the hostile user function announces: the model entities of these kinds."""
    specs = [make() for kind, make in _HOSTILE_SPECS.items() if kind in kinds]
    files, spec = FileDescriptorSet(), EntitySpec()
    for each in specs:
        known = {file.name for file in files.file}
        found = FileDescriptorSet.FromString(each.proto).file
        files.file.extend(file for file in found if file.name not in known)
        spec.MergeFrom(each)
    spec.proto = files.SerializeToString()
    return spec


_HOSTILE_SPECS = {"crdt": crdt_spec, "eventsourced": model_spec, "kv": value_spec}


def _open_hostile(late_s: float, message: StreamIn) -> Session:
    match message:
        case ValueEntityStreamIn():
            return open_value_session(late_s, message)
        case CrdtStreamIn():
            return open_crdt_session(late_s, message)
        case _:
            return open_session(late_s, message)


async def _meet_intercepted(
    stack: AsyncExitStack, address: ProxyAddress, examination: Examination, recorder: Recorder
) -> None:
    examination.proxy = await _meet(stack, address, examination)
    # A proxy that had discovered before the suite listened may not do so again; the case about
    # discovery says so, and the others can do without.
    within_s = _discovery_pause_s(examination.conditions)
    discovery = await recorder.discovery(within_s=within_s)
    if discovery is not None:
        examination.proxy_info, examination.spec = discovery.proxy_info, discovery.spec


async def _meet(
    stack: AsyncExitStack, address: ProxyAddress, examination: Examination
) -> ProxyClient:
    """Connect to a proxy and wait until it serves what the user function has announced."""
    conditions = examination.conditions
    proxy = await stack.enter_async_context(
        ProxyClient(address.grpc, address.http, patience_s=conditions.patience_s)
    )
    await proxy.wait_until_it_answers(within_s=conditions.startup_timeout_s)
    # If it does not in time, the cases say what is missing.
    with suppress(TimeoutError):
        async with asyncio.timeout(_discovery_pause_s(conditions)):
            await proxy.wait_until_it_serves(examination.services)
    return proxy


async def _wait(event: asyncio.Event, within_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()


def _discovery_pause_s(conditions: Conditions) -> float:
    return min(DISCOVERY_PAUSE_S, conditions.startup_timeout_s)
