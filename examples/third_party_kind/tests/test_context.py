"""What a handler can do with the tokens."""

from __future__ import annotations

import pytest
from acme_ratelimit import RateLimitContext
from acme_ratelimit.ratelimit_pb2 import Terms

from cloudstate_core.context import CommandFailed
from cloudstate_core.failure_code import code_of
from cloudstate_core.status import Status


def context(available: int, *, capacity: int = 10, refill_per_s: float = 2) -> RateLimitContext:
    return RateLimitContext(
        entity_id="k",
        service_name="acme.quotas.Quotas",
        command_name="Spend",
        command_id=1,
        available=available,
        terms=Terms(capacity=capacity, refill_per_s=refill_per_s),
    )


def test_taking_adds_up() -> None:
    ctx = context(5)

    ctx.take(2)
    ctx.take()
    ctx.take(0)

    assert (ctx.available, ctx.taken) == (2, 3)


def test_the_last_token_can_be_taken_and_no_other() -> None:
    ctx = context(1)
    ctx.take()

    with pytest.raises(CommandFailed):
        ctx.take()

    assert ctx.failure is not None
    assert code_of(ctx.failure) is Status.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("ctx", "tokens", "expected"),
    [
        (context(1), 4, "wanted 4, available 1, try again in 1.5 s"),
        (context(1), 11, "wanted 11, available 1, and waiting will not help"),
        (context(1, refill_per_s=0), 2, "wanted 2, available 1, and waiting will not help"),
    ],
)
def test_a_refusal_says_when_to_come_back(
    ctx: RateLimitContext, tokens: int, expected: str
) -> None:
    with pytest.raises(CommandFailed, match=f"^rate limit reached: {expected}$"):
        ctx.take(tokens)


def test_tokens_cannot_be_put_back() -> None:
    with pytest.raises(ValueError, match="expected at least 0 tokens, found -1"):
        context(5).take(-1)


def test_nothing_can_be_taken_after_the_handler_returned() -> None:
    ctx = context(5)
    ctx.finish()

    with pytest.raises(RuntimeError, match="after its handler returned"):
        ctx.take()
