from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any as AnyType

import pytest
from deltas import gcounter, gset, register
from google.protobuf.any_pb2 import Any
from one_crdt_stream import Stream, doing, text_of
from puppet.puppet_pb2 import DESCRIPTOR, Order, Word

from cloudstate.crdt_entity import (
    Crdt,
    CrdtCommandContext,
    GCounter,
    GSet,
    LWWRegister,
    WriteConsistency,
)
from cloudstate.crdt_pb2 import CrdtStreamOut
from cloudstate_core.anys import encode
from cloudstate_core.failure_code import code_of
from cloudstate_core.metadata import Metadata
from cloudstate_core.status import Status

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


# --- Command handlers ----------------------------------------------------------------


async def async_count(counter: GCounter, order: Order) -> Word:
    for _ in order.answers:
        counter.increment()
        await asyncio.sleep(0)
    return shown(counter)


@pytest.mark.parametrize(
    ("handler", "options"),
    [(count, {}), (async_count, {}), (count, {"blocking": True})],
    ids=["plain", "async", "blocking"],
)
async def test_a_handler_changes_the_crdt_in_place(
    handler: Callable[..., object], options: dict[str, bool]
) -> None:
    stream = await Stream(doing(handler, **options)).init(gcounter(40))

    reply = await stream.ask(1, 2)
    unchanged = await stream.ask(2)

    assert text_of(reply.client_action) == "42"
    assert reply.state_action.update == gcounter(2)
    assert not reply.streamed
    assert text_of(unchanged.client_action) == "42"
    assert not unchanged.HasField("state_action")


async def test_a_blocking_handler_runs_in_a_thread() -> None:
    threads = []

    def do() -> Word:
        threads.append(threading.get_ident())
        return Word()

    await (await Stream(doing(do, blocking=True)).init()).ask()

    assert threads != [threading.get_ident()]


async def test_a_handler_and_its_context_know_the_entity_and_the_command() -> None:
    seen: list[object] = []

    def do(meta: Metadata, counter: Crdt, ctx: CrdtCommandContext, order: Order) -> Word:
        seen.append((ctx.service_name, ctx.entity_id, ctx.command_name, ctx.command_id))
        seen.append((meta, ctx.state is counter, ctx.streamed, len(order.answers)))
        return Word()

    stream = await Stream(doing(do)).init()
    headers = Metadata([("cookie", "yes")])
    await stream.ask(9, 3, metadata=headers.to_wire())

    assert seen == [("puppet.Puppet", "e", "Do", 9), (headers, True, False, 3)]


async def test_a_crdt_is_made_by_the_first_handler_that_asks_for_it() -> None:
    made: list[str] = []

    def default(entity_id: str) -> LWWRegister:
        made.append(entity_id)
        return LWWRegister("first")

    def do(order: Order, ctx: CrdtCommandContext) -> Word:
        return Word(text=ctx.state.value if order.answers else "")

    stream = await Stream(doing(do, default=default)).init()

    assert not (await stream.ask(1)).HasField("state_action")
    assert made == []
    assert (await stream.ask(2, 1)).state_action.update == register("first")
    assert not (await stream.ask(3, 1)).HasField("state_action")
    assert made == ["e"]


async def test_a_handler_may_make_the_crdt_where_there_is_no_default() -> None:
    def do(elements: GSet | None, ctx: CrdtCommandContext) -> Word:
        if elements is None:
            elements = ctx.create(GSet)
        elements.add(str(len(elements)))
        return Word(text=str(ctx.state == elements))

    stream = await Stream(doing(do, default=None)).init()

    assert (await stream.ask(1)).state_action.update == gset("0")
    assert (await stream.ask(2)).state_action.update == gset("1")


async def test_making_a_crdt_twice_ends_the_stream() -> None:
    def do(ctx: CrdtCommandContext) -> Word:
        ctx.create(GCounter)
        return Word()

    stream = await Stream(doing(do, default=None)).init(gcounter(1))

    found = await failure_of(stream, await stream.command())
    assert "RuntimeError: expected no CRDT before create, found a GCounter" in found


async def test_a_crdt_of_another_type_than_a_handler_asks_for_ends_the_stream() -> None:
    stream = await Stream(doing(count)).init(gset("a"))

    found = await failure_of(stream, await stream.command())
    assert "count (" in found
    assert "test_servicer.py" in found
    assert "expected the state to be a GCounter, found a GSet" in found


async def test_a_default_that_makes_something_else_ends_the_stream() -> None:
    def default() -> AnyType:
        return 7

    def do(counter: Crdt) -> Word:
        return Word(text=repr(counter))

    stream = await Stream(doing(do, default=default)).init()
    found = await failure_of(stream, await stream.command())
    assert "expected a type of CRDT or a new value, found 7" in found


async def test_a_change_goes_as_far_as_the_handler_asks() -> None:
    def do(counter: GCounter, ctx: CrdtCommandContext) -> Word:
        assert ctx.write_consistency is WriteConsistency.LOCAL
        ctx.write_consistency = WriteConsistency.ALL
        with pytest.raises(ValueError, match="7"):
            ctx.write_consistency = 7  # type: ignore[assignment]
        counter.increment()
        return Word()

    reply = await (await Stream(doing(do)).init()).ask()

    assert reply.state_action.write_consistency == WriteConsistency.ALL


