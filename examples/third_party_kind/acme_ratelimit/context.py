"""What the handlers of a rate limited entity are given."""

from __future__ import annotations

from acme_ratelimit.ratelimit_pb2 import Terms
from cloudstate_core.context import CommandContext
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.status import Status

__all__ = ["RateLimitContext"]


class RateLimitContext(CommandContext):
    """One command for a rate limited entity.

    Attributes:
        available: Tokens that can still be taken.
        taken: Tokens that were taken.
    """

    def __init__(
        self,
        *,
        entity_id: str,
        service_name: str,
        command_name: str,
        command_id: int,
        available: int,
        terms: Terms,
        metadata: Metadata = EMPTY_METADATA,
    ) -> None:
        """Keep the command's data and what there is to spend on it."""
        super().__init__(
            entity_id=entity_id,
            service_name=service_name,
            command_name=command_name,
            command_id=command_id,
            metadata=metadata,
        )
        self.available = available
        self.taken = 0
        self._terms = terms

    def take(self, tokens: int = 1) -> None:
        """Take tokens out of the bucket; without enough of them the command fails.

        The client then sees RESOURCE_EXHAUSTED (HTTP 429), and nothing is taken.

        Raises:
            CommandFailed: There are not enough; leaves the handler.
            ValueError: `tokens` is negative.
        """
        self.check_usable()
        if tokens < 0:
            raise ValueError(f"expected at least 0 tokens, found {tokens!r}")
        if tokens > self.available:
            self.fail(self._refusal(tokens), code=Status.RESOURCE_EXHAUSTED)
        self.available -= tokens
        self.taken += tokens

    def _refusal(self, tokens: int) -> str:
        text = f"rate limit reached: wanted {tokens}, available {self.available}"
        missing = tokens - self.available
        if self.taken + tokens > self._terms.capacity or self._terms.refill_per_s == 0:
            return f"{text}, and waiting will not help"
        return f"{text}, try again in {missing / self._terms.refill_per_s:.1f} s"
