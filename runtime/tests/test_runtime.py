"""The whole runtime without a front door: user functions behind real sockets, a memory store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio
from runtime_doubles.functions import Context, Function, echo, serving, until
from runtime_doubles.specs import TOY, entity, orders_file, orders_spec, spec
from runtime_doubles.toy_kind import ToyKind

from cloudstate_core.clock import Clock, SystemClock
from cloudstate_core.errors import (
    CloudstateError,
    DeadlineExceeded,
    Stopping,
    StoreUnavailable,
    UnknownService,
    UserFunctionError,
    UserFunctionUnavailable,
)
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.interceptor import Interceptor
from cloudstate_core.links import EntityStream
from cloudstate_core.plugins import Plugins
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.function.grpc_link import open_grpc_link
from cloudstate_runtime.runtime import PROXY_NAME, Runtime, limits_of, open_runtime
from cloudstate_runtime.settings import RuntimeSettings

SETTINGS = RuntimeSettings(
    relay_timeout_s=5.0, discovery_backoff_min_s=0.05, discovery_backoff_max_s=0.1
)


class CheckedStore(MemoryStore):
    """A memory store that is down when the test says so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.error: Exception | None = None
        self.answers = True

    async def check(self) -> None:
        if not self.answers:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def running(
    *functions: Function,
    clock: Clock | None = None,
    store: MemoryStore | None = None,
    plugins: Plugins | None = None,
    settings: RuntimeSettings = SETTINGS,
) -> AsyncIterator[Runtime]:
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        links = {
            function.address: await stack.enter_async_context(
                open_grpc_link(
                    function.address, SystemClock(), max_message_bytes=1 << 20, close_timeout_s=0.2
                )
            )
            for function in functions
        }
        yield await stack.enter_async_context(
            open_runtime(
                settings,
                plugins or Plugins(kinds={"toy": ToyKind()}),
                store or MemoryStore(clock),
                links,
                clock=clock,
                random=Random(1),
            )
        )


async def ask(runtime: Runtime, entity_id: str = "joe", service: str = "shop.Orders") -> str:
    payload = Any(value=b"\x0a" + bytes([len(entity_id)]) + entity_id.encode())
    outcome: Outcome = await runtime.handler.handle(Request(service, "Place", payload))
    return outcome.action.reply.payload.value.decode()


async def deployed(runtime: Runtime) -> None:
    async with asyncio.timeout(10):
        await runtime.wait_until_deployed()


def other_spec(name: str = "Returns"):
    made = orders_file()
    made.service[0].name = name
    return spec(made, entities=(entity(f"shop.{name}"),))


# --- Serving -------------------------------------------------------------------------


async def test_commands_go_to_the_user_function_and_come_back() -> None:
    async with serving() as function, running(function) as runtime:
        await deployed(runtime)

        assert await ask(runtime) == "joe"
        (info,) = function.proxies
        assert (info.protocol_major_version, info.protocol_minor_version) == (0, 2)
        assert info.proxy_name == PROXY_NAME
        assert list(info.supported_entity_types) == [TOY]
    assert function.open_streams == 0


async def test_several_user_functions_are_served_side_by_side() -> None:
    async with serving() as one, serving() as other:
        other.spec = other_spec()
        async with running(one, other) as runtime:
            await deployed(runtime)

            assert await ask(runtime) == "joe"
            assert await ask(runtime, service="shop.Returns") == "joe"


async def test_interceptors_stand_around_every_request_in_their_order() -> None:
    seen: list[str] = []

    def interceptor(called: str, at: int) -> Interceptor:
        class Noting(Interceptor):
            name: ClassVar[str] = called
            order: ClassVar[int] = at

            def wrap(self, handler: CommandHandler, clock: Clock, limits: Limits) -> CommandHandler:
                class Wrapped:
                    async def handle(self, request: Request) -> Outcome:
                        seen.append(called)
                        return await handler.handle(request)

                return Wrapped()

        return Noting()

    plugins = Plugins(
        kinds={"toy": ToyKind()},
        interceptors={"last": interceptor("last", 9), "first": interceptor("first", 1)},
    )
    async with serving() as function, running(function, plugins=plugins) as runtime:
        await deployed(runtime)
        await ask(runtime)

    assert seen == ["first", "last"]


