"""Rate limited entities: a token bucket for every id."""

from __future__ import annotations

from acme_ratelimit.context import RateLimitContext
from acme_ratelimit.entity import RateLimitedEntity

__all__ = ["RateLimitContext", "RateLimitedEntity"]
