from __future__ import annotations

import asyncio

import pytest
from runtime_doubles.engines import order, replied, settled

from cloudstate_core.errors import LimitExceeded, StoreUnavailable
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.admission import Admission


class Handler:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.error: Exception | None = None
        self.begun = 0

    async def handle(self, request: Request) -> Outcome:
        self.begun += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return replied(request.payload)


@pytest.fixture
def handler() -> Handler:
    return Handler()


def admitting(handler: Handler, at_most: int = 2):
    limits = Limits(max_commands_in_flight=at_most)
    return Admission().wrap(handler, ManualClock(), limits)


async def test_so_many_are_served_at_once_and_the_next_is_refused_with_a_hint(
    handler: Handler,
) -> None:
    admission = admitting(handler)
    served = [asyncio.create_task(admission.handle(order())) for _ in range(2)]
    await settled()

    with pytest.raises(LimitExceeded, match="at most 2 are served") as caught:
        await admission.handle(order())

    assert caught.value.retry_after_s == 0.5
    assert handler.begun == 2
    handler.gate.set()
    assert all(await asyncio.gather(*served))


@pytest.mark.parametrize("end", ["answer", "error", "cancel"])
async def test_however_a_request_ends_it_makes_room(end: str, handler: Handler) -> None:
    admission = admitting(handler, at_most=1)
    handler.error = StoreUnavailable("gone") if end == "error" else None
    for _ in range(5):
        task = asyncio.create_task(admission.handle(order()))
        await settled()
        if end == "cancel":
            task.cancel()
        else:
            handler.gate.set()
        await asyncio.wait((task,))
        handler.gate.clear()

    assert handler.begun == 5


async def test_it_is_the_first_to_see_a_request() -> None:
    assert Admission.order == 0