@pytest.mark.parametrize("default", [GCounter, None])
async def test_a_handler_may_delete_the_crdt(default: AnyType) -> None:
    def do(counter: GCounter | None, ctx: CrdtCommandContext) -> Word:
        assert counter is not None
        counter.increment()
        ctx.delete()
        return shown(counter)

    stream = await Stream(doing(do, default=default)).init(gcounter(1))
    reply = await stream.ask()

    assert text_of(reply.client_action) == "2"
    assert reply.state_action.WhichOneof("action") == "delete"
    assert await stream.command(2) == []
    assert not stream.servicer.ended


async def test_a_handler_that_has_not_looked_at_the_crdt_may_delete_it_as_well() -> None:
    def do(ctx: CrdtCommandContext) -> Word:
        ctx.delete()
        return Word()

    reply = await (await Stream(doing(do)).init()).ask()
    assert reply.state_action.HasField("delete")

    stream = await Stream(doing(do, default=None)).init()
    found = await failure_of(stream, await stream.command())
    assert "expected a CRDT to delete, found none" in found


async def test_a_forward_and_effects_go_with_the_change() -> None:
    def do(counter: GCounter, ctx: CrdtCommandContext) -> None:
        counter.increment()
        ctx.effect(PUPPET, "Watch", Order(id="a"))
        ctx.forward(PUPPET, "Do", Order(id="b"))

    reply = await (await Stream(doing(do)).init()).ask()

    assert text_of(reply.client_action) == "> puppet.Puppet.Do"
    assert [effect.command_name for effect in reply.side_effects] == ["Watch"]
    assert reply.state_action.update == gcounter(1)


# --- Failures ------------------------------------------------------------------------


async def test_a_command_that_fails_before_it_changes_anything_is_answered_so() -> None:
    def do(counter: GCounter, order: Order, ctx: CrdtCommandContext) -> Word:
        if not order.answers:
            ctx.effect(PUPPET, "Watch", Order(id="a"))
            ctx.fail("nothing", code=Status.NOT_FOUND)
        return count(counter, order)

    stream = await Stream(doing(do)).init(gcounter(1))
    failed = await stream.ask(1)

    assert text_of(failed.client_action) == "!nothing"
    assert code_of(failed.client_action.failure) is Status.NOT_FOUND
    assert not failed.side_effects
    assert text_of((await stream.ask(2, 1)).client_action) == "2"


async def test_a_command_that_fails_after_a_change_ends_the_stream() -> None:
    def do(counter: GCounter, ctx: CrdtCommandContext) -> None:
        counter.increment()
        ctx.fail("too late")

    stream = await Stream(doing(do)).init(gcounter(1))

    found = await failure_of(stream, await stream.command())
    assert "failed after it had changed the CRDT: too late" in found


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3)], ids=repr)
async def test_whatever_a_handler_raises_ends_the_stream_and_not_the_process(
    error: BaseException, logged: list[dict[str, object]]
) -> None:
    def do() -> Word:
        raise error

    stream = await Stream(doing(do)).init()

    assert type(error).__name__ in await failure_of(stream, await stream.command())
    assert [entry["event"] for entry in logged] == ["handler_raised"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "NoSuch"}, "service puppet.Puppet has no command 'NoSuch'"),
        ({"payload": Any(value=b"\xff\xff")}, "not a valid 'puppet.Order'"),
    ],
)
async def test_a_command_that_cannot_be_read_ends_the_stream(
    fields: dict[str, AnyType], reason: str
) -> None:
    stream = await Stream(doing(count)).init()

    assert reason in await failure_of(stream, await stream.command(1, **fields))


async def test_a_handler_without_an_answer_ends_the_stream() -> None:
    def do(order: Order) -> None:
        del order

    stream = await Stream(doing(do)).init()

    assert "expected a reply or a forward, found None" in await failure_of(
        stream, await stream.command()
    )


# --- Afterwards -----------------------------------------------------------------------


async def test_a_context_is_of_no_use_after_its_handler_has_returned() -> None:
    kept: list[AnyType] = []

    def do(counter: GCounter, ctx: CrdtCommandContext) -> Word:
        kept.extend((ctx, counter))
        return Word()

    await (await Stream(doing(do)).init()).ask()
    ctx, counter = kept

    for use in (ctx.delete, lambda: ctx.create(GCounter), lambda: ctx.on_change(print)):
        with pytest.raises(RuntimeError, match="was used after its handler returned"):
            use()
    with pytest.raises(RuntimeError, match="at no other time"):
        counter.increment()


async def test_the_state_of_a_conversation_is_what_the_next_handler_gets() -> None:
    stream = Stream(doing(count))
    assert stream.servicer.state is None
    await stream.init()

    assert stream.servicer.state.value == 0  # type: ignore[attr-defined]
    assert not (await stream.ask(1)).HasField("state_action")
    await stream.ask(2, 3)
    assert stream.servicer.state.value == 3  # type: ignore[attr-defined]
    none = await Stream(doing(default=None)).init()
    assert none.servicer.state is None


async def test_a_command_that_carries_a_payload_of_another_type_url_is_read_all_the_same() -> None:
    stream = await Stream(doing(count)).init()
    payload = encode(Order(id="e", answers=[b""]))
    payload.type_url = "other.host/puppet.Order"

    assert text_of((await stream.ask(payload=payload)).client_action) == "1"
