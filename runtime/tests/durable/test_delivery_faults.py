"""Whenever the store fails, whatever receivers do: each message has its effect once, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from random import Random

import pytest
from runtime_doubles.post import (
    Fault,
    check,
    delivered,
    open_office,
    send_letters,
    waiting_in,
)

from cloudstate_core.errors import StoreError
from cloudstate_core.handler import Request
from cloudstate_core.store import Commit, EnqueueMessage, Received, StateStore
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.faulty_store import FaultyStore

pytestmark = [pytest.mark.usefixtures("logged"), pytest.mark.timeout(240)]

LETTERS = 4

Wrap = Callable[[StateStore], StateStore]


def faults(random: Random, *, share: float) -> Fault:
    """Let receivers do something wrong with a share of what they get."""

    def fault(request: Request) -> str:
        return random.choice(["before", "after", "never"]) if random.random() < share else ""

    return fault


async def lived_through(fail_at: int | None, *, after_effect: bool) -> tuple[bool, int]:
    """Send letters over a store that fails once, and let all of them arrive."""
    clock = ManualClock()
    inner = MemoryStore(clock)
    store = FaultyStore(inner, fail_at=fail_at, after_effect=after_effect)
    async with open_office(store, clock) as office:
        answered = await send_letters(office, LETTERS)
        await delivered(office)
    return store.has_failed, await check(inner, answered)


async def cut_off(fail_at: int, store_of: Wrap = lambda inner: inner) -> tuple[bool, int]:
    """Send letters until the store fails for good, and go on from what it holds."""
    clock = ManualClock()
    inner = MemoryStore(clock)
    dying = FaultyStore(inner, fail_at=fail_at, after_effect=fail_at % 2 == 0, lasting=True)
    async with open_office(store_of(dying), clock) as office:
        answered = await send_letters(office, LETTERS)
        for _ in range(20):
            await clock.advance(0.5)
    async with open_office(store_of(inner), clock) as office:
        await delivered(office)
    return dying.has_failed, await check(inner, answered)


# --- The store -----------------------------------------------------------------------


@pytest.mark.parametrize("after_effect", [False, True], ids=["undone", "done all the same"])
async def test_a_store_that_fails_at_any_one_call(after_effect: bool) -> None:
    # The first call is the claim; without it there is no runtime.
    for fail_at in count(2):
        has_failed, filed = await lived_through(fail_at, after_effect=after_effect)
        assert filed >= LETTERS * 2
        if not has_failed:
            break
    assert fail_at > 60


async def test_a_process_that_ends_at_any_call_of_the_store() -> None:
    for fail_at in count(2):
        has_failed, _ = await cut_off(fail_at)
        if not has_failed:
            break
    assert fail_at > 60


# --- Receivers -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_receivers_that_fail_time_out_and_crash(seed: int) -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    async with open_office(store, clock, fault=faults(Random(seed), share=0.4)) as office:
        answered = await send_letters(office, 8)
        await delivered(office)

    assert len(answered) == 24
    assert await check(store, answered) == 24
    assert await store.parked(limit=10) == []


@pytest.mark.parametrize("seed", range(8))
async def test_receivers_that_fail_and_a_process_that_ends_again_and_again(seed: int) -> None:
    random = Random(seed)
    clock = ManualClock()
    store = MemoryStore(clock)
    answered: list[str] = []
    for _ in range(4):
        dying = FaultyStore(
            store,
            fail_at=random.randint(5, 120),
            after_effect=random.random() < 0.5,
            lasting=True,
        )
        async with open_office(dying, clock, fault=faults(random, share=0.3)) as office:
            answered += await send_letters(office, 3)
            for _ in range(random.randint(0, 10)):
                await clock.advance(0.5)
    async with open_office(store, clock, fault=faults(random, share=0.3)) as office:
        await delivered(office)

    assert await check(store, answered) >= len(answered)


# --- What the checks are worth -------------------------------------------------------


class WithoutInbox(MemoryStore):
    """Does not note what was received."""

    async def commit(self, commit: Commit) -> None:
        kept = tuple(write for write in commit.writes if not isinstance(write, Received))
        if kept:
            await super().commit(replace(commit, writes=kept))


class PostsLater(FaultyStore):
    """Puts messages into the outbox after the commit that they belong to."""

    async def commit(self, commit: Commit) -> None:
        kept = tuple(write for write in commit.writes if not isinstance(write, EnqueueMessage))
        sent = tuple(write for write in commit.writes if isinstance(write, EnqueueMessage))
        if kept:
            await super().commit(replace(commit, writes=kept))
        if sent:
            await super().commit(replace(commit, writes=sent))


async def test_without_notes_of_what_was_received_effects_are_doubled() -> None:
    clock = ManualClock()
    store = WithoutInbox(clock)
    async with open_office(store, clock, fault=faults(Random(1), share=0.4)) as office:
        answered = await send_letters(office, 8)
        await delivered(office)

    with pytest.raises(AssertionError, match="lost or doubled"):
        await check(store, answered)


async def test_messages_that_are_stored_after_the_commit_are_lost() -> None:
    with pytest.raises(AssertionError, match="lost or doubled"):  # noqa: PT012 - at any of these
        for fail_at in range(2, 60):
            clock = ManualClock()
            inner = MemoryStore(clock)
            dying = PostsLater(inner, fail_at=fail_at, lasting=True)
            async with open_office(dying, clock) as office:
                answered = await send_letters(office, LETTERS)
            async with open_office(inner, clock) as office:
                await delivered(office)
            await check(inner, answered)


async def test_a_store_that_fails_for_good_leaves_what_waits() -> None:
    clock = ManualClock()
    inner = MemoryStore(clock)
    dying = FaultyStore(inner, fail_at=30, lasting=True)
    async with open_office(dying, clock) as office:
        await send_letters(office, LETTERS)
        with pytest.raises(StoreError):
            await dying.check()

    assert await waiting_in(inner)
