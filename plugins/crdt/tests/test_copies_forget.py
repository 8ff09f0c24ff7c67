"""Copies forget writers that have departed: on disk, in memory, and in what is on its way."""

from __future__ import annotations

import asyncio

import pytest
from copies_bench import ME, OTHER, TYPES, Bench, nobody, total
from google.protobuf.any_pb2 import Any
from kinds_of_values import item
from puppets import plus

from cloudstate_core.errors import CorruptState
from cloudstate_core.store import AmendValue, Commit, EntityKey, PutValue
from cloudstate_crdt import GCounter, ORSet, Replica
from cloudstate_crdt.departed import RETIRED, Departed, Retired, Trace
from cloudstate_crdt.replicas import digest_of
from cloudstate_crdt.stored_form import StoredForm

GONE = Replica("gone", 4)
DEPARTED = Departed({"gone": 4})
FOLDED = Retired().retire("gone", 4, folds=True)
STRIPPED = Retired().retire("gone", 4, folds=False)

#: Long enough to be amended.
LONG = GCounter({Replica(f"node-{number:040}", 1): 1 for number in range(50)})


async def forget(bench: Bench, retired: Retired = FOLDED) -> None:
    await bench.copies.keep_retired(retired)
    bench.copies.use_retired(retired)


async def count(bench: Bench) -> GCounter:
    """Have a counter that three nodes have counted, one of which has gone."""
    counter = GCounter({OTHER: 2, GONE: 3})
    await bench.copies.join("e", counter)
    await bench.change(plus(1))
    return counter


async def test_a_copy_on_disk_is_folded_whenever_it_is_read() -> None:
    bench = Bench()
    await count(bench)

    await forget(bench)

    folded = GCounter({ME: 1, OTHER: 2, RETIRED: 3})
    assert await bench.copies.state("e") == folded
    assert [each async for each in bench.copies.digests()] == [("e", digest_of(folded))]
    assert total(await bench.stored()) == 6
    await bench.change(plus(1))
    assert await bench.stored() == GCounter({ME: 2, OTHER: 2, RETIRED: 3})


async def test_a_copy_in_memory_is_folded_too() -> None:
    bench = Bench()
    with bench.copies.listening("e", nobody):
        await count(bench)
        await forget(bench)

        assert await bench.copies.state("e") == GCounter({ME: 1, OTHER: 2, RETIRED: 3})


async def test_what_is_forgotten_is_known_after_a_restart() -> None:
    bench = Bench()
    await count(bench)
    await forget(bench)

    bench.fail(None)  # others, with nothing in memory
    assert not bench.copies.retired
    await bench.copies.load_retired()

    assert bench.copies.retired == FOLDED
    assert await bench.copies.state("e") == GCounter({ME: 1, OTHER: 2, RETIRED: 3})


async def test_a_node_that_took_no_part_strips() -> None:
    bench = Bench()
    await count(bench)

    await forget(bench, STRIPPED)

    assert await bench.copies.state("e") == GCounter({ME: 1, OTHER: 2})
    assert await bench.copies.join("e", GCounter({RETIRED: 3}))
    assert total(await bench.copies.state("e")) == 6


async def test_what_was_on_its_way_does_not_count_twice() -> None:
    bench = Bench()
    await count(bench)
    await forget(bench)
    late = GCounter({GONE: 3, OTHER: 5})

    assert await bench.copies.join("e", late)

    assert await bench.copies.state("e") == GCounter({ME: 1, OTHER: 5, RETIRED: 3})
    assert late == GCounter({GONE: 3, OTHER: 5})


async def test_what_was_on_its_way_does_not_count_twice_when_it_is_read_again() -> None:
    """What amends a copy on disk is what was joined in memory."""
    bench = Bench()
    await bench.copies.join("e", LONG.copy())
    await bench.copies.join("e", GCounter({GONE: 3}))
    await forget(bench)
    await bench.change(plus(1))
    await bench.copies.join("e", GCounter({GONE: 3, OTHER: 7}))
    assert isinstance(bench.commits[-1][0], AmendValue)

    bench.fail(None)
    await bench.copies.load_retired()

    assert total(await bench.copies.state("e")) == 50 + 3 + 1 + 7


