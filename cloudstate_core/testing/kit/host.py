"""What a kind is given in a test: a link within the process, a store, and a small runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from contextvars import ContextVar
from random import SystemRandom
from typing import TypeVar, cast

import structlog
from google.protobuf.message import Message

from cloudstate.entity_pb2 import SideEffect
from cloudstate_core.alone import Alone
from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Cluster, NodeIdentity
from cloudstate_core.durable.commit import Committer
from cloudstate_core.durable.preconditions import Recall
from cloudstate_core.durable.remembered import Memory
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.host.local_link import LocalLink, LocalStream
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.instrument import Instrument
from cloudstate_core.kind import Engine, EntityLimits, HomeOfEntities
from cloudstate_core.links import Conversation, FunctionLink, NamedConversation, Rpc
from cloudstate_core.store import (
    KEEP_REPLIES,
    KEEP_REPLIES_S,
    SLICES,
    EntityKey,
    StateStore,
    Write,
)
from cloudstate_core.testing.kit.outbox import Destinations, Outbox
from cloudstate_core.testing.kit.region import KitRegion

__all__ = ["KitHost", "WatchedLink"]

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

log = structlog.get_logger()

#: How long a handler may take, in seconds of the kit's clock. It is the runtime's default.
_RELAY_TIMEOUT_S = 60.0

#: Through how many messages, one causing the next, a command may come. It is the runtime's default.
_MAX_MESSAGE_HOPS = 1_000

#: The one node that there is.
_NODE = NodeIdentity("local", 1)

#: How much may wait, and how many entities there may be: more than any test has.
_NO_LIMIT = 1_000_000


class WatchedLink(LocalLink):
    """The link within one process, which tells who is at the user function's end.

    Attributes:
        opened: Where the streams that a task opens are noted.
    """

    opened: ContextVar[list[Conversation]] = ContextVar("opened")

    def __init__(self, user_function: UserFunction, clock: Clock) -> None:
        super().__init__(user_function, clock)
        # One for each time that an entity came into memory.
        self._named: list[NamedConversation] = []

    def open_stream(self, rpc: Rpc[In, Out]) -> LocalStream[In, Out]:
        stream = super().open_stream(rpc)
        self.opened.get([]).append(stream.conversation)
        if hasattr(stream.conversation, "entity"):
            self._named.append(cast("NamedConversation", stream.conversation))
        return stream

    def conversation(self, service: str, entity_id: str) -> NamedConversation | None:
        """Return the user function's end of an entity whose kind has a home of its own for it.

        None if it has not been in memory, or its user function has ended the stream.
        """
        for each in reversed(self._named):
            if each.entity == (service, entity_id):
                return None if each.ended else each
        return None

    def has_named(self, service: str) -> bool:
        """Return whether a service's kind has a home of its own for its entities."""
        return any(each.entity is not None and each.entity[0] == service for each in self._named)

    def forget(self) -> None:
        """Let nobody look at what was in memory."""
        self._named.clear()


class KitHost:
    """A `RuntimeHost` whose commands are stored as a runtime stores them.

    Attributes:
        watched: The link, which tells who is at the other end.
        reported: What the runtime would have told the author of the user function.
        regions: The live entities of each service, by its name.
    """

    def __init__(
        self,
        link: WatchedLink,
        store: StateStore,
        clock: Clock,
        passivation_timeout_s: float,
        destinations: Destinations,
        outbox: Outbox,
        reported: list[str],
    ) -> None:
        """Keep the parts; nothing is claimed before `restart`."""
        self.link: FunctionLink = link
        self.watched = link
        self.store = store
        self.epoch = 0
        self.clock = clock
        self.cluster: Cluster = Alone(_NODE, clock)
        self.instrument = Instrument()
        self.relay_timeout_s = _RELAY_TIMEOUT_S
        self.reported = reported
        self.regions: dict[str, KitRegion] = {}
        self._stateless: dict[str, CommandHandler] = {}
        self._passivation_timeout_s = passivation_timeout_s
        self._destinations = destinations
        self._outbox = outbox
        self._committer: Committer
        self._committed: Callable[[Request, Sequence[SideEffect]], None] = lambda *_: None

    def tell_of_commits(self, committed: Callable[[Request, Sequence[SideEffect]], None]) -> None:
        """Have a function called after each commit, with its command and the side effects."""
        self._committed = committed

    async def restart(self) -> None:
        """Be another process: nothing is in memory, and the store is claimed anew."""
        for region in self.regions.values():
            await region.drop_all()
        self.watched.forget()
        self.epoch = await self.store.claim(range(SLICES))
        self._committer = Committer(
            self.store,
            self.epoch,
            self._destinations,
            self._outbox,
            Memory(KEEP_REPLIES_S, KEEP_REPLIES),
            SystemRandom(),
            max_message_hops=_MAX_MESSAGE_HOPS,
        )

    def region(
        self, entity: DeployedEntity, start: Callable[[str], Engine]
    ) -> AbstractAsyncContextManager[CommandHandler]:
        recall = Recall(self.store, entity.persistence_id)
        region = KitRegion(
            entity, start, self, recall, self.watched.opened, self._passivation_timeout_s
        )
        self.regions[entity.service_name] = region
        return region

    def stateless(
        self, entity: DeployedEntity, handler: CommandHandler
    ) -> AbstractAsyncContextManager[CommandHandler]:
        self._stateless[entity.service_name] = handler
        return nullcontext(handler)

    def holds(self, service: str) -> bool:
        """Return whether all that a service has in memory is held here."""
        if service in self.regions:
            return True
        # What is called stateless may be so to the runtime alone.
        return service in self._stateless and not self.watched.has_named(service)

    async def conversation(self, service: str, entity_id: str) -> NamedConversation | None:
        """Return the user function's end of an entity whose kind has a home of its own for it.

        It is brought into memory if it is not there. None if it is deleted, and where there is no
        such home, or one that does not let anybody look into it.
        """
        found = self.watched.conversation(service, entity_id)
        home = self._stateless.get(service)
        if found is None and home is not None and hasattr(home, "bring_into_memory"):
            await cast("HomeOfEntities", home).bring_into_memory(entity_id)
            found = self.watched.conversation(service, entity_id)
        return found

    async def commit(
        self, request: Request, key: EntityKey, writes: Sequence[Write], outcome: Outcome
    ) -> Outcome:
        left = await self._committer.commit(request, key, writes, outcome)
        self._committed(request, outcome.side_effects)
        return left

    def limits(self, entity: DeployedEntity) -> EntityLimits:
        return EntityLimits(
            passivation_timeout_s=entity.passivation_timeout_s or self._passivation_timeout_s,
            max_waiting_commands=_NO_LIMIT,
            max_active_entities=_NO_LIMIT,
            passes_metadata=False,
        )

    async def recalled(self, request: Request, key: EntityKey) -> Outcome | None:
        return await Recall(self.store, key.persistence_id).outcome(key.entity_id, request)

    def when_draining(self, begin: Callable[[], None]) -> AbstractContextManager[None]:
        del begin  # a test ends what it has begun
        return nullcontext()

    def report(self, message: str) -> None:
        log.error("reported_to_user_function", message=message)
        self.reported.append(message)
