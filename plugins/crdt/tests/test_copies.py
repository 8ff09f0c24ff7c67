"""This node's copies: what is stored, what is told, and what is thrown away."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress

import pytest
import structlog
from copies_bench import ME, OTHER, TYPES, Bench, nobody, total
from google.protobuf.any_pb2 import Any
from kinds_of_values import item
from puppets import plus

from cloudstate.crdt_pb2 import (
    CrdtClock,
    CrdtDelta,
    FlagDelta,
    LWWRegisterDelta,
    ORMapDelta,
    ORMapEntryDelta,
)
from cloudstate_core.errors import CorruptState, StoreUnavailable
from cloudstate_core.store import SLICES, Commit, EntityKey, PutValue
from cloudstate_crdt import (
    Flag,
    GCounter,
    GSet,
    Lattice,
    LWWRegister,
    ORMap,
    ORSet,
    PNCounter,
    StateTooLarge,
    Vote,
    WrongType,
)
from cloudstate_crdt.entity_errors import EntityDeleted
from cloudstate_crdt.replicas import DELETED, Change, digest_of
from cloudstate_crdt.stored_form import StoredForm
from cloudstate_crdt.translation.faults import Incompatible


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- Changes of this node ------------------------------------------------------------


async def test_a_change_is_stored_and_returned_for_the_others(bench: Bench) -> None:
    assert await bench.change(plus(2)) == GCounter({ME: 2})
    assert await bench.change(plus(3)) == GCounter({ME: 5})

    assert await bench.stored() == GCounter({ME: 5})
    assert await bench.copies.state("e") == GCounter({ME: 5})
    assert [write.expected_revision for (write,) in bench.commits] == [0, 1]  # type: ignore[union-attr]


async def test_one_that_changes_nothing_creates_what_is_not_there(bench: Bench) -> None:
    assert await bench.change(plus(0)) == GCounter()

    assert await bench.stored() == GCounter()


async def test_changes_of_one_entity_are_stored_in_the_order_in_which_they_were_asked_for(
    bench: Bench,
) -> None:
    bench.gate.clear()
    changes = [asyncio.create_task(bench.change(plus(1))) for _ in range(10)]
    await asyncio.sleep(0.01)
    assert bench.commits == []
    assert bench.begun == 10
    bench.gate.set()
    deltas = await asyncio.gather(*changes)

    assert [total(delta) for delta in deltas] == list(range(1, 11))
    assert total(await bench.stored()) == 10


async def test_what_waits_for_the_store_is_not_shown(bench: Bench) -> None:
    await bench.change(plus(1))
    bench.gate.clear()
    changing = asyncio.create_task(bench.change(plus(1)))
    reading = asyncio.create_task(bench.copies.state("e"))
    await asyncio.sleep(0.01)

    assert not reading.done()
    bench.gate.set()
    await changing
    assert total(await reading) == 2


async def test_a_deleted_entity_stays_deleted(bench: Bench) -> None:
    await bench.change(plus(1))

    assert await bench.change(DELETED) is DELETED
    assert await bench.stored() is DELETED
    with pytest.raises(EntityDeleted):
        await bench.change(plus(1))
    assert not await bench.copies.join("e", GCounter({OTHER: 1}))
    assert not await bench.copies.join("e", DELETED)
    assert await bench.copies.state("e") is DELETED


async def test_what_the_copy_cannot_take_leaves_it_as_it_was(bench: Bench) -> None:
    await bench.change(plus(1))

    with pytest.raises(Incompatible):
        await bench.change(CrdtDelta(flag=FlagDelta(value=True)))
    assert total(await bench.copies.state("e")) == 1
    assert total(await bench.stored()) == 1


async def test_a_copy_that_would_be_too_large_is_refused_before_anything_is_changed() -> None:
    bench = Bench(max_state_bytes=100)
    small, large = (
        CrdtDelta(lwwregister=LWWRegisterDelta(value=Any(value=b"x" * size))) for size in (10, 100)
    )
    await bench.change(small)

    with pytest.raises(StateTooLarge, match="at most 100 bytes"):
        await bench.change(large)
    with pytest.raises(StateTooLarge):
        await bench.copies.join("e", LWWRegister().set(OTHER, Any(value=b"x" * 100), now=2**50))
    assert len(bench.commits) == 1
    copy = await bench.copies.state("e")
    assert isinstance(copy, LWWRegister)
    assert copy.value == Any(value=b"x" * 10)


async def test_a_part_of_a_change_that_fails_is_thrown_away(bench: Bench) -> None:
    entries = [
        ORMapEntryDelta(key=item("k"), delta=plus(1)),
        ORMapEntryDelta(key=item("l"), delta=plus(2**63)),
    ]
    with pytest.raises(Exception, match="at most"):
        await bench.change(CrdtDelta(ormap=ORMapDelta(added=entries)))

    assert await bench.copies.state("e") is None


# --- What other nodes send -----------------------------------------------------------


async def test_a_join_is_stored_and_told(bench: Bench) -> None:
    await bench.change(plus(1))
    told: list[int] = []
    with bench.copies.listening("e", lambda: told.append(1)):
        assert await bench.copies.join("e", GCounter({OTHER: 5}))
        assert told == [1]
        assert total(await bench.stored()) == 6
        assert not await bench.copies.join("e", GCounter({OTHER: 5}))
        assert await bench.copies.join("e", DELETED)
    assert told == [1, 1]
    assert len(bench.commits) == 3


async def test_a_copy_begins_with_what_another_node_sends(bench: Bench) -> None:
    sent = GCounter({OTHER: 5})
    assert await bench.copies.join("e", sent)
    sent.increment(OTHER)

    assert total(await bench.copies.state("e")) == 5
    assert await bench.copies.join("empty", GCounter())
    assert await bench.stored("empty") == GCounter()


async def test_whoever_has_made_a_change_is_not_told_of_it(bench: Bench) -> None:
    told: list[str] = []

    def changer() -> None:
        told.append("changer")

    with (
        bench.copies.listening("e", changer),
        bench.copies.listening("e", lambda: told.append("other")),
    ):
        await bench.change(plus(1), changer)
    assert told == ["other"]


async def test_joins_that_come_while_one_is_stored_are_stored_together(bench: Bench) -> None:
    bench.gate.clear()
    joins = [asyncio.create_task(bench.copies.join("e", GCounter({OTHER: 1})))]
    await asyncio.sleep(0.01)
    sent: list[Lattice] = [GCounter({OTHER: count}) for count in (2, 3, 3)]
    joins += [asyncio.create_task(bench.copies.join("e", each)) for each in sent]
    joins.append(asyncio.create_task(bench.copies.join("e", Flag(enabled=True))))
    await asyncio.sleep(0.01)
    bench.gate.set()

    assert await asyncio.gather(*joins[:4]) == [True, True, True, False]
    # One that does not belong there is refused by itself.
    with pytest.raises(WrongType):
        await joins[4]
    assert len(bench.commits) == 2
    assert total(await bench.stored()) == 3


async def test_whoever_stops_waiting_for_a_join_does_not_stop_it(bench: Bench) -> None:
    bench.gate.clear()
    joining = asyncio.create_task(bench.copies.join("e", GCounter({OTHER: 1})))
    await asyncio.sleep(0.01)
    joining.cancel()
    await asyncio.wait([joining])
    bench.gate.set()

    assert total(await bench.copies.state("e")) == 1


@pytest.mark.usefixtures("logged")
async def test_a_register_from_the_future_is_taken_in_and_logged_once_in_a_while(
    bench: Bench, logged: list[dict[str, object]]
) -> None:
    async def join(ahead_s: float, entity_id: str = "e", *, in_map: bool = False) -> int:
        now_ms = round((bench.clock.unix_time_s() + ahead_s) * 1000)
        change: Lattice = LWWRegister().set(OTHER, Any(), now=now_ms)
        if in_map:
            change = ORMap.bottom(TYPES).update(
                OTHER, item("k"), LWWRegister, lambda value, me: value.set(me, Any(), now=now_ms)
            )
        assert await bench.copies.join(entity_id, change)
        return len(logged)

    assert await join(59) == 0
    assert await join(61) == 1
    assert await join(62) == 1
    await bench.clock.advance(61)
    assert await join(65, "map", in_map=True) == 2
    await bench.clock.advance(61)
    # A number that is no time.
    assert await join(1e12) == 2
    assert logged[0]["event"] == "register_written_in_the_future"
    await bench.clock.advance(61)
    chosen = round((bench.clock.unix_time_s() + 100) * 1000)
    delta = LWWRegisterDelta(clock=CrdtClock.CUSTOM, custom_clock_value=chosen)
    await bench.change(CrdtDelta(lwwregister=delta), entity_id="own")
    assert len(logged) == 3


# --- Digests -------------------------------------------------------------------------


async def test_digests_are_those_of_all_copies(bench: Bench) -> None:
    states: list[Change] = [
        DELETED,
        Flag(enabled=True),
        GCounter({ME: 1}),
        GSet([item("x")]),
        LWWRegister().set(ME, Any(), now=1),
        PNCounter(GCounter({ME: 1})),
        Vote({"a": (1, 1)}),
        ORSet.bottom(TYPES).add(ME, item("x")),
        ORMap.bottom(TYPES).create(ME, item("k"), Flag),
    ]
    for number, state in enumerate(states):
        await bench.copies.join(f"e{number}", state)

    digests = [each async for each in bench.copies.digests()]

    assert digests == [(f"e{number}", digest_of(each)) for number, each in enumerate(states)]


async def test_a_copy_that_cannot_be_read_does_not_hide_the_others(bench: Bench) -> None:
    for each in ("e1", "e2", "e3"):
        await bench.change(plus(1), entity_id=each)
    broken = PutValue(1, Any(type_url="something/else"))
    await bench.inner.commit(Commit(EntityKey("p", "e2"), 0, (broken,)))

    with structlog.testing.capture_logs() as logged:
        ids = [entity_id async for entity_id, _ in bench.copies.digests()]

    assert ids == ["e1", "e3"]
    assert [each["event"] for each in logged] == ["copy_unreadable"]


async def test_digests_come_in_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudstate_crdt.stored_copies._PAGE", 3)
    ids = [f"e{number}" for number in range(6)]
    for each in ids:
        await bench.change(plus(1), entity_id=each)

    assert [entity_id async for entity_id, _ in bench.copies.digests()] == ids


# --- A store that fails --------------------------------------------------------------


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_copy_is_what_is_stored_wherever_the_store_fails(
    bench: Bench, *, after_effect: bool
) -> None:
    """A failed change is not in memory unless it is stored; the next one builds on what is."""
    for fail_at in itertools.count(1):
        bench.fail(fail_at, after_effect=after_effect)
        entity_id = f"e{fail_at}"
        told: list[int] = []
        acknowledged = 0
        with bench.copies.listening(entity_id, lambda told=told: told.append(1)):
            for _ in range(3):
                try:
                    await bench.change(plus(1), entity_id=entity_id)
                    acknowledged += 1
                except StoreUnavailable:
                    pass
                try:
                    await bench.copies.join(entity_id, GCounter({OTHER: 7}))
                except StoreUnavailable:
                    assert told  # it may be stored: who serves the entity has to look
                with suppress(StoreUnavailable):
                    shown = await bench.copies.state(entity_id)
                    assert shown == await bench.stored(entity_id)
        copy = await bench.stored(entity_id)
        assert isinstance(copy, GCounter)
        own = copy.counts[ME]
        assert acknowledged <= own <= acknowledged + (bench.store.has_failed and after_effect)
        if not bench.store.has_failed:
            assert fail_at > 4
            return


async def test_a_copy_that_is_not_one_is_not_handed_out(bench: Bench) -> None:
    for value in (
        Any(type_url="t"),
        Any(type_url="type.googleapis.com/cloudstate_crdt.TypedState"),
    ):
        key = EntityKey("p", f"e{len(value.type_url)}")
        await bench.inner.commit(Commit(key, 0, (PutValue(0, value),)))
        with pytest.raises(CorruptState):
            await bench.copies.state(key.entity_id)


async def test_another_writer_of_the_same_store_is_not_overwritten(bench: Bench) -> None:
    epoch = await bench.inner.claim(range(SLICES))
    bench.epoch = epoch
    await bench.change(plus(1))
    with bench.copies.listening("e", nobody):
        await bench.copies.state("e")
        key, form = EntityKey("p", "e"), StoredForm(TYPES, 1000)
        put = PutValue(1, form.write(GCounter({ME: 1, OTHER: 5})))
        await bench.inner.commit(Commit(key, epoch, (put,)))

        with pytest.raises(Exception, match="expected revision 1, found 2"):
            await bench.change(plus(1))
        await bench.change(plus(1))
    assert total(await bench.stored()) == 7
