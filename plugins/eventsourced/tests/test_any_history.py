"""Whatever clients do and whenever the store fails: commands are whole, and answers are true."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from history import lived

import cloudstate_eventsourced.plugin
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.store import AppendEvents
from cloudstate_core.store import Commit as StoreCommit
from cloudstate_eventsourced import engine, machine, session
from cloudstate_eventsourced.engine import EventSourcedEngine
from cloudstate_eventsourced.machine import Commit

pytestmark = pytest.mark.usefixtures("logged")


@pytest.mark.parametrize("seed", range(25))
async def test_a_store_that_does_not_fail(seed: int) -> None:
    world = await lived(seed, None)

    await world.check()
    assert any(attempt.text for attempt in world.attempts)


@pytest.mark.parametrize("after_effect", [False, True], ids=["undone", "done all the same"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_store_that_fails_at_any_one_call(seed: int, after_effect: bool) -> None:
    for fail_at in count(1):
        world = await lived(seed, fail_at, after_effect=after_effect)
        await world.check()
        if not world.store.has_failed:
            break
    assert fail_at > 20


async def test_the_same_seed_is_the_same_history() -> None:
    first, second = [await lived(7, 9) for _ in range(2)]

    assert first.attempts == second.attempts
    assert len({str((await lived(seed, 9)).attempts) for seed in range(5)}) == 5


# --- What the checks are worth -------------------------------------------------------


class AnswersFirst(EventSourcedEngine):
    """Does not wait until the store has confirmed."""

    async def _commit(self, commit: Commit) -> None:
        self._outcome = Outcome(commit.action, commit.side_effects, commit.restart)
        writes = engine._writes(commit)
        storing = asyncio.create_task(
            self._host.commit(self._request, self._key, writes, self._outcome)
        )
        storing.add_done_callback(lambda task: task.cancelled() or task.exception())


class StoresOneByOne(EventSourcedEngine):
    """Stores each event of a command in a commit of its own."""

    async def _commit(self, commit: Commit) -> None:
        for number, event in enumerate(commit.events):
            write = AppendEvents(commit.expected_sequence + number, [event])
            await self._host.store.commit(StoreCommit(self._key, self._host.epoch, (write,)))
        self._outcome = Outcome(commit.action, commit.side_effects, commit.restart)


class GoesOnAfterAFailure(EventSourcedEngine):
    """Keeps the entity in memory though events were emitted before it failed."""

    async def handle(self, request: Request) -> Outcome:
        outcome = await super().handle(request)
        if outcome.restart:
            self._driver._machine.state = machine.State.IDLE
            self._stream.conversation._session.state = session.State.READY
        return Outcome(outcome.action, outcome.side_effects)


@pytest.mark.parametrize("broken", [AnswersFirst, StoresOneByOne, GoesOnAfterAFailure])
async def test_a_broken_engine_is_found_out(
    broken: type[EventSourcedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudstate_eventsourced.plugin, "EventSourcedEngine", broken)

    with pytest.raises(AssertionError):  # noqa: PT012 - any of these histories may show it
        for seed in range(4):
            for fail_at in range(1, 80):
                await (await lived(seed, fail_at)).check()
