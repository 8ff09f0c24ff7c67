"""A runtime before a user function, in one process or with a socket between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from acme_ratelimit import RateLimitContext, RateLimitedEntity
from acme_ratelimit.plugin import RateLimitKind
from quotas.quotas_pb2 import DESCRIPTOR, Quota, ShowRequest, SpendRequest

from cloudstate_core.anys import pack_message
from cloudstate_core.clock import Clock
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.server import open_server
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.instrument import Instrument
from cloudstate_core.links import FunctionLink
from cloudstate_core.plugins import Plugins
from cloudstate_core.settings import HostSettings
from cloudstate_core.store import StateStore
from cloudstate_runtime.function.grpc_link import open_grpc_link
from cloudstate_runtime.runtime import open_runtime
from cloudstate_runtime.settings import RuntimeSettings

QUOTAS = DESCRIPTOR.services_by_name["Quotas"]


def quotas(*, capacity: int = 10, refill_per_s: float = 1.0) -> RateLimitedEntity:
    """Return an entity like the example's, with terms that suit a test."""
    entity = RateLimitedEntity(QUOTAS, capacity=capacity, refill_per_s=refill_per_s)

    @entity.command_handler("Spend")
    def spend(request: SpendRequest, ctx: RateLimitContext) -> Quota:
        ctx.take(request.units)
        return Quota(left=ctx.available)

    @entity.command_handler("Show")
    def show(ctx: RateLimitContext) -> Quota:
        return Quota(left=ctx.available)

    return entity


@dataclass
class Watched(Instrument):
    """Remembers which entities came and went."""

    seen: list[str] = field(default_factory=list)

    def entity_activated(self, entity: DeployedEntity, entity_id: str) -> None:
        self.seen.append(f"{entity_id} activated")

    def entity_passivated(self, entity: DeployedEntity, entity_id: str) -> None:
        self.seen.append(f"{entity_id} passivated")

    def entity_crashed(self, entity: DeployedEntity, entity_id: str, error: BaseException) -> None:
        self.seen.append(f"{entity_id} crashed")


@dataclass(frozen=True)
class Client:
    """What a client can do, without a front door."""

    handler: CommandHandler
    watched: Watched

    async def spend(self, key: str, units: int) -> Outcome:
        message = SpendRequest(api_key=key, units=units)
        return await self.handler.handle(Request(QUOTAS.full_name, "Spend", pack_message(message)))

    async def left(self, key: str) -> int:
        message = ShowRequest(api_key=key)
        outcome = await self.handler.handle(
            Request(QUOTAS.full_name, "Show", pack_message(message))
        )
        return left_in(outcome)


def left_in(outcome: Outcome) -> int:
    assert outcome.action.WhichOneof("action") == "reply", outcome
    return Quota.FromString(outcome.action.reply.payload.value).left


@asynccontextmanager
async def local_link(function: UserFunction, clock: Clock) -> AsyncIterator[FunctionLink]:
    yield LocalLink(function, clock)


@asynccontextmanager
async def grpc_link(function: UserFunction, clock: Clock) -> AsyncIterator[FunctionLink]:
    async with (
        open_server(function, HostSettings(port=0)) as server,
        open_grpc_link(
            server.address, clock, max_message_bytes=1024 * 1024, close_timeout_s=1.0
        ) as link,
    ):
        yield link


LINKS = {"in one process": local_link, "over a socket": grpc_link}

Serve = Callable[[RateLimitedEntity, StateStore, Clock], AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def serving(
    link: str, entity: RateLimitedEntity, store: StateStore, clock: Clock
) -> AsyncIterator[Client]:
    """Serve an entity from a store until the end of the block."""
    watched = Watched()
    plugins = Plugins(kinds={"ratelimit": RateLimitKind()}, instruments=(watched,))
    function = UserFunction([entity], plugins)
    async with (
        LINKS[link](function, clock) as opened,
        open_runtime(
            RuntimeSettings(),
            plugins,
            store,
            {"under test": opened},
            clock=clock,
            random=Random(1),
        ) as runtime,
    ):
        await runtime.wait_until_deployed()
        yield Client(runtime.handler, watched)