def test_the_limits_are_those_of_the_settings() -> None:
    settings = RuntimeSettings(
        max_request_bytes=7,
        max_commands_in_flight=8,
        max_connections=9,
        default_deadline_s=10,
        max_deadline_s=11,
        relay_timeout_s=12,
    )

    limits = limits_of(settings)

    assert limits.max_request_bytes == 7
    assert limits.max_commands_in_flight == 8
    assert limits.max_connections == 9
    assert limits.default_deadline_s == 10
    assert limits.max_deadline_s == 11


async def test_a_later_runtime_takes_the_store_over_from_an_earlier_one() -> None:
    store = MemoryStore(SystemClock())
    async with serving() as function, running(function, store=store) as first:
        epoch = first.connections[0]._host.epoch
        async with running(function, store=store) as second:
            assert second.connections[0]._host.epoch > epoch


# --- Ready or not --------------------------------------------------------------------


async def test_it_is_ready_when_every_user_function_is_served() -> None:
    async with serving() as one, serving() as other:
        other.spec = b"\xff"
        async with running(one, other) as runtime:
            await until(lambda: "shop.Orders" in runtime.served.entities)
            assert not runtime.is_ready()

            other.spec = other_spec()
            await deployed(runtime)
            assert runtime.is_ready()


async def test_it_is_not_ready_when_an_announcement_becomes_wrong(tmp_path: Path) -> None:
    async with serving(f"unix:{tmp_path}/function") as function, running(function) as runtime:
        await deployed(runtime)
        await function.stop()
        wrong = orders_spec()
        wrong.entities[0].entity_type = "lost.Kind"
        function.spec = wrong
        await function.start()
        await until(lambda: not runtime.is_ready())
        await until(lambda: function.reports)
        assert "unsupported entity type" in function.reports[0]
        with pytest.raises(UnknownService):
            await ask(runtime)

        function.spec = orders_spec()
        await until(runtime.is_ready)
        assert await ask(runtime) == "joe"


@pytest.mark.parametrize("error", [StoreUnavailable("disk full"), ValueError("a defect")])
async def test_it_is_not_ready_while_the_store_is_down(
    error: Exception, logged: list[dict[str, object]]
) -> None:
    clock = ManualClock()
    store = CheckedStore(clock)
    async with running(clock=clock, store=store) as runtime:
        await clock.advance(1.0)
        assert runtime.is_ready()

        store.error = error
        await clock.advance(0.1)
        assert not runtime.is_ready()
        await clock.advance(10.0)

        store.error = None
        await clock.advance(0.1)
        assert runtime.is_ready()

    events = [entry["event"] for entry in logged]
    assert events.count("store_is_down") == events.count("store_is_up_again") == 1


async def test_a_store_that_does_not_answer_counts_as_down() -> None:
    clock = ManualClock()
    store = CheckedStore(clock)
    async with running(clock=clock, store=store) as runtime:
        store.answers = False
        await clock.advance(1.2)
        assert not runtime.is_ready()

        store.answers = True
        await clock.advance(1.2)
        assert runtime.is_ready()


# --- User functions that come and go -------------------------------------------------


async def test_a_user_function_that_is_not_up_yet_is_waited_for() -> None:
    async with serving() as function:
        await function.stop()
        async with running(function) as runtime:
            await asyncio.sleep(0)
            assert not runtime.is_ready()

            await function.start()
            await deployed(runtime)
            assert await ask(runtime) == "joe"


