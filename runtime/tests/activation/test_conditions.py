"""Commands with a key or an expected version at one entity."""

from __future__ import annotations

import asyncio

import pytest
from runtime_doubles.engines import FakeEngine, FakeHome, Gate, amount_of, order, replied, settled

from cloudstate_core.durable.remembered import Memory
from cloudstate_core.errors import (
    KeyReused,
    NoVersions,
    RevisionConflict,
    StoreUnavailable,
    UserFunctionError,
    VersionMismatch,
)
from cloudstate_core.handler import Conditions, Outcome, Request
from cloudstate_core.store import Commit, EntityKey
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.activation import Activation

MEMORY = Memory(keep_s=100.0, keep_count=100)


def named(key: str = "k", amount: int = 0, version: int | None = None) -> Request:
    return order(amount=amount, conditions=Conditions(key, version))


@pytest.fixture
def done(home: FakeHome) -> list[int]:
    """Let engines remember what they answer, and return the amounts that had an effect."""
    done: list[int] = []

    async def answer(engine: FakeEngine, request: Request) -> Outcome:
        outcome = replied(request.payload, version=len(done) + 1)
        write = MEMORY.write_of(request, outcome)
        if write is not None:
            key = EntityKey(home.entity.persistence_id, engine.entity_id)
            await home.store.commit(Commit(key, 0, (write,)))
        done.append(amount_of(request.payload))
        return outcome

    home.engines.answer = answer
    return done


async def test_a_command_that_is_sent_again_gets_its_answer_again(
    activation: Activation, home: FakeHome, done: list[int]
) -> None:
    first = await activation.handle(named(amount=5))
    await activation.handle(named("other", amount=6))
    again = await activation.handle(named(amount=5))

    assert again == first
    assert done == [5, 6]
    assert home.instrument.told.count(("handled", "Place", 0.0)) == 3


async def test_one_that_comes_while_the_first_runs_waits_and_gets_its_answer(
    activation: Activation, done: list[int]
) -> None:
    tasks = [asyncio.create_task(activation.handle(named(amount=5))) for _ in range(3)]
    answers = await asyncio.gather(*tasks)

    assert answers == [answers[0]] * 3
    assert done == [5]


async def test_the_answer_needs_no_engine(
    activation: Activation, home: FakeHome, done: list[int]
) -> None:
    first = await activation.handle(named(amount=5))
    activation.passivate()

    assert await activation.handle(named(amount=5)) == first
    assert len(home.engines.made) == 1


async def test_a_command_without_a_name_is_carried_out_each_time_without_asking_the_store(
    activation: Activation, home: FakeHome, done: list[int]
) -> None:
    for _ in range(2):
        await activation.handle(order(amount=5))

    assert done == [5, 5]
    assert home.store.calls == 0


async def test_a_message_has_no_answer_to_find(
    activation: Activation, home: FakeHome, done: list[int]
) -> None:
    for _ in range(2):
        await activation.handle(order(amount=5, conditions=Conditions(message_id="m")))

    assert (done, home.store.calls) == ([5, 5], 0)


async def test_another_command_under_the_same_name_is_refused_and_the_entity_goes_on(
    activation: Activation, home: FakeHome, done: list[int]
) -> None:
    await activation.handle(named(amount=5))
    with pytest.raises(KeyReused):
        await activation.handle(named(amount=6))
    await activation.handle(named("next", amount=7))

    assert done == [5, 7]
    assert len(home.engines.made) == 1
    assert not [told for told in home.instrument.told if told[0] == "crashed"]
    assert home.reports == []


async def test_while_nobody_can_tell_whether_a_command_was_carried_out_it_is_not(
    activation: Activation, home: FakeHome, done: list[int]
) -> None:
    home.store._fail_at = 1
    with pytest.raises(StoreUnavailable):
        await activation.handle(named(amount=5))
    assert done == []

    await activation.handle(named(amount=5))
    assert done == [5]


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_command_whose_outcome_was_unknown_has_its_effect_once(
    activation: Activation, home: FakeHome, done: list[int], after_effect: bool
) -> None:
    home.store._fail_at, home.store._after_effect = 2, after_effect
    with pytest.raises(StoreUnavailable):
        await activation.handle(named(amount=5))

    again = await activation.handle(named(amount=5))

    assert amount_of(again.action.reply.payload) == 5
    # What the store had taken is done; the engine only did not hear of it.
    assert done == ([] if after_effect else [5])


