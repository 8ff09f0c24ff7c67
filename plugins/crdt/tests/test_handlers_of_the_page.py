"""What `docs/replicated_entities.md` says of types and handlers."""

from __future__ import annotations

from deltas import orset
from one_crdt_stream import Stream, doing, text_of
from puppet.puppet_pb2 import Order, Word

from cloudstate.crdt_entity import (
    Clock,
    Crdt,
    CrdtCommandContext,
    LWWRegister,
    ORMap,
    ORSet,
    PNCounter,
    Vote,
    WriteConsistency,
)


async def test_a_map_has_values_of_any_type() -> None:
    def do(profile: ORMap[str, Crdt], order: Order) -> Word:
        profile.get_or_create("visits", PNCounter).increment()
        name = profile.get_or_create("name", lambda: LWWRegister(""))
        name.value = "ann"
        profile.get_or_create("friends", ORSet[str]).add("joe")
        if "draft" in profile:
            del profile["draft"]
        return Word(text=name.value)

    reply = await (await Stream(doing(do, default=ORMap)).init()).ask()

    assert text_of(reply.client_action) == "ann"
    assert len(reply.state_action.update.ormap.added) == 3


async def test_a_register_may_be_dated_by_the_application() -> None:
    def do(price: LWWRegister[int], order: Order) -> Word:
        price.set(12, clock=Clock.CUSTOM, custom_clock=20260401)
        return Word(text=str(price.value))

    reply = await (await Stream(doing(do, default=lambda: LWWRegister(0))).init()).ask()

    assert text_of(reply.client_action) == "12"
    assert reply.state_action.update.lwwregister.custom_clock_value == 20260401


async def test_a_handler_may_make_the_crdt_itself() -> None:
    def do(members: ORSet[str] | None, order: Order, ctx: CrdtCommandContext) -> Word:
        if members is None:
            ctx.fail("there is no such club")
        return Word(text=str(len(members)))

    def watch(order: Order, ctx: CrdtCommandContext) -> Word:
        ctx.create(ORSet[str]).add("founder")
        return Word()

    stream = await Stream(doing(do, watch, default=None)).init()

    assert text_of((await stream.ask(1)).client_action) == "!there is no such club"
    assert (await stream.watch(2)).state_action.update == orset(["founder"])
    assert text_of((await stream.ask(3)).client_action) == "1"


async def test_a_handler_says_how_far_its_change_must_have_spread() -> None:
    def do(ballot: Vote, order: Order, ctx: CrdtCommandContext) -> Word:
        ballot.vote(True)
        ctx.write_consistency = WriteConsistency.MAJORITY
        return Word(text=f"{ballot.votes_for} of {ballot.total_voters}")

    reply = await (await Stream(doing(do, default=Vote)).init()).ask()

    assert text_of(reply.client_action) == "1 of 1"
    assert reply.state_action.write_consistency == WriteConsistency.MAJORITY


async def test_whoever_is_connected_is_online() -> None:
    def watch(online: PNCounter, order: Order, ctx: CrdtCommandContext) -> Word:
        online.increment()

        def changed(change: object) -> Word:
            return Word(text=str(online.value))

        def left(cancelled: object) -> None:
            online.decrement()

        ctx.on_change(changed)
        ctx.on_cancel(left)
        return Word(text=str(online.value))

    stream = await Stream(doing(watch=watch, default=PNCounter)).init()
    await stream.watch(1)
    _, told = await stream.command(2, name="Watch", streamed=True)
    assert text_of(told.streamed_message.client_action) == "2"

    settled, told = await stream.leave(2)
    assert settled.stream_cancelled_response.state_action.update.pncounter.change == -1
    assert text_of(told.streamed_message.client_action) == "1"
