"""The runtime's composition root: opens everything in order and closes it in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from random import Random
from types import MappingProxyType

import structlog

from cloudstate.entity_pb2 import ProxyInfo
from cloudstate_core.clock import Clock
from cloudstate_core.durable.commit import Committer
from cloudstate_core.durable.remembered import Memory
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import StoreError
from cloudstate_core.frontend import FrontEnd, Limits, Served
from cloudstate_core.handler import CommandHandler
from cloudstate_core.instrument import Instruments
from cloudstate_core.links import FunctionLink
from cloudstate_core.passing_on import Report, Targets
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import SLICES, StateStore
from cloudstate_runtime.activation.grace import Grace
from cloudstate_runtime.cluster.members import ClusterMembers
from cloudstate_runtime.cluster.opening import open_cluster
from cloudstate_runtime.durable.delivery import Delivery, DeliveryLimits, open_delivery
from cloudstate_runtime.function.connection import FunctionConnection
from cloudstate_runtime.function.discovery import PROTOCOL_VERSION, Discovery, FrontEndFaults
from cloudstate_runtime.function.kind_host import KindHost
from cloudstate_runtime.function.reports import Reports
from cloudstate_runtime.routing.caller import RuntimeCaller
from cloudstate_runtime.routing.router import Router
from cloudstate_runtime.routing.served import ServedNow
from cloudstate_runtime.settings import RuntimeSettings

__all__ = ["NO_SECTIONS", "PROXY_NAME", "Runtime", "limits_of", "open_runtime"]

log = structlog.get_logger()

#: What this runtime calls itself towards user functions.
PROXY_NAME = "cloudstate-python"

#: Without a settings file, as in tests, every section holds its defaults.
NO_SECTIONS: Mapping[str, object] = MappingProxyType({})

#: How often the store is asked whether it can take commits, in seconds.
_STORE_CHECK_INTERVAL_S = 0.05

#: A store that does not answer for so long counts as down.
_STORE_CHECK_TIMEOUT_S = 1.0


@dataclass(slots=True)
class Runtime:
    """A runtime that is open.

    Attributes:
        handler: The first handler of the request path; front ends pass requests to it.
        served: What is served.
        limits: What front ends must refuse.
        clock: The time.
        cluster: This node among the others.
        connections: One for each user function.
        grace: How long requests may take to finish in the end.
        delivery: Brings messages to those they are for.
        sections: The sections of the settings, by name, as far as they were loaded.
        draining: Whether nothing new is taken.
        store_is_up: Whether the store can take commits.
    """

    handler: CommandHandler
    served: Served
    limits: Limits
    clock: Clock
    cluster: ClusterMembers
    connections: Sequence[FunctionConnection]
    grace: Grace
    delivery: Delivery
    sections: Mapping[str, object]
    draining: bool = False
    store_is_up: bool = True

    def is_ready(self) -> bool:
        """Return whether commands can be served now."""
        return (
            not self.draining
            and self.store_is_up
            and all(connection.deployed.is_set() for connection in self.connections)
        )

    async def wait_until_deployed(self) -> None:
        """Return when every user function is served."""
        for connection in self.connections:
            await connection.deployed.wait()

    def begin_drain(self, grace_s: float) -> None:
        """Say that nothing new is taken, and that what runs has `grace_s` seconds to finish.

        May be called again, with less time.
        """
        self.draining = True
        self.grace.begin(grace_s)
        self.delivery.begin_drain()
        for connection in self.connections:
            connection.begin_drain(grace_s)

    async def watch_store(self, store: StateStore) -> None:
        """Keep `store_is_up` true to the store; runs until cancelled."""
        while True:
            reason = await self._store_fault(store)
            if reason and self.store_is_up:
                log.warning("store_is_down", reason=reason)
            elif not reason and not self.store_is_up:
                log.info("store_is_up_again")
            self.store_is_up = not reason
            await self.clock.sleep(_STORE_CHECK_INTERVAL_S)

    async def _store_fault(self, store: StateStore) -> str:
        """Return why the store cannot take commits; nothing if it can."""
        try:
            async with self.clock.timeout(_STORE_CHECK_TIMEOUT_S):
                await store.check()
        except TimeoutError:
            return f"no answer within {_STORE_CHECK_TIMEOUT_S:g} s"
        except StoreError as error:
            return str(error)
        except Exception as error:
            log.exception("store_check_failed")
            return type(error).__name__
        return ""


def limits_of(settings: RuntimeSettings) -> Limits:
    """Return what front ends must refuse under some settings."""
    return Limits(
        max_request_bytes=settings.max_request_bytes,
        max_commands_in_flight=settings.max_commands_in_flight,
        min_commands_in_flight=settings.min_commands_in_flight,
        max_loop_lag_s=settings.max_loop_lag_s,
        adaptive_admission=settings.adaptive_admission,
        max_connections=settings.max_connections,
        default_deadline_s=settings.default_deadline_s,
        max_deadline_s=settings.max_deadline_s,
    )


@asynccontextmanager
async def open_runtime(
    settings: RuntimeSettings,
    plugins: Plugins,
    store: StateStore,
    functions: Mapping[str, FunctionLink],
    *,
    clock: Clock,
    random: Random,
    sections: Mapping[str, object] = NO_SECTIONS,
) -> AsyncIterator[Runtime]:
    """Serve user functions from a store, without a front door; see `frontend.port` for that.

    Returns at once; `Runtime.wait_until_deployed` waits for the user functions. On exit commands
    that run are finished, for as long as the settings allow.

    Args:
        settings: How to serve, and as which node.
        plugins: Kinds, interceptors, instruments, and front ends whose objections count.
        store: Where state is kept; open before, closed after.
        functions: The way to each user function, by a name for people.
        clock: The time.
        random: For the spread of retries, and for the names of messages.
        sections: All sections of the settings, by name, for the front ends.
    """
    # With one node every slice is its own. The epoch is checked by every commit all the same, so
    # that a process which was replaced and does not know it cannot write.
    epoch = await store.claim(range(SLICES))
    async with open_cluster(
        settings, plugins, sections, store, epoch, clock=clock, random=random
    ) as cluster:
        ground = _Ground(store, epoch, cluster, clock, random)
        async with _open_on(ground, settings, plugins, functions, sections) as runtime:
            yield runtime


@dataclass(frozen=True, slots=True)
class _Ground:
    """What is opened before a runtime and closed after it."""

    store: StateStore
    epoch: int
    cluster: ClusterMembers
    clock: Clock
    random: Random


@asynccontextmanager
async def _open_on(
    ground: _Ground,
    settings: RuntimeSettings,
    plugins: Plugins,
    functions: Mapping[str, FunctionLink],
    sections: Mapping[str, object],
) -> AsyncIterator[Runtime]:
    store, epoch, clock, random = ground.store, ground.epoch, ground.clock, ground.random
    served = ServedNow()
    reports = {name: Reports(name, link, clock) for name, link in functions.items()}
    report = _reporter(served, reports)
    router = _router(served, report, clock, settings)
    connections: list[FunctionConnection] = []
    are_served = _all_deployed(connections)
    limits = DeliveryLimits.of(settings)
    delivery = Delivery(store, router, served, report, are_served, clock, random, limits)
    targets = Targets(served, report, max_hops=settings.max_hops)
    memory = Memory(settings.keep_replies_s, settings.max_kept_replies)
    hops = settings.max_message_hops
    committer = Committer(store, epoch, targets, delivery, memory, random, max_message_hops=hops)
    _let_call(functions.values(), RuntimeCaller(router, served, clock))
    discovery, info = _discovery(plugins, settings), _proxy_info(plugins)
    for name, link in functions.items():
        host = KindHost(
            link=link,
            store=store,
            epoch=epoch,
            clock=clock,
            cluster=ground.cluster,
            instrument=Instruments(plugins.instruments),
            reports=reports[name],
            settings=settings,
            relay_timeout_s=settings.relay_timeout_s,
            committer=committer,
        )
        connections.append(FunctionConnection(name, link, discovery, host, served, info, random))
    front_limits = limits_of(settings)
    handler = _intercepted(router, plugins, clock, front_limits)
    grace = Grace(clock, settings.drain_grace_s)
    runtime = Runtime(
        handler=handler,
        served=served,
        limits=front_limits,
        clock=clock,
        cluster=ground.cluster,
        connections=connections,
        grace=grace,
        delivery=delivery,
        sections=sections,
    )
    async with _opened(runtime, router, reports.values(), store, settings):
        yield runtime


@asynccontextmanager
async def _opened(
    runtime: Runtime,
    router: Router,
    reports: Iterable[Reports],
    store: StateStore,
    settings: RuntimeSettings,
) -> AsyncIterator[None]:
    """Run everything that runs by itself."""
    async with AsyncExitStack() as opened:
        for report in reports:
            opened.push_async_callback(report.aclose)
        await opened.enter_async_context(_running(each.run() for each in runtime.connections))
        await opened.enter_async_context(open_delivery(runtime.delivery, runtime.grace))
        await opened.enter_async_context(_draining(runtime, router, settings.drain_grace_s))
        await opened.enter_async_context(_running([runtime.watch_store(store)]))
        await opened.enter_async_context(_running([_leave(runtime, settings.drain_grace_s)]))
        yield


async def _leave(runtime: Runtime, grace_s: float) -> None:
    """Serve nobody any more once this node has no part in its cluster."""
    await runtime.cluster.left_out.wait()
    runtime.begin_drain(grace_s)


def _all_deployed(connections: Sequence[FunctionConnection]) -> Callable[[], bool]:
    return lambda: all(connection.deployed.is_set() for connection in connections)


@asynccontextmanager
async def _draining(runtime: Runtime, router: Router, grace_s: float) -> AsyncIterator[None]:
    """Finish what runs in the end."""
    try:
        yield
    finally:
        runtime.begin_drain(grace_s)
        await router.drain(runtime.grace.left_s())


@asynccontextmanager
async def _running(coroutines: Iterable[Coroutine[object, object, None]]) -> AsyncIterator[None]:
    """Run some coroutines in the background; cancel them in the end and wait for their end.

    Raises:
        Exception: What one of them failed with.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    for task in tasks:
        task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ended:
        if isinstance(end, Exception):
            raise end


