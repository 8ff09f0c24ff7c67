"""Discovering, serving, losing and finding again, with links that a test moves by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import cast

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import StringValue
from runtime_doubles.engines import settled
from runtime_doubles.hostile_specs import HOSTILE
from runtime_doubles.specs import TOY, entity, orders_file, orders_spec, spec
from runtime_doubles.toy_kind import ToyKind

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_core.alone import Alone
from cloudstate_core.cluster import NodeIdentity
from cloudstate_core.durable.commit import Committer
from cloudstate_core.errors import Stopping, UnknownService, UserFunctionUnavailable
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.instrument import Instrument
from cloudstate_core.links import EntityStream, FunctionLink, Rpc
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.function.connection import FunctionConnection
from cloudstate_runtime.function.discovery import Discovery
from cloudstate_runtime.function.kind_host import KindHost
from cloudstate_runtime.function.reports import Reports
from cloudstate_runtime.routing.router import Router
from cloudstate_runtime.routing.served import ServedNow
from cloudstate_runtime.settings import RuntimeSettings

INFO = ProxyInfo(proxy_name="test")


class FakeStream(EntityStream[StringValue, StringValue]):
    """Answers with the question, as long as its function lives."""

    def __init__(self, link: FakeLink) -> None:
        self._link = link
        self._life = link.life
        link.open_streams += 1

    async def send(self, message: StringValue) -> None: ...

    async def receive(self) -> StringValue:
        raise NotImplementedError

    async def ask(self, message: StringValue, timeout_s: float) -> StringValue:
        if self._link.gate is not None:
            await self._link.gate.wait()
        if (gone := self.unasked()) is not None:
            raise gone
        return StringValue(value=f"{self._link.greeting} {message.value}")

    def unasked(self) -> UserFunctionUnavailable | None:
        if self._link.spec is None or self._link.life != self._life:
            return UserFunctionUnavailable("Unexpected entity termination")
        return None

    async def aclose(self) -> None:
        self._link.open_streams -= 1


class FakeLink(FunctionLink):
    """The way to a user function that comes and goes as the test says.

    Attributes:
        spec: What it announces; None while it is away; an exception for a link that fails.
    """

    def __init__(self, spec: EntitySpec | Exception | None) -> None:
        self.spec = spec
        self.asked_at_s: list[float] = []
        self.reports: list[str] = []
        self.open_streams = 0
        self.life = 0
        self.greeting = "hello"
        self.gate: asyncio.Event | None = None
        self.clock: ManualClock
        self._lost = asyncio.Event()

    def leave(self) -> None:
        self.spec = None
        self.life += 1
        self._lost.set()

    async def call(self, rpc, message):
        raise NotImplementedError

    def stream(self, rpc, messages):
        raise NotImplementedError

    def open_stream(self, rpc: Rpc) -> FakeStream:
        return FakeStream(self)

    async def discover(self, info: ProxyInfo) -> EntitySpec:
        assert info == INFO
        self.asked_at_s.append(round(self.clock.monotonic_s(), 2))
        self._lost.clear()
        if self.spec is None:
            raise UserFunctionUnavailable("not there")
        if isinstance(self.spec, Exception):
            raise self.spec
        return self.spec

    async def report_error(self, message: str) -> None:
        self.reports.append(message)

    async def wait_until_lost(self) -> None:
        await self._lost.wait()


class NoSpread(Random):
    def random(self) -> float:
        return 0.0


@dataclass
class World:
    """Connections to some functions, and what stands around them."""

    clock: ManualClock
    served: ServedNow
    router: Router
    connections: Mapping[str, FunctionConnection]
    kind: ToyKind

    async def ask(self, service: str = "shop.Orders", entity_id: str = "joe") -> str:
        payload = Any(value=b"\x0a" + bytes([len(entity_id)]) + entity_id.encode())
        outcome: Outcome = await self.router.handle(Request(service, "Place", payload))
        return outcome.action.reply.payload.value.decode()


@asynccontextmanager
async def world(
    *, random: Random | None = None, drain_grace_s: float = 10.0, **links: FakeLink
) -> AsyncIterator[World]:
    clock, served, kind = ManualClock(), ServedNow(), ToyKind()
    settings = RuntimeSettings(drain_grace_s=drain_grace_s)
    discovery = Discovery({TOY: kind}, lambda _: (), max_spec_bytes=4 * 1024 * 1024)
    connections = {}
    for name, link in links.items():
        link.clock = clock
        host = KindHost(
            link=link,
            store=MemoryStore(clock),
            epoch=1,
            clock=clock,
            cluster=Alone(NodeIdentity("local", 1), clock),
            instrument=Instrument(),
            reports=Reports(name, link, clock),
            settings=settings,
            relay_timeout_s=60.0,
            committer=cast("Committer", None),  # these entities change nothing
        )
        connections[name] = FunctionConnection(
            name, link, discovery, host, served, INFO, random or NoSpread()
        )
    router = Router(served, lambda *_: None, clock, max_hops=16, max_pending_effects=10)
    tasks = [asyncio.create_task(each.run()) for each in connections.values()]
    await settled()
    try:
        yield World(clock, served, router, connections, kind)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    assert all(link.open_streams == 0 for link in links.values())


def returns_spec() -> EntitySpec:
    """Another version of the function of `orders_spec`: its service has another name."""
    made = orders_file()
    made.service[0].name = "Returns"
    return spec(made, entities=(entity("shop.Returns"),))


def services(of: World) -> Sequence[str]:
    return sorted(of.served.handlers)


# --- The first time ------------------------------------------------------------------


async def test_a_function_is_served_as_soon_as_it_answers() -> None:
    async with world(here=FakeLink(orders_spec())) as it:
        assert services(it) == ["shop.Orders"]
        assert it.connections["here"].deployed.is_set()
        assert await it.ask() == "hello joe"


async def test_a_function_that_is_not_up_yet_is_asked_again_with_growing_waits() -> None:
    async with world(here=(link := FakeLink(None))) as it:
        await it.clock.advance(40)
        assert link.asked_at_s == [0, 1, 3, 7, 15, 25, 35]
        assert not it.connections["here"].deployed.is_set()

        link.spec = orders_spec()
        await it.clock.advance(5)
        assert await it.ask() == "hello joe"


async def test_waits_are_spread_by_the_random_numbers_that_are_handed_in() -> None:
    async with world(random=Random(3), here=(link := FakeLink(None))) as it:
        await it.clock.advance(4)

    first, second = link.asked_at_s[1], link.asked_at_s[2] - link.asked_at_s[1]
    assert 1.0 < first <= 1.2
    assert 2.0 < second <= 2.4


async def test_a_link_that_fails_in_a_way_nobody_thought_of_is_tried_again(
    logged: list[dict[str, object]],
) -> None:
    async with world(here=(link := FakeLink(OSError("a bad link")))) as it:
        assert "discovery_failed" in [entry["event"] for entry in logged]
        link.spec = orders_spec()
        await it.clock.advance(1)

        assert services(it) == ["shop.Orders"]


# --- A wrong announcement ------------------------------------------------------------


async def test_every_fault_is_reported_and_a_mended_announcement_is_served() -> None:
    wrong = orders_spec()
    wrong.entities[0].entity_type = "lost.Kind"
    wrong.entities.append(entity("shop.Lost"))
    async with world(here=(link := FakeLink(wrong))) as it:
        assert len(link.reports) == 2
        assert "unsupported entity type 'lost.Kind'" in link.reports[0]
        assert "'shop.Lost' is defined in none" in link.reports[1]
        assert not it.connections["here"].deployed.is_set()

        link.spec = orders_spec()
        await it.clock.advance(1)
        assert await it.ask() == "hello joe"


async def test_a_wrong_announcement_is_asked_for_again_with_growing_waits_and_reported_again() -> (
    None
):
    wrong = orders_spec()
    wrong.service_info.protocol_minor_version = 1
    async with world(here=(link := FakeLink(wrong))) as it:
        await it.clock.advance(26)

    assert link.asked_at_s == [0, 1, 3, 7, 15, 25]
    assert len(link.reports) == 6


async def test_an_announcement_that_was_in_anothers_way_is_served_when_the_other_is_gone() -> None:
    first, second = FakeLink(orders_spec()), FakeLink(orders_spec())
    async with world(first=first, second=second) as it:
        assert it.connections["first"].deployed.is_set()
        assert "announced already by another user function" in second.reports[0]

        first.leave()
        first.spec = returns_spec()
        await it.clock.advance(20)

        assert services(it) == ["shop.Orders", "shop.Returns"]
        assert it.connections["second"].deployed.is_set()


async def test_two_functions_that_announce_one_service_at_once_are_not_both_served() -> None:
    class SlowKind(ToyKind):
        def open_handler(self, entity, host):
            return slow_to_open(super().open_handler(entity, host))

    @asynccontextmanager
    async def slow_to_open(manager):
        await settled()
        async with manager as handler:
            yield handler

    links = {"first": FakeLink(orders_spec()), "second": FakeLink(orders_spec("mall"))}
    async with world(**links) as it:
        assert services(it) == ["mall.Orders", "shop.Orders"]
        for connection in it.connections.values():
            object.__setattr__(connection._discovery, "kinds", {TOY: SlowKind()})
        for link in links.values():
            link.leave()
            link.spec = returns_spec()
        await it.clock.advance(5)

        deployed = [each for each in it.connections.values() if each.deployed.is_set()]
        assert len(deployed) == 1
        assert services(it) == ["shop.Returns"]


# --- Lost and found ------------------------------------------------------------------


async def test_a_function_that_returns_with_the_same_goes_on_as_it_was() -> None:
    async with world(here=(link := FakeLink(orders_spec()))) as it:
        await it.ask()
        revision = it.served.revision
        link.leave()
        await settled()
        with pytest.raises(UserFunctionUnavailable):
            await it.ask()

        link.spec = orders_spec()
        await it.clock.advance(1)

        assert await it.ask() == "hello joe"
        assert it.served.revision == revision
        assert it.kind.opened == ["shop.Orders"]
        assert it.connections["here"].deployed.is_set()


async def test_a_function_that_returns_with_something_else_takes_the_place_of_the_old_one() -> None:
    async with world(here=(link := FakeLink(orders_spec()))) as it:
        await it.ask()
        assert link.open_streams == 1
        link.leave()
        link.spec = returns_spec()
        await it.clock.advance(1)

        assert services(it) == ["shop.Returns"]
        assert link.open_streams == 0
        assert await it.ask("shop.Returns") == "hello joe"
        with pytest.raises(UnknownService):
            await it.ask("shop.Orders")


async def test_old_entities_finish_what_they_do_before_the_new_ones_begin() -> None:
    async with world(here=(link := FakeLink(orders_spec()))) as it:
        link.gate = asyncio.Event()
        asking = asyncio.create_task(it.ask())
        await settled()
        link.spec = returns_spec()
        link._lost.set()
        await settled()

        assert it.kind.opened == ["shop.Orders"]
        with pytest.raises(Stopping, match="being closed or replaced"):
            await it.ask(entity_id="another")
        link.gate.set()
        await settled()
        assert await asking == "hello joe"
        assert it.kind.opened == ["shop.Orders", "shop.Returns"]


async def test_old_entities_that_do_not_finish_are_given_up_after_the_grace() -> None:
    async with world(drain_grace_s=3.0, here=(link := FakeLink(orders_spec()))) as it:
        link.gate = asyncio.Event()
        asking = asyncio.create_task(it.ask())
        await settled()
        link.spec = returns_spec()
        link._lost.set()
        await it.clock.advance(2.9)
        assert it.kind.opened == ["shop.Orders"]

        await it.clock.advance(0.1)

        assert it.kind.opened == ["shop.Orders", "shop.Returns"]
        with pytest.raises(Stopping):
            await asking


async def test_a_function_that_returns_with_something_wrong_is_not_served_until_it_is_mended() -> (
    None
):
    async with world(here=(link := FakeLink(orders_spec()))) as it:
        link.leave()
        link.spec = EntitySpec(proto=b"\xff", service_info=orders_spec().service_info)
        await it.clock.advance(0.5)

        assert services(it) == []
        assert not it.connections["here"].deployed.is_set()
        assert any("found other bytes" in report for report in link.reports)
        with pytest.raises(UnknownService):
            await it.ask()

        link.spec = orders_spec()
        await it.clock.advance(2)
        assert await it.ask() == "hello joe"


async def test_a_function_that_is_lost_all_the_time_is_asked_ever_less_often() -> None:
    class Fickle(FakeLink):
        async def wait_until_lost(self) -> None: ...

    async with world(here=(link := Fickle(orders_spec()))) as it:
        await it.clock.advance(30)

        assert link.asked_at_s == [0, 0, 1, 3, 7, 15, 25]
        assert await it.ask() == "hello joe"


async def test_a_function_that_announces_something_else_all_the_time_is_asked_ever_less_often() -> (
    None
):
    class Fickle(FakeLink):
        async def discover(self, info: ProxyInfo) -> EntitySpec:
            self.spec = returns_spec() if len(self.asked_at_s) % 2 else orders_spec()
            return await super().discover(info)

        async def wait_until_lost(self) -> None: ...

    async with world(here=(link := Fickle(None))) as it:
        await it.clock.advance(30)

    assert link.asked_at_s == [0, 0, 1, 3, 7, 15, 25]


# --- Several functions ---------------------------------------------------------------


async def test_hostile_announcements_do_not_hurt_another_function() -> None:
    hostile = FakeLink(None)
    async with world(good=(good := FakeLink(orders_spec())), hostile=hostile) as it:
        for name, (build, _) in HOSTILE.items():
            hostile.spec = build()
            await it.clock.advance(11)
            hostile.life += 1

            assert services(it) == ["shop.Orders"], name
            assert await it.ask(entity_id="joe") == "hello joe", name
        assert good.reports == []
        assert len(hostile.reports) >= len(HOSTILE)
        assert not it.connections["hostile"].deployed.is_set()


async def test_a_function_that_never_answers_does_not_hold_up_another() -> None:
    class Silent(FakeLink):
        async def discover(self, info: ProxyInfo) -> EntitySpec:
            await asyncio.Event().wait()
            raise AssertionError

    async with world(silent=Silent(None), good=FakeLink(orders_spec())) as it:
        assert await it.ask() == "hello joe"


async def test_a_plugin_that_fails_to_open_is_tried_again_and_hurts_nobody(
    logged: list[dict[str, object]],
) -> None:
    async with world(here=(link := FakeLink(orders_spec()))) as it:
        it.kind.open_error = RuntimeError("a bad plugin")
        link.leave()
        link.spec = returns_spec()
        await settled()

        assert services(it) == []
        assert "user_function_not_served" in [entry["event"] for entry in logged]
        assert link.reports == ["the runtime failed to serve this user function; see its log"]
        await it.clock.advance(1)
        assert services(it) == ["shop.Returns"]


async def test_who_wants_to_know_is_told_when_nothing_new_is_taken() -> None:
    async with world(here=FakeLink(orders_spec())) as it:
        connection = it.connections["here"]
        told: list[str] = []
        with connection._host.when_draining(lambda: told.append("now")):
            assert told == []
            connection.begin_drain(5.0)
            assert told == ["now"]
        connection.begin_drain(1.0)
        assert told == ["now"]
