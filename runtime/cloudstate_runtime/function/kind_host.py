"""What the runtime gives to the kinds of one user function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field

from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Cluster
from cloudstate_core.durable.commit import Committer
from cloudstate_core.durable.preconditions import Recall
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.instrument import Instrument
from cloudstate_core.kind import Engine, EntityLimits
from cloudstate_core.links import FunctionLink
from cloudstate_core.store import EntityKey, StateStore, Write
from cloudstate_runtime.activation.grace import Grace
from cloudstate_runtime.activation.region import Region, open_region
from cloudstate_runtime.activation.stateless import StatelessService, open_stateless_service
from cloudstate_runtime.function.reports import Reports
from cloudstate_runtime.settings import RuntimeSettings

__all__ = ["KindHost"]


@dataclass(slots=True)
class KindHost:
    """The runtime's `RuntimeHost`.

    Attributes:
        grace: How long commands that run may take when their service is closed. Each deployment
            has its own.
        committer: Stores what commands change.
    """

    link: FunctionLink
    store: StateStore
    epoch: int
    clock: Clock
    cluster: Cluster
    instrument: Instrument
    reports: Reports
    settings: RuntimeSettings
    relay_timeout_s: float
    committer: Committer
    grace: Grace = field(init=False)
    _when_draining: list[Callable[[], None]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Give the first deployment its grace."""
        self.grace = self.new_grace()

    def new_grace(self) -> Grace:
        """Return a grace as long as the settings say."""
        return Grace(self.clock, self.settings.drain_grace_s)

    def begin_drain(self, grace_s: float) -> None:
        """Let commands that run take no longer than `grace_s` seconds from now on."""
        self.grace.begin(grace_s)
        for begin in tuple(self._when_draining):
            begin()

    @contextmanager
    def when_draining(self, begin: Callable[[], None]) -> Iterator[None]:
        """Call `begin` when nothing new is taken any more, while the context is open."""
        self._when_draining.append(begin)
        try:
            yield
        finally:
            self._when_draining.remove(begin)

    def region(
        self, entity: DeployedEntity, start: Callable[[str], Engine]
    ) -> AbstractAsyncContextManager[CommandHandler]:
        """Return the home of all live entities of one service."""
        limits = self.limits(entity)
        region = Region(
            entity,
            start,
            self.reports.send,
            self.store,
            self.clock,
            self.instrument,
            passes_metadata=limits.passes_metadata,
            passivation_timeout_s=limits.passivation_timeout_s,
            max_waiting_commands=limits.max_waiting_commands,
            max_active_entities=limits.max_active_entities,
        )
        return open_region(region, self.grace)

    def stateless(
        self, entity: DeployedEntity, handler: CommandHandler
    ) -> AbstractAsyncContextManager[CommandHandler]:
        """Return what requests of a service without entities go through."""
        service = StatelessService(entity, handler, self.reports.send, self.clock, self.instrument)
        return open_stateless_service(service, self.grace)

    async def commit(
        self, request: Request, key: EntityKey, writes: Sequence[Write], outcome: Outcome
    ) -> Outcome:
        """Make everything that one command changes durable, in one commit, or nothing."""
        return await self.committer.commit(request, key, writes, outcome)

    def limits(self, entity: DeployedEntity) -> EntityLimits:
        """Return what the entities of a service may take."""
        settings = self.settings
        return EntityLimits(
            passivation_timeout_s=entity.passivation_timeout_s or settings.passivation_timeout_s,
            max_waiting_commands=settings.max_waiting_commands,
            max_active_entities=settings.max_active_entities,
            passes_metadata=settings.passes_command_metadata(entity.service_name),
        )

    async def recalled(self, request: Request, key: EntityKey) -> Outcome | None:
        """Return what came of a command before, under the name that its caller gave it."""
        return await Recall(self.store, key.persistence_id).outcome(key.entity_id, request)

    def report(self, message: str) -> None:
        """Tell the user function's author what is wrong, without waiting."""
        self.reports.send(message)
