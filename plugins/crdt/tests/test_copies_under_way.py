"""Several changes of one copy are being stored at once; some of them fail."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress

import pytest
from copies_bench import OTHER, Bench, nobody, total
from puppets import plus

from cloudstate_core.errors import RevisionConflict, StoreUnavailable
from cloudstate_crdt import GCounter, Replica
from cloudstate_crdt.copy_in_use import CopyInUse
from cloudstate_crdt.stored_copies import StoredCopies


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_what_changes_nothing_is_not_said_to_be_stored_before_what_covers_it_is(
    bench: Bench,
) -> None:
    await bench.copies.join("e", GCounter({OTHER: 1}))
    bench.gate.clear()
    with bench.copies.listening("e", nobody):
        adding = asyncio.create_task(bench.change(plus(1)))
        await asyncio.sleep(0.01)
        again = asyncio.create_task(bench.copies.join("e", GCounter({OTHER: 1})))
        await asyncio.sleep(0.01)

        assert bench.begun == 2
        assert not again.done()
        bench.gate.set()
        assert not await again
        await adding


async def test_what_changes_nothing_is_asked_for_again_if_what_covers_it_is_not_stored(
    bench: Bench,
) -> None:
    await bench.copies.join("e", GCounter({OTHER: 1}))
    bench.fail(2)
    bench.gate.clear()
    with bench.copies.listening("e", nobody):
        adding = asyncio.create_task(bench.change(plus(1)))
        await asyncio.sleep(0.01)
        again = asyncio.create_task(bench.copies.join("e", GCounter({OTHER: 1})))
        await asyncio.sleep(0.01)
        bench.gate.set()

        with pytest.raises(StoreUnavailable):
            await adding
        with pytest.raises(StoreUnavailable, match="a change before this one"):
            await again
        assert not await bench.copies.join("e", GCounter({OTHER: 1}))


@pytest.mark.parametrize("after_effect", [False, True])
async def test_what_is_under_way_at_once_is_stored_or_said_not_to_be(
    bench: Bench, *, after_effect: bool
) -> None:
    await fail_everywhere(bench, after_effect=after_effect)


async def test_that_finds_what_is_shown_too_early(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoredCopies, "fill_durable", StoredCopies.fill)
    with pytest.raises(AssertionError, match="what was shown is not stored"):
        await fail_everywhere(bench, after_effect=False)


async def test_that_finds_what_is_kept_in_memory_although_it_was_not_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CopyInUse, "not_stored", CopyInUse.stored)
    with pytest.raises((AssertionError, RevisionConflict)):
        await fail_everywhere(bench, after_effect=False)


async def fail_everywhere(bench: Bench, *, after_effect: bool) -> None:
    """Check that what is answered or shown is stored, wherever something before it fails."""
    most_failures = 0
    for fail_at in itertools.count(1):
        bench.fail(fail_at, after_effect=after_effect)
        results, shown = await change_and_join_at_once(bench, f"e{fail_at}")

        stored = total(await bench.stored(f"e{fail_at}"))
        answered = sum(power for power, result in results.items() if not failed(result))
        assert stored & answered == answered, "an answer is not stored"
        assert all(each & stored == each for each in shown), "what was shown is not stored"
        failures = sum(map(failed, results.values()))
        most_failures = max(most_failures, failures)
        assert after_effect or stored.bit_count() + failures == len(results)
        if not bench.store.has_failed:
            assert not failures
            break
    assert fail_at > 8
    assert most_failures > 1


async def change_and_join_at_once(
    bench: Bench, entity_id: str
) -> tuple[dict[int, object], list[int]]:
    """Add powers of two by changes and joins; return what came of each, and what was seen."""
    bench.gate.clear()
    shown: list[int] = []

    async def look() -> None:
        with suppress(StoreUnavailable):
            copy = await bench.copies.state(entity_id)
            shown.append(0 if copy is None else total(copy))

    work: dict[int, asyncio.Task[object]] = {}
    with bench.copies.listening(entity_id, nobody):
        for number in range(10):
            replica = Replica(f"other-{number}", 1)
            if number % 3 == 1:
                join = bench.copies.join(entity_id, GCounter({replica: 2**number}))
                work[2**number] = asyncio.create_task(join)
            else:
                change = bench.change(plus(2**number), entity_id=entity_id)
                work[2**number] = asyncio.create_task(change)
            if number == 5:
                looking = asyncio.create_task(look())
            await asyncio.sleep(0)
        bench.gate.set()
        await asyncio.wait([*work.values(), looking])
        await look()
        # What has failed is made again by whoever wants it, on what is stored.
        with suppress(StoreUnavailable):
            await bench.change(plus(0), entity_id=entity_id)
    return {power: task.exception() or task.result() for power, task in work.items()}, shown


def failed(result: object) -> bool:
    return isinstance(result, Exception)
