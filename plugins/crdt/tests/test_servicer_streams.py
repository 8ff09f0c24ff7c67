from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from deltas import gcounter
from one_crdt_stream import Stream, doing, text_of
from puppet.puppet_pb2 import DESCRIPTOR, Order, Word

from cloudstate.crdt_entity import (
    CrdtCancelContext,
    CrdtChangeContext,
    CrdtCommandContext,
    GCounter,
    WriteConsistency,
)
from cloudstate.crdt_pb2 import CrdtStreamOut

pytestmark = pytest.mark.usefixtures("logged")

PUPPET = DESCRIPTOR.services_by_name["Puppet"]


def shown(counter: GCounter) -> Word:
    return Word(text=str(counter.value))


def count(counter: GCounter, order: Order) -> Word:
    counter.increment(len(order.answers))
    return shown(counter)


def watch(counter: GCounter, ctx: CrdtCommandContext) -> Word:
    ctx.on_change(lambda _: shown(counter))
    return shown(counter)


async def failure_of(stream: Stream, answering: list[CrdtStreamOut]) -> str:
    """Return the failure with which the stream ends."""
    (message,) = answering
    assert message.HasField("failure"), message
    assert stream.servicer.ended
    return message.failure.description


async def test_a_stream_has_every_change_after_its_answer() -> None:
    stream = await Stream(doing(count, watch)).init()

    first = await stream.watch(1)
    assert first.streamed
    assert text_of(first.client_action) == "0"

    reply, told = await stream.command(2, count=3)
    assert text_of(reply.reply.client_action) == "3"
    assert told.streamed_message.command_id == 1
    assert text_of(told.streamed_message.client_action) == "3"
    (told,) = await stream.change(gcounter(4))
    assert text_of(told.streamed_message.client_action) == "7"


async def test_a_stream_without_listeners_has_one_element_or_none() -> None:
    def once(counter: GCounter) -> Word:
        return shown(counter)

    def never(order: Order) -> None:
        del order

    one = await (await Stream(doing(watch=once)).init()).watch()
    none = await (await Stream(doing(watch=never)).init()).watch()

    assert (text_of(one.client_action), one.streamed) == ("0", False)
    assert (none.HasField("client_action"), none.streamed) == (False, False)


async def test_listeners_may_be_async_and_say_nothing() -> None:
    async def listen(change: CrdtChangeContext) -> Word | None:
        await asyncio.sleep(0)
        return shown(change.state) if change.state.value % 2 == 0 else None

    def begin(ctx: CrdtCommandContext) -> None:
        ctx.on_change(listen)

    stream = await Stream(doing(count, begin)).init()
    begun = await stream.watch(1)
    assert (begun.HasField("client_action"), begun.streamed) == (False, True)

    assert len(await stream.command(2, count=1)) == 1
    assert len(await stream.command(3, count=1)) == 2


async def test_a_listener_may_ask_for_effects_forward_and_end_the_stream() -> None:
    def listen(change: CrdtChangeContext) -> None:
        assert (change.command_name, change.command_id, change.entity_id) == ("Watch", 1, "e")
        if change.state.value == 1:
            change.effect(PUPPET, "Do", Order(id="a"))
        elif change.state.value == 2:
            change.forward(PUPPET, "Do", Order(id="b"))
        else:
            change.end()

    def begin(ctx: CrdtCommandContext) -> None:
        ctx.on_change(listen)

    stream = await Stream(doing(count, begin)).init()
    await stream.watch(1)
    told = [(await stream.command(id_, count=1))[-1].streamed_message for id_ in (2, 3, 4)]

    assert [effect.command_name for effect in told[0].side_effects] == ["Do"]
    assert text_of(told[1].client_action) == "> puppet.Puppet.Do"
    assert [message.end_stream for message in told] == [False, False, True]
    assert len(await stream.command(5, count=1)) == 1


