"""What the tests of discovery share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from runtime_doubles.functions import Function, serving
from runtime_doubles.specs import TOY
from runtime_doubles.toy_kind import ToyKind

from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.function.discovery import Discovery


@pytest.fixture
def discovery() -> Discovery:
    """A runtime with one kind that wants unary methods with keys, and no front end."""
    return Discovery({TOY: ToyKind()}, lambda _: (), max_spec_bytes=4 * 1024 * 1024)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def function() -> AsyncIterator[Function]:
    """A user function behind a real server."""
    async with serving() as function:
        yield function


@pytest.fixture
def complaints() -> list[object]:
    """What the event loop has to complain about, such as exceptions that nobody looked at."""
    return []


@pytest.fixture
async def no_complaints(complaints: list[object]) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()

    def complain(_: object, what: dict[str, object]) -> None:
        # The client library has one poller for all loops of a process, and it may complain to this
        # one that the loop of an earlier test is closed.
        if "PollerCompletionQueue" not in str(what.get("message")):
            complaints.append(what)

    loop.set_exception_handler(complain)
    yield
    await asyncio.sleep(0)
    assert complaints == []
