"""A user function that misbehaves is told, and hurts no other."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from runtime_doubles.functions import Context, echo, never_answers, serving, until
from runtime_doubles.running import SETTINGS, ask, deployed, other_spec, running

from cloudstate_core.errors import (
    CloudstateError,
    DeadlineExceeded,
    UserFunctionError,
    UserFunctionUnavailable,
)
from cloudstate_core.links import EntityStream
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.runtime import Runtime
from cloudstate_runtime.settings import RuntimeSettings


async def leaves(context: Context) -> None:
    await context.read()


async def breaks(context: Context) -> None:
    await context.read()
    raise RuntimeError("a bad function")


async def sends_garbage(context: Context) -> None:
    await context.read()
    await context.write(b"\xff\xff")
    await context.read()


async def sends_too_much(context: Context) -> None:
    await context.read()
    await context.write(StringValue(value="x" * (2 << 20)).SerializeToString())
    await context.read()


async def floods(context: Context) -> None:
    data = await context.read()
    while True:
        await context.write(data)


async def talks_at_once(context: Context) -> None:
    await context.write(StringValue(value="unasked").SerializeToString())
    await echo(context)


HOSTILE = [
    (never_answers, DeadlineExceeded),
    (leaves, UserFunctionUnavailable),
    (breaks, UserFunctionUnavailable),
    (sends_garbage, UserFunctionError),
    (sends_too_much, UserFunctionUnavailable),
]


@pytest.mark.parametrize(("converse", "error"), HOSTILE, ids=lambda it: it.__name__)
async def test_a_hostile_user_function_is_told_and_hurts_no_other(
    converse, error: type[CloudstateError], logged: list[dict[str, object]]
) -> None:
    patience_s = 0.2 if error is DeadlineExceeded else 30.0
    settings = RuntimeSettings(relay_timeout_s=patience_s, discovery_backoff_min_s=0.05)
    async with serving() as good, serving() as hostile:
        hostile.spec, hostile.converse = other_spec(), converse
        async with running(good, hostile, settings=settings) as runtime:
            await deployed(runtime)
            hurt = [asyncio.create_task(ask(runtime, f"id{i}", "shop.Returns")) for i in range(20)]
            for i in range(50):
                assert await ask(runtime, f"id{i % 5}") == f"id{i % 5}"
            for end in await asyncio.gather(*hurt, return_exceptions=True):
                assert isinstance(end, error)

            hostile.converse = echo
            assert await ask(runtime, "id0", "shop.Returns") == "id0"
        assert len(hostile.reports) == 20
        assert all(report.startswith("shop.Returns: ") for report in hostile.reports)
        assert good.reports == []


async def test_an_entity_is_back_at_once_although_the_function_never_ends_its_old_stream() -> None:
    clock = ManualClock()

    async def stays(context: Context) -> None:
        await echo(context)
        await asyncio.Event().wait()

    async with serving() as function:
        function.converse = stays
        async with running(function, clock=clock) as runtime:
            await deployed(runtime)
            await ask(runtime)
            await clock.advance(SETTINGS.passivation_timeout_s)
            assert runtime.served.handlers["shop.Orders"]._live == {}

            assert await ask(runtime) == "joe"
            assert function.open_streams == 2
    await until(lambda: function.open_streams == 0)


def stream_of(runtime: Runtime, service: str, entity_id: str) -> EntityStream:
    return runtime.served.handlers[service]._live[entity_id]._engine._stream


@pytest.mark.parametrize("converse", [floods, talks_at_once])
async def test_a_user_function_that_talks_too_much_is_cut_off(converse) -> None:
    async with serving() as good, serving() as hostile:
        hostile.spec, hostile.converse = other_spec(), converse
        async with running(good, hostile) as runtime:
            await deployed(runtime)
            for _ in range(5):
                await ask(runtime, "loud", "shop.Returns")
                stream = stream_of(runtime, "shop.Returns", "loud")
                await until(stream.unasked)
                assert await ask(runtime, "quiet") == "quiet"
                await ask(runtime, "loud", "shop.Returns")
                assert stream_of(runtime, "shop.Returns", "loud") is not stream
            await until(lambda: hostile.open_streams <= 1)