async def test_a_user_function_that_dies_and_comes_back(tmp_path: Path) -> None:
    async with serving(f"unix:{tmp_path}/function") as function, running(function) as runtime:
        await deployed(runtime)
        await ask(runtime)
        await function.stop()
        with pytest.raises(UserFunctionUnavailable):
            await ask(runtime)

        await function.start()
        await until(lambda: function.discovered == 2)
        assert await ask(runtime) == "joe"


async def test_a_user_function_that_comes_back_as_another_one(tmp_path: Path) -> None:
    async with serving(f"unix:{tmp_path}/function") as function, running(function) as runtime:
        await deployed(runtime)
        await ask(runtime)
        await function.stop()
        function.spec = other_spec()
        await function.start()

        await until(lambda: "shop.Returns" in runtime.served.entities)
        assert await ask(runtime, service="shop.Returns") == "joe"
        with pytest.raises(UnknownService):
            await ask(runtime)


# --- Hostile user functions ----------------------------------------------------------


async def never_answers(context: Context) -> None:
    while await context.read() is not aio.EOF:
        pass


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


# --- The end -------------------------------------------------------------------------


async def test_in_the_end_commands_that_run_are_finished() -> None:
    released = asyncio.Event()

    async def slowly(context: Context) -> None:
        data = await context.read()
        await released.wait()
        await context.write(data)
        await context.read()

    async with serving() as function:
        function.converse = slowly
        async with running(function) as runtime:
            await deployed(runtime)
            asking = asyncio.create_task(ask(runtime))
            await until(lambda: function.open_streams)
            asyncio.get_running_loop().call_later(0.05, released.set)

        assert await asking == "joe"
        assert function.ended == ["done"]
        assert not runtime.is_ready()


async def test_in_the_end_nothing_new_is_taken() -> None:
    released = asyncio.Event()

    async def slowly(context: Context) -> None:
        data = await context.read()
        await released.wait()
        await context.write(data)
        await context.read()

    async def late_request(runtime: Runtime) -> None:
        await until(lambda: runtime.draining)
        assert not runtime.is_ready()
        with pytest.raises(Stopping):
            await ask(runtime, "late")
        released.set()

    async with serving() as function:
        function.converse = slowly
        async with running(function) as runtime:
            await deployed(runtime)
            asking = asyncio.create_task(ask(runtime))
            await until(lambda: function.open_streams)
            late = asyncio.create_task(late_request(runtime))

        await late
        assert await asking == "joe"


async def test_the_end_takes_the_grace_once_however_much_does_not_finish() -> None:
    clock = ManualClock()
    settings = RuntimeSettings(relay_timeout_s=1000, drain_grace_s=10.0)
    async with serving() as one, serving() as other:
        other.spec = other_spec()
        one.converse = other.converse = never_answers
        async with running(one, other, clock=clock, settings=settings) as runtime:
            await deployed(runtime)
            asking = [
                asyncio.create_task(ask(runtime, service=name))
                for name in ("shop.Orders", "shop.Returns")
            ]
            await until(lambda: one.open_streams and other.open_streams)
            moving = asyncio.create_task(clock.advance(10.0))

        await moving
        assert clock.monotonic_s() == pytest.approx(10.0)
        for task in asking:
            with pytest.raises(Stopping, match="unknown"):
                await task


async def test_a_shorter_grace_holds_as_soon_as_it_is_given() -> None:
    clock = ManualClock()
    settings = RuntimeSettings(relay_timeout_s=1000, drain_grace_s=10.0)
    async with serving() as function:
        function.converse = never_answers
        async with running(function, clock=clock, settings=settings) as runtime:
            await deployed(runtime)
            asking = asyncio.create_task(ask(runtime))
            await until(lambda: function.open_streams)
            runtime.begin_drain(10.0)
            runtime.begin_drain(0.0)

        assert clock.monotonic_s() == 0
        with pytest.raises(Stopping):
            await asking