async def test_a_command_that_failed_is_tried_anew(
    activation: Activation, home: FakeHome, done: list[int]
) -> None:
    remember = home.engines.answer

    async def fail(engine: FakeEngine, request: Request) -> Outcome:
        raise UserFunctionError("broken")

    home.engines.answer = fail
    with pytest.raises(UserFunctionError):
        await activation.handle(named(amount=5))
    home.engines.answer = remember

    await activation.handle(named(amount=5))
    assert done == [5]


async def test_after_a_lost_race_the_answer_may_be_there(
    activation: Activation, home: FakeHome
) -> None:
    async def beaten(engine: FakeEngine, request: Request) -> Outcome:
        # Another process has carried out the same command in the meantime.
        write = MEMORY.write_of(request, replied(request.payload, version=1))
        assert write is not None
        key = EntityKey(home.entity.persistence_id, engine.entity_id)
        await home.store.commit(Commit(key, 0, (write,)))
        raise RevisionConflict("joe", expected=0, actual=1)

    home.engines.answer = beaten

    outcome = await activation.handle(named(amount=5))

    assert (amount_of(outcome.action.reply.payload), outcome.version) == (5, 1)
    assert len(home.engines.made) == 1


async def test_an_answer_that_is_too_old_is_not_given_again(
    activation: Activation, done: list[int], clock: ManualClock
) -> None:
    await activation.handle(named(amount=5))
    await clock.advance(101)
    await activation.handle(named(amount=5))

    assert done == [5, 5]


# --- Versions ------------------------------------------------------------------------


@pytest.fixture
def versioned(home: FakeHome, done: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the entity as many versions as commands had an effect."""
    monkeypatch.setattr(FakeEngine, "version", property(lambda _: len(done)), raising=False)
    return done


def expecting(version: int, amount: int = 0) -> Request:
    return order(amount=amount, conditions=Conditions(expected_version=version))


async def test_a_command_that_expects_the_version_is_carried_out(
    activation: Activation, versioned: list[int]
) -> None:
    for version in range(3):
        outcome = await activation.handle(expecting(version, amount=version))
        assert outcome.version == version + 1

    assert versioned == [0, 1, 2]


@pytest.mark.parametrize("version", [0, 2, 2**63 - 1])
async def test_one_that_expects_another_version_is_not_begun(
    activation: Activation, home: FakeHome, versioned: list[int], version: int
) -> None:
    await activation.handle(order(amount=5))

    with pytest.raises(VersionMismatch) as caught:
        await activation.handle(expecting(version, amount=6))

    assert (caught.value.expected, caught.value.actual) == (version, 1)
    assert versioned == [5]
    assert len(home.engines.made) == 1
    assert not [told for told in home.instrument.told if told[0] == "crashed"]


async def test_of_many_that_expect_the_same_version_one_is_carried_out(
    activation: Activation, versioned: list[int], home: FakeHome
) -> None:
    home.max_waiting_commands = 10
    tasks = [activation.handle(expecting(0, amount=n)) for n in range(10)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert versioned == [0]
    assert sum(isinstance(each, VersionMismatch) for each in outcomes) == 9


async def test_a_command_that_is_sent_again_is_not_refused_for_what_it_changed_itself(
    activation: Activation, versioned: list[int]
) -> None:
    first = await activation.handle(named(amount=5, version=0))

    assert await activation.handle(named(amount=5, version=0)) == first
    assert versioned == [5]


async def test_the_version_is_compared_again_after_a_lost_race(
    activation: Activation, home: FakeHome, versioned: list[int]
) -> None:
    async def beaten(engine: FakeEngine, request: Request) -> Outcome:
        versioned.append(99)
        raise RevisionConflict("joe", expected=0, actual=1)

    home.engines.answer = beaten

    with pytest.raises(VersionMismatch):
        await activation.handle(expecting(0))
    assert versioned == [99]


async def test_an_entity_without_versions_refuses_to_compare(
    activation: Activation, home: FakeHome, done: list[int]
) -> None:
    with pytest.raises(NoVersions, match=r"'shop\.Orders'"):
        await activation.handle(expecting(0))

    assert done == []
    await activation.handle(order(amount=1))
    assert len(home.engines.made) == 1


async def test_a_caller_that_leaves_does_not_undo_its_command(
    activation: Activation, home: FakeHome, done: list[int]
) -> None:
    remember, gate = home.engines.answer, Gate()

    async def held(engine: FakeEngine, request: Request) -> Outcome:
        await gate(engine, request)
        assert remember is not None
        return await remember(engine, request)

    home.engines.answer = held
    first = asyncio.create_task(activation.handle(named(amount=5)))
    await settled()
    first.cancel()
    again = asyncio.create_task(activation.handle(named(amount=5)))
    await settled()
    gate.open()

    await again
    assert done == [5]
