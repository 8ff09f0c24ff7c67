"""Handlers of an application behind a runtime: within one process, and through a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from random import Random
from typing import Any as AnyType

import grpc
import pytest
from deltas import gcounter
from google.protobuf.any_pb2 import Any
from grpc import aio
from one_crdt_stream import SERVICE, doing, text_of
from puppet.puppet_pb2 import Order, Word
from serving_puppets import LINKS, open_link

from cloudstate.crdt_entity import (
    CrdtChangeContext,
    CrdtCommandContext,
    CrdtEntity,
    ORMap,
    PNCounter,
    Vote,
)
from cloudstate.crdt_pb2 import CrdtInit, CrdtStreamIn, CrdtStreamOut
from cloudstate.crdt_pb2_grpc import CrdtStub
from cloudstate.entity_pb2 import Command, StreamCancelled
from cloudstate_core.anys import encode
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.host.server import open_server
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import Plugins
from cloudstate_core.settings import HostSettings
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_crdt.plugin import CrdtKind
from cloudstate_runtime.runtime import Runtime, open_runtime
from cloudstate_runtime.settings import RuntimeSettings

pytestmark = pytest.mark.usefixtures("logged")

PLUGINS = Plugins(kinds={"crdt": CrdtKind()})


def presence() -> CrdtEntity:
    """Declare an entity that knows who is there: those whose streams are open."""

    at_work: list[int] = []

    async def do(counts: ORMap, order: Order, ctx: CrdtCommandContext) -> Word:
        assert at_work == [], "another command of this entity is at work"
        at_work.append(ctx.command_id)
        for each in order.answers:
            counts.get_or_create(each, PNCounter).increment()
            await asyncio.sleep(0)
        at_work.clear()
        if order.held:
            ctx.delete()
        return shown(counts)

    async def watch(counts: ORMap, order: Order, ctx: CrdtCommandContext) -> Word:
        for each in order.answers:
            counts.get_or_create(each, PNCounter).increment()

        async def pushed(change: CrdtChangeContext) -> Word:
            await asyncio.sleep(0)
            if b"end" in counts:
                change.end()
            return shown(counts)

        def left(_: object) -> None:
            for each in order.answers:
                counts[each].decrement()

        ctx.on_change(pushed)
        ctx.on_cancel(left)
        return shown(counts)

    return doing(do, watch, ORMap)


def shown(counts: ORMap) -> Word:
    names = sorted(key.decode() for key, count in counts.items() if count.value)
    return Word(text=" ".join(names))


def order(*names: str, held: bool = False) -> Any:
    return encode(Order(id="e", answers=[name.encode() for name in names], held=held))


class Served:
    """A runtime with that entity."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def ask(self, *names: str, **fields: AnyType) -> str:
        request = Request(SERVICE, "Do", order(*names, **fields))
        return text_of((await self.runtime.handler.handle(request)).action)

    def watch(self, *names: str) -> AsyncGenerator[Outcome, None]:
        return self.runtime.handler.stream(Request(SERVICE, "Watch", order(*names)))


async def element(stream: AsyncGenerator[Outcome, None]) -> str:
    async with asyncio.timeout(10.0):
        return text_of((await anext(stream)).action)


@pytest.fixture(params=LINKS)
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    clock = ManualClock()
    function = UserFunction((presence(),), PLUGINS)
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(open_link(request.param, function, clock))
        runtime = await stack.enter_async_context(
            open_runtime(
                RuntimeSettings(),
                PLUGINS,
                MemoryStore(clock),
                {"function": link},
                clock=clock,
                random=Random(1),
            )
        )
        await runtime.wait_until_deployed()
        yield Served(runtime)


async def test_commands_change_what_the_next_one_sees(served: Served) -> None:
    assert await served.ask() == ""
    assert await served.ask("ann") == "ann"
    assert await served.ask("joe") == "ann joe"


async def test_commands_of_one_entity_are_handled_one_after_another(served: Served) -> None:
    names = [f"{number:02}" for number in range(20)]

    await asyncio.gather(*(served.ask(name) for name in names))

    assert await served.ask() == " ".join(names)


