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
from cloudstate_core.errors import CloudstateError, InvalidSpec, UserFunctionUnavailable
from cloudstate_core.frontend import Deployment
from cloudstate_core.kind import EntityKind
from cloudstate_core.links import FunctionLink
from cloudstate_runtime.function.backoff import backoff_s
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
        deployed: Set as soon as it is served for the first time.
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

    @property
    def _clock(self) -> Clock:
        return self._host.clock

    @property
    def _settings(self) -> RuntimeSettings:
        return self._host.settings

    async def run(self) -> None:
        """Discover and serve until cancelled."""
        spec = await self._discover()
        while True:
            deployment = self._accepted(spec)
            if deployment is None:
                self._served.withdraw(self.name)
                spec = await self._discover_another(spec)
            else:
                spec = await self._serve_until_changed(deployment, spec)

    async def _serve_until_changed(self, deployment: Deployment, spec: EntitySpec) -> EntitySpec:
        """Serve a deployment; return the announcement that takes its place."""
        async with AsyncExitStack() as stack:
            handlers = {}
            for entity in deployment.entities:
                kind: EntityKind = self._discovery.kinds[entity.entity_type]
                handlers[entity.service_name] = await stack.enter_async_context(
                    kind.open_handler(entity, self._host)
                )
            self._served.deploy(deployment, handlers)
            self.deployed.set()
            log.info("user_function_deployed", function=self.name, services=sorted(handlers))
            while True:
                await self._link.wait_until_lost()
                log.warning("user_function_lost", function=self.name)
                found = await self._discover()
                if found != spec:
                    log.info("user_function_changed", function=self.name)
                    return found
                log.info("user_function_returned", function=self.name)

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
            await self._clock.sleep(wait_s)
        raise AssertionError("the waits never end")

    async def _discover_another(self, refused: EntitySpec) -> EntitySpec:
        """Ask until the answer is not the one that was refused."""
        for wait_s in self._waits_s():
            await self._clock.sleep(wait_s)
            found = await self._discover()
            if found != refused:
                return found
            # Whoever restarted the user function may read its log only from now on.
            self._accepted(found)
        raise AssertionError("the waits never end")

    def _accepted(self, spec: EntitySpec) -> Deployment | None:
        others = self._served.entities_of_others(self.name)
        try:
            return self._discovery.deploy(self.name, spec, others)
        except InvalidSpec as error:
            for fault in error.faults:
                self._host.report(fault)
        except CloudstateError as error:
            self._host.report(str(error))
        return None

    def _waits_s(self) -> Iterator[float]:
        return backoff_s(
            self._random,
            min_s=self._settings.discovery_backoff_min_s,
            max_s=self._settings.discovery_backoff_max_s,
        )
