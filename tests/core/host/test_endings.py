from __future__ import annotations

import grpc
import pytest
from grpc import aio

from cloudstate_core.host.endings import end_with_error


class Ended:
    """The context of a call that has ended otherwise, or that ends as it should."""

    def __init__(self, raises: BaseException) -> None:
        self.raises = raises

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise self.raises


async def test_a_call_that_has_ended_is_not_ended_again() -> None:
    context = Ended(aio.UsageError("RPC already finished."))

    await end_with_error(context, grpc.StatusCode.UNAVAILABLE, "stopping")


@pytest.mark.parametrize("error", [aio.AbortError("aborted"), ValueError("no such code")])
async def test_what_else_ending_a_call_raises_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        await end_with_error(Ended(error), grpc.StatusCode.UNAVAILABLE, "stopping")
