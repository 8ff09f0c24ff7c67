"""The whole runtime without a front door: user functions behind real sockets, a memory store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest
from runtime_doubles.functions import Context, never_answers, serving, until
from runtime_doubles.running import ask, deployed, other_spec, running
from runtime_doubles.specs import TOY, orders_spec
from runtime_doubles.toy_kind import ToyKind

from cloudstate_core.clock import Clock, SystemClock
from cloudstate_core.errors import (
    Stopping,
    StoreUnavailable,
    UnknownService,
    UserFunctionUnavailable,
)
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import CommandHandler, Outcome, Request
from cloudstate_core.interceptor import Interceptor
from cloudstate_core.plugins import Plugins
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.runtime import PROXY_NAME, Runtime, limits_of
from cloudstate_runtime.settings import RuntimeSettings


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