@pytest.mark.parametrize("raises", [True, False])
async def test_a_listener_that_fails_ends_its_own_stream_alone(raises: bool) -> None:
    def listen(change: CrdtChangeContext) -> Word:
        if raises:
            raise ValueError("x")
        change.fail("no more")

    def begin(order: Order, counter: GCounter, ctx: CrdtCommandContext) -> Word:
        ctx.on_change(listen if order.answers else lambda _: shown(counter))
        return Word()

    stream = await Stream(doing(count, begin)).init()
    await stream.watch(1, 1)
    await stream.watch(2)
    _, failed, told = await stream.command(3, count=1)

    expected = "!Unexpected failure: ValueError: x" if raises else "!no more"
    assert text_of(failed.streamed_message.client_action) == expected
    assert text_of(told.streamed_message.client_action) == "1"
    assert len(await stream.command(4, count=1)) == 2


async def test_a_listener_for_changes_must_not_change_the_crdt() -> None:
    def begin(counter: GCounter, ctx: CrdtCommandContext) -> None:
        ctx.on_change(lambda _: counter.increment())

    stream = await Stream(doing(count, begin)).init()
    await stream.watch(1)
    reply, failed = await stream.command(2, count=1)

    assert reply.reply.state_action.update == gcounter(1)
    found = text_of(failed.streamed_message.client_action)
    assert "a CRDT may be changed by a command handler until it returns" in found
    assert stream.servicer.state.value == 1  # type: ignore[attr-defined]


async def test_the_leaving_of_a_client_may_change_the_crdt() -> None:
    async def release(cancelled: CrdtCancelContext) -> None:
        await asyncio.sleep(0)
        cancelled.state.increment(10)
        cancelled.effect(PUPPET, "Do", Order(id="a"))
        cancelled.write_consistency = WriteConsistency.MAJORITY

    def begin(order: Order, counter: GCounter, ctx: CrdtCommandContext) -> Word:
        if order.answers:
            ctx.on_cancel(release)
        else:
            ctx.on_change(lambda _: shown(counter))
        return shown(counter)

    stream = await Stream(doing(watch=begin)).init()
    await stream.watch(1)
    assert (await stream.watch(2, 1)).streamed
    settled, told = await stream.leave(2)

    response = settled.stream_cancelled_response
    assert response.command_id == 2
    assert response.state_action.update == gcounter(10)
    assert response.state_action.write_consistency == WriteConsistency.MAJORITY
    assert [effect.command_name for effect in response.side_effects] == ["Do"]
    assert text_of(told.streamed_message.client_action) == "10"
    (settled,) = await stream.leave(1)
    assert not settled.stream_cancelled_response.HasField("state_action")


@pytest.mark.parametrize("how", ["fail", "forward", "raise"])
async def test_a_leaving_that_goes_wrong_ends_the_stream(how: str) -> None:
    def release(cancelled: CrdtCancelContext) -> None:
        if how == "fail":
            cancelled.fail("no")
        if how == "forward":
            cancelled.forward(PUPPET, "Do", Order(id="a"))
        else:
            raise ValueError("x")

    def begin(ctx: CrdtCommandContext) -> None:
        ctx.on_cancel(release)

    stream = await Stream(doing(watch=begin)).init()
    await stream.watch(1)

    found = await failure_of(stream, await stream.leave(1))
    assert ("ValueError: x" if how == "raise" else "nobody is there to be answered") in found


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        (lambda ctx: ctx.on_change(7), "on_change: expected a function, found 7"),
        (lambda ctx: (ctx.on_cancel(print), ctx.on_cancel(print)), "on_cancel was called twice"),
    ],
)
async def test_a_listener_that_cannot_be_one_ends_the_stream(
    listen: Callable[[CrdtCommandContext], object], reason: str
) -> None:
    def begin(ctx: CrdtCommandContext) -> None:
        listen(ctx)

    stream = await Stream(doing(watch=begin)).init()

    assert reason in await failure_of(stream, await stream.command(1, "Watch", streamed=True))


async def test_a_command_with_one_answer_has_no_listeners() -> None:
    def do(ctx: CrdtCommandContext) -> Word:
        ctx.on_change(print)
        return Word()

    stream = await Stream(doing(do)).init()

    assert "on_change: command 'Do' is answered once" in await failure_of(
        stream, await stream.command()
    )