def _log_failure(task: asyncio.Task[None]) -> None:
    # What it raises is raised again in the end; until then the operator should know.
    if not task.cancelled() and task.exception() is not None:
        log.critical("background_task_failed", exc_info=task.exception())


def _discovery(plugins: Plugins, settings: RuntimeSettings) -> Discovery:
    return Discovery(
        kinds={kind.entity_type: kind for kind in plugins.kinds.values()},
        front_end_faults=_objections(plugins.frontends.values()),
        max_spec_bytes=settings.max_spec_bytes,
    )


def _proxy_info(plugins: Plugins) -> ProxyInfo:
    return ProxyInfo(
        protocol_major_version=PROTOCOL_VERSION[0],
        protocol_minor_version=PROTOCOL_VERSION[1],
        proxy_name=PROXY_NAME,
        proxy_version=version("cloudstate-runtime"),
        supported_entity_types=sorted(kind.entity_type for kind in plugins.kinds.values()),
    )


def _router(served: ServedNow, report: Report, clock: Clock, settings: RuntimeSettings) -> Router:
    return Router(
        served,
        report,
        clock,
        max_hops=settings.max_hops,
        max_pending_effects=settings.max_pending_effects,
    )


def _let_call(links: Iterable[FunctionLink], caller: RuntimeCaller) -> None:
    for link in links:
        link.connect(caller)


def _intercepted(router: Router, plugins: Plugins, clock: Clock, limits: Limits) -> CommandHandler:
    handler: CommandHandler = router
    outermost_last = sorted(plugins.interceptors.values(), key=lambda i: i.order, reverse=True)
    for interceptor in outermost_last:
        handler = interceptor.wrap(handler, clock, limits)
    return handler


def _objections(frontends: Iterable[FrontEnd]) -> FrontEndFaults:
    known = tuple(frontends)

    def faults(entities: Sequence[DeployedEntity]) -> Iterable[str]:
        return [fault for frontend in known for fault in frontend.faults(entities)]

    return faults


def _reporter(served: ServedNow, reports: Mapping[str, Reports]) -> Report:
    def report(service: str, message: str) -> None:
        for deployment in served.deployments:
            if any(entity.service_name == service for entity in deployment.entities):
                reports[deployment.name].send(message)

    return report
