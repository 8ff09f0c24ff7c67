"""Whatever clients do and whenever the store fails: commands are whole, and answers are true."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from board_history import lived

import cloudstate_kv.plugin
import cloudstate_kv.servicer
from cloudstate_core.errors import CloudstateError
from cloudstate_core.handler import Outcome
from cloudstate_core.store import PutValue
from cloudstate_kv import session
from cloudstate_kv.engine import ValueEngine
from cloudstate_kv.machine import Commit, Put
from cloudstate_kv.session import ValueSession

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
    assert fail_at > 15


async def test_the_same_seed_is_the_same_history() -> None:
    first, second = [await lived(7, 9) for _ in range(2)]

    assert first.attempts == second.attempts
    assert len({str((await lived(seed, 9)).attempts) for seed in range(5)}) == 5


# --- What the checks are worth -------------------------------------------------------


class AnswersFirst(ValueEngine):
    """Does not wait until the store has confirmed."""

    async def _commit(self, commit: Commit) -> None:
        storing = asyncio.create_task(super()._commit(commit))
        storing.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._outcome = Outcome(commit.action, commit.side_effects, version=commit.revision)


class StoresTheValueTwice(ValueEngine):
    """Stores a value once by itself, and then with all else that belongs to the command."""

    async def _commit(self, commit: Commit) -> None:
        change = commit.change
        if isinstance(change, Put):
            write = PutValue(change.expected_revision, change.value)
            assert self._request is not None
            await self._host.commit(self._request, self._key, (write,), Outcome(commit.action))
            change.expected_revision += 1
        await super()._commit(commit)


class GoesOnAfterTheStoreFailed(ValueEngine):
    """Takes what was not confirmed for stored."""

    async def _commit(self, commit: Commit) -> None:
        try:
            await super()._commit(commit)
        except CloudstateError:
            self._outcome = Outcome(commit.action, version=commit.revision)


@pytest.mark.parametrize(
    "broken",
    [AnswersFirst, StoresTheValueTwice, GoesOnAfterTheStoreFailed],
)
async def test_a_broken_engine_is_found_out(
    broken: type[ValueEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudstate_kv.plugin, "ValueEngine", broken)

    await expect_to_be_found_out()


class KeepsTheValueOfAFailure(ValueSession):
    """Does not put the value back when a handler fails."""

    def _answer(self, returned: session.Returned) -> list[session.Instruction]:
        instructions = super()._answer(returned)
        action = returned.state_action
        if returned.action.HasField("failure") and action is not None:
            self.stored = action.update.value
        return instructions


async def test_a_broken_session_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudstate_kv.servicer, "ValueSession", KeepsTheValueOfAFailure)

    await expect_to_be_found_out()


async def expect_to_be_found_out() -> None:
    with pytest.raises(AssertionError):  # noqa: PT012 - any of these histories may show it
        for seed in range(4):
            for fail_at in range(1, 80):
                await (await lived(seed, fail_at)).check()
