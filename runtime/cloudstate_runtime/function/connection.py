"""One user function: discovered, served, and discovered again when it comes back.

A user function that cannot be reached is asked again with growing waits, for ever. One whose
announcement is wrong is told every fault and asked again, in case it is mended. One that went away
and returned is discovered again: if it announces the same, everything goes on as it was; if not,
its entities leave memory and the new announcement takes the place of the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from random import Random

import structlog

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_core.clock import Clock
from cloudstate_core.errors import InvalidSpec, UserFunctionUnavailable
from cloudstate_core.frontend import Deployment
from cloudstate_core.links import FunctionLink
from cloudstate_runtime.function.backoff import Pace, backoff_s
from cloudstate_runtime.function.discovery import Discovery
from cloudstate_runtime.function.kind_host import KindHost
from cloudstate_runtime.routing.served import ServedNow
from cloudstate_runtime.settings import RuntimeSettings

__all__ = ["FunctionConnection"]

log = structlog.get_logger()


class FunctionConnection:
    """Keeps one user function served.

    Attributes:
        name: Where it is, for people.
        deployed: Set while it is served.
    """

    def __init__(
        self,
        name: str,
        link: FunctionLink,
        discovery: Discovery,
        host: KindHost,
        served: ServedNow,
        info: ProxyInfo,
        random: Random,
    ) -> None:
        """Keep the collaborators; `run` starts."""
        self.name = name
        self.deployed = asyncio.Event()
        self._link = link
        self._discovery = discovery
        self._host = host
        self._served = served
        self._info = info
        self._random = random
        settings = host.settings
        self._pace = Pace(
            random,
            min_s=settings.discovery_backoff_min_s,
            max_s=settings.discovery_backoff_max_s,
        )

    @property
    def _clock(self) -> Clock:
        return self._host.clock

    @property
    def _settings(self) -> RuntimeSettings:
        return self._host.settings

    async def run(self) -> None:
        """Discover and serve until cancelled."""
        spec, waits_s = await self._discover(), self._waits_s()
        while True:
            try:
                deployment = self._accepted(spec)
                if deployment is not None:
                    spec, waits_s = (
                        await self._serve_until_changed(deployment, spec),
                        self._waits_s(),
                    )
                    continue
            except Exception:  # a plugin's; other user functions must not be left alone for it
                log.exception("user_function_not_served", function=self.name)
                self._host.report("the runtime failed to serve this user function; see its log")
            self._served.withdraw(self.name)
            self.deployed.clear()
            await self._clock.sleep(next(waits_s))
            # The answer may be the same, and be right all the same: what was in its way may have
            # gone. If it is still wrong, whoever restarted the user function may read its log only
            # from now on.
            spec = await self._discover()

    def begin_drain(self, grace_s: float) -> None:
        """Let commands that run take no longer than `grace_s` seconds from now on."""
        self._host.begin_drain(grace_s)

    async def _serve_until_changed(self, deployment: Deployment, spec: EntitySpec) -> EntitySpec:
        """Serve a deployment; return the announcement that takes its place."""
        self._host.grace = self._host.new_grace()
        async with AsyncExitStack() as stack:
            handlers = {}
            for entity in deployment.entities:
                kind = self._discovery.kinds[entity.entity_type]
                handlers[entity.service_name] = await stack.enter_async_context(
                    kind.open_handler(entity, self._host)
                )
            self._served.deploy(deployment, handlers)
            # Before any of them is closed, so that none is given more to do meanwhile.
            stack.callback(self._served.suspend, self.name)
            self.deployed.set()
            log.info("user_function_deployed", function=self.name, services=sorted(handlers))
            while True:
                await self._wait_until_lost()
                found = await self._discover()
                if found != spec:
                    log.info("user_function_changed", function=self.name)
                    return found
                log.info("user_function_returned", function=self.name)

    async def _wait_until_lost(self) -> None:
        """Return when the user function was lost, later if it is lost all the time."""
        there_since_s = self._clock.monotonic_s()
        await self._link.wait_until_lost()
        wait_s = self._pace.wait_s(self._clock.monotonic_s() - there_since_s)
        log.warning("user_function_lost", function=self.name, retry_in_s=round(wait_s, 2))
        await self._clock.sleep(wait_s)

    async def _discover(self) -> EntitySpec:
        """Ask until there is an answer."""
        for wait_s in self._waits_s():
            try:
                return await self._link.discover(self._info)
            except UserFunctionUnavailable as error:
                log.info(
                    "waiting_for_user_function",
                    function=self.name,
                    reason=error.detail or str(error),
                    retry_in_s=round(wait_s, 2),
                )
            except Exception:
                log.exception("discovery_failed", function=self.name, retry_in_s=round(wait_s, 2))
            await self._clock.sleep(wait_s)
        raise AssertionError("the waits never end")

    def _accepted(self, spec: EntitySpec) -> Deployment | None:
        """Return what to deploy; None, after saying why, if it cannot be."""
        others = self._served.entities_of_others(self.name)
        try:
            deployment = self._discovery.deploy(self.name, spec, others)
        except InvalidSpec as error:
            for fault in error.faults:
                self._host.report(fault)
            return None
        self._served.claim(self.name, deployment.entities)
        return deployment

    def _waits_s(self) -> Iterator[float]:
        return backoff_s(
            self._random,
            min_s=self._settings.discovery_backoff_min_s,
            max_s=self._settings.discovery_backoff_max_s,
        )