async def test_without_that_it_would_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Retired, "strip", lambda *_: False)
    bench = Bench()
    await count(bench)
    await forget(bench)

    await bench.copies.join("e", GCounter({GONE: 3}))

    # The next time that the copy is read, all that is there of the writer is folded once more.
    bench.copies.use_retired(Retired().retire("gone", 4, folds=True))
    assert total(await bench.copies.state("e")) == 9


async def test_a_copy_that_was_folded_is_put_as_a_whole_before_it_is_amended() -> None:
    """Else the old value, which has the single count, would be amended by one that has the sum."""
    bench = Bench()
    await bench.copies.join("e", LONG.copy())
    await bench.copies.join("e", GCounter({GONE: 3}))
    await bench.change(plus(1))
    assert isinstance(bench.commits[-1][0], AmendValue)
    await forget(bench)

    await bench.change(plus(1))
    await bench.change(plus(1))

    kinds = [type(each) for (each,) in bench.commits[-2:]]
    assert kinds == [PutValue, AmendValue]
    bench.fail(None)
    await bench.copies.load_retired()
    assert total(await bench.copies.state("e")) == 56


async def test_commits_that_are_under_way_meanwhile_are_read_back_right() -> None:
    bench = Bench()
    await count(bench)
    with bench.copies.listening("e", nobody):
        await bench.copies.state("e")
        bench.gate.clear()
        before = asyncio.create_task(bench.change(plus(1)))
        await asyncio.sleep(0.01)
        bench.copies.use_retired(FOLDED)
        after = asyncio.create_task(bench.change(plus(1)))
        await asyncio.sleep(0.01)
        assert bench.begun == 4
        bench.gate.set()
        await asyncio.gather(before, after)

        assert await bench.copies.state("e") == GCounter({ME: 3, OTHER: 2, RETIRED: 3})
    assert await bench.stored() == GCounter({ME: 3, OTHER: 2, RETIRED: 3})


async def test_traces_are_those_of_the_copies_that_have_something_of_the_departed() -> None:
    bench = Bench()
    await count(bench)
    elements = ORSet.bottom(TYPES)
    elements.add(GONE, item("x"))
    await bench.copies.join("set", elements)
    await bench.change(plus(1), entity_id="none")

    traces = {entity_id: trace async for entity_id, trace in bench.copies.traces(DEPARTED)}

    assert traces.keys() == {"e", "set"}
    assert not traces["e"].must_adopt
    assert traces["set"].must_adopt
    for entity_id, trace in traces.items():
        assert await bench.copies.trace(entity_id, DEPARTED) == trace
    assert await bench.copies.trace("none", DEPARTED) == Trace()
    assert await bench.copies.trace("nothing", DEPARTED) == Trace()


async def test_what_the_departed_have_left_alive_is_taken_over_and_stored() -> None:
    bench = Bench()
    elements = ORSet.bottom(TYPES)
    elements.add(GONE, item("x"))
    elements.add(OTHER, item("y"))
    await bench.copies.join("set", elements)
    told: list[str] = []
    with bench.copies.listening("set", lambda: told.append("set")):
        change = await bench.copies.adopt("set", DEPARTED)

        assert isinstance(change, ORSet)
        elements.join(change)
        assert await bench.stored("set") == elements
        assert {each.value for each in elements} == {b"x", b"y"}
        assert not elements.must_adopt(DEPARTED)
        assert told == ["set"]
    assert await bench.copies.adopt("set", DEPARTED) is None
    assert await bench.copies.adopt("nothing", DEPARTED) is None


async def test_what_is_kept_of_the_forgotten_is_not_read_as_something_else() -> None:
    bench = Bench()
    key = EntityKey("$crdt/p", "retired")
    await bench.inner.commit(Commit(key, 0, (PutValue(0, Any(type_url="something/else")),)))

    with pytest.raises(CorruptState, match="RetiredWriters"):
        await bench.copies.load_retired()


async def test_the_record_of_the_forgotten_is_no_copy() -> None:
    bench = Bench()
    await forget(bench)

    assert [each async for each in bench.copies.digests()] == []
    assert StoredForm(TYPES, 1).read("e", await bench.inner.value(EntityKey("p", "e")))[0] is None
