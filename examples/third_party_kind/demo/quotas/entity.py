"""A hundred units for every API key, and a hundred more each day."""

from __future__ import annotations

from acme_ratelimit import RateLimitContext, RateLimitedEntity

from quotas.quotas_pb2 import DESCRIPTOR, Quota, ShowRequest, SpendRequest

QUOTAS = DESCRIPTOR.services_by_name["Quotas"]

entity = RateLimitedEntity(QUOTAS, capacity=100, refill_per_s=100 / 86_400)


@entity.command_handler("Spend")
def spend(request: SpendRequest, ctx: RateLimitContext) -> Quota:
    """Take what the request costs."""
    ctx.take(request.units)
    return Quota(left=ctx.available)


@entity.command_handler("Show")
def show(_: ShowRequest, ctx: RateLimitContext) -> Quota:
    """Show what is left."""
    return Quota(left=ctx.available)
