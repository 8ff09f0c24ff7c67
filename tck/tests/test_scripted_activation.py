"""The stream of one entity, as the scripted proxy drives it."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest

from cloudstate_tck.protocol import EVENT_SOURCED
from cloudstate_tck.scripted.proxy import Activation


class EndedMeanwhile:
    """A call that tells who waits for it how it has ended, also if he was cancelled meanwhile."""

    def __init__(self) -> None:
        self.is_waited_for = asyncio.Event()

    def done(self) -> bool:
        return False

    async def done_writing(self) -> None:
        self.is_waited_for.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, nothing, nothing) from None


@pytest.mark.timeout(20)
async def test_whoever_is_cancelled_while_a_stream_ends_is_cancelled() -> None:
    call = EndedMeanwhile()
    completing = asyncio.create_task(Activation(call, EVENT_SOURCED).complete())
    await call.is_waited_for.wait()
    completing.cancel()

    await asyncio.wait([completing])
    assert completing.cancelled()