async def test_streams_see_who_comes_and_who_leaves(served: Served) -> None:
    async with aclosing(served.watch("ann")) as ann:
        assert await element(ann) == "ann"
        async with aclosing(served.watch("joe")) as joe:
            assert await element(joe) == "ann joe"
            assert await element(ann) == "ann joe"
        assert await element(ann) == "ann"
    async with asyncio.timeout(10.0):
        while await served.ask():
            await asyncio.sleep(0.002)


async def test_a_stream_ends_when_its_listener_says_so(served: Served) -> None:
    async with aclosing(served.watch("ann")) as ann:
        assert await element(ann) == "ann"
        await served.ask("end")

        assert await element(ann) == "ann end"
        with pytest.raises(StopAsyncIteration):
            await element(ann)


async def test_a_deleted_entity_answers_no_more(served: Served) -> None:
    assert await served.ask("ann", held=True) == "ann"

    with pytest.raises(Exception, match="Entity deleted"):
        await served.ask()


# --- The protocol alone, on a socket -------------------------------------------------


@asynccontextmanager
async def on_a_socket(entity: CrdtEntity) -> AsyncIterator[AnyType]:
    """Serve an entity, and open a stream to it."""
    async with (
        open_server(UserFunction((entity,), PLUGINS), HostSettings(port=0)) as server,
        aio.insecure_channel(server.address) as channel,
    ):
        yield CrdtStub(channel).handle()


def sent(id_: int, name: str, *names: str) -> CrdtStreamIn:
    command = Command(
        entity_id="e", id=id_, name=name, payload=order(*names), streamed=name == "Watch"
    )
    return CrdtStreamIn(command=command)


async def test_a_stream_on_a_socket_is_answered_in_the_order_of_the_protocol() -> None:
    votes: list[int] = []

    def do(poll: Vote, ctx: CrdtCommandContext) -> Word:
        poll.vote(True)
        votes.append(ctx.command_id)
        return Word(text="voted")

    def watch(poll: Vote, ctx: CrdtCommandContext) -> None:
        ctx.on_change(lambda _: Word(text=str(poll.votes_for)))
        ctx.on_cancel(lambda _: poll.vote(False))

    async with on_a_socket(doing(do, watch, Vote)) as stream:
        for message in (
            CrdtStreamIn(init=CrdtInit(service_name=SERVICE, entity_id="e")),
            sent(1, "Watch"),
            sent(2, "Watch"),
            sent(3, "Do"),
            CrdtStreamIn(stream_cancelled=StreamCancelled(entity_id="e", id=1)),
        ):
            await stream.write(message)
        await stream.done_writing()
        said = [message async for message in stream]

        assert [in_words(message) for message in said] == [
            "1: - streamed",
            "2: - streamed",
            "3: voted, changed",
            "1: pushed 1",
            "2: pushed 1",
            "1: left, changed",
            "2: pushed 0",
        ]
        assert votes == [3]
        assert await stream.code() is grpc.StatusCode.OK


def in_words(message: CrdtStreamOut) -> str:
    match message.WhichOneof("message"):
        case "reply":
            reply = message.reply
            streamed = " streamed" if reply.streamed else ""
            changed = ", changed" if reply.HasField("state_action") else ""
            return f"{reply.command_id}: {text_of(reply.client_action)}{streamed}{changed}"
        case "streamed_message":
            pushed = message.streamed_message
            return f"{pushed.command_id}: pushed {text_of(pushed.client_action)}"
        case "stream_cancelled_response":
            response = message.stream_cancelled_response
            changed = ", changed" if response.HasField("state_action") else ""
            return f"{response.command_id}: left{changed}"
        case _:
            return str(message)


async def test_a_delta_of_the_wrong_type_ends_the_stream_on_a_socket_with_a_reason() -> None:
    async with on_a_socket(doing(default=Vote)) as stream:
        start = CrdtInit(service_name=SERVICE, entity_id="e", delta=gcounter(1))
        await stream.write(CrdtStreamIn(init=start))
        await stream.write(sent(1, "Do"))
        await stream.write(CrdtStreamIn(delta=Vote().whole()))
        said = [message async for message in stream]

        assert said[0].reply.command_id == 1
        assert "expected a delta of type 'gcounter', found 'vote'" in said[1].failure.description
        assert await stream.code() is grpc.StatusCode.OK
