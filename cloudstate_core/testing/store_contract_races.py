"""Cases of the store contract: of writers that disagree one wins, and the other writes nothing."""

from __future__ import annotations

import asyncio

import pytest

from cloudstate_core.errors import RevisionConflict, SequenceConflict, StaleEpoch
from cloudstate_core.store import (
    AppendEvents,
    Commit,
    EntityKey,
    PutValue,
    StateStore,
    slice_of,
)
from cloudstate_core.testing.store_contract_setting import (
    ALL_SLICES,
    StoreContractSetting,
    append,
    data_of,
    key,
    payload,
)

__all__ = ["RaceCases"]

_ROUNDS = 100
_TASKS = 64


class RaceCases(StoreContractSetting):
    """Of writers that disagree one wins, and the other writes nothing."""

    @pytest.mark.parametrize("expected", [0, 1, 3, 99, 2**62])
    async def test_a_writer_that_expects_another_sequence_writes_nothing(
        self, store: StateStore, expected: int
    ) -> None:
        await append(store, key(), 0, "a", "b")

        with pytest.raises(SequenceConflict) as caught:
            await append(store, key(), expected, "c")

        assert caught.value.entity_id == "e"
        assert (caught.value.expected, caught.value.actual) == (expected, 2)
        assert await data_of(store, key()) == [b"a", b"b"]

    async def test_two_appends_of_one_commit_that_do_not_follow_each_other_write_nothing(
        self, store: StateStore
    ) -> None:
        writes = (AppendEvents(0, [payload("a")]), AppendEvents(0, [payload("b")]))

        with pytest.raises(SequenceConflict) as caught:
            await store.commit(Commit(key(), 0, writes))

        assert (caught.value.expected, caught.value.actual) == (0, 1)
        assert await store.last_sequence(key()) == 0

    async def test_a_loser_can_read_and_try_again(self, store: StateStore) -> None:
        await append(store, key(), 0, "theirs")
        with pytest.raises(SequenceConflict):
            await append(store, key(), 0, "ours")

        await append(store, key(), await store.last_sequence(key()), "ours")

        assert await data_of(store, key()) == [b"theirs", b"ours"]

    async def test_of_two_racing_writers_exactly_one_wins_each_round(
        self, store: StateStore
    ) -> None:
        winners: list[int] = []
        for sequence in range(_ROUNDS):
            outcomes = await asyncio.gather(
                *(append(store, key(), sequence, f"{sequence} {writer}") for writer in range(2)),
                return_exceptions=True,
            )
            losers = [error for error in outcomes if error is not None]
            assert [type(error) for error in losers] == [SequenceConflict]
            winners.append(outcomes.index(None))

        contents = await data_of(store, key())
        assert contents == [f"{n} {writer}".encode() for n, writer in enumerate(winners)]

    async def test_of_many_writers_to_one_entity_exactly_one_wins(self, store: StateStore) -> None:
        outcomes = await asyncio.gather(
            *(append(store, key(), 0, f"{n}") for n in range(_TASKS)), return_exceptions=True
        )

        assert outcomes.count(None) == 1
        assert await data_of(store, key()) == [f"{outcomes.index(None)}".encode()]

    async def test_many_writers_to_entities_of_their_own_all_win(self, store: StateStore) -> None:
        async def write(name: str) -> None:
            for sequence in range(10):
                await append(store, key(name), sequence, f"{name} {sequence}")

        await asyncio.gather(*(write(f"{n}") for n in range(_TASKS)))

        for n in range(_TASKS):
            assert await data_of(store, key(f"{n}")) == [f"{n} {s}".encode() for s in range(10)]

    async def test_a_refused_commit_does_not_hurt_those_that_came_with_it(
        self, store: StateStore
    ) -> None:
        await append(store, key("late"), 0, "first")

        outcomes = await asyncio.gather(
            append(store, key("good"), 0, "a"),
            append(store, key("late"), 0, "too late"),
            append(store, key("good"), 1, "b"),
            append(store, key("other"), 0, "c"),
            return_exceptions=True,
        )

        assert [type(outcome) for outcome in outcomes] == [
            type(None),
            SequenceConflict,
            type(None),
            type(None),
        ]
        assert await data_of(store, key("good")) == [b"a", b"b"]
        assert await data_of(store, key("late")) == [b"first"]
        assert await data_of(store, key("other")) == [b"c"]

    async def test_a_reader_sees_all_that_was_answered_before_it_asked(
        self, store: StateStore
    ) -> None:
        answered = 0

        async def write() -> None:
            nonlocal answered
            for sequence in range(3 * _ROUNDS):
                await append(store, key(), sequence, "x")
                answered = sequence + 1

        async def read() -> None:
            while not writer.done():
                await store.snapshot(key())
                before = answered
                assert len(await store.events(key(), after=0, limit=1000)) >= before
                before = answered
                assert await store.last_sequence(key()) >= before

        writer = asyncio.create_task(write())
        await asyncio.gather(read(), read(), writer)

        assert await store.last_sequence(key()) == 3 * _ROUNDS

    async def test_a_claim_is_newer_than_all_before(self, store: StateStore) -> None:
        first = await store.claim(ALL_SLICES)
        second = await store.claim([7, 8])
        third = await store.claim([8, 9])
        fourth = await store.claim([100])

        assert 0 < first < second < third
        assert fourth > first

    async def test_claims_at_the_same_time_all_differ(self, store: StateStore) -> None:
        epochs = await asyncio.gather(*(store.claim([5]) for _ in range(10)))

        assert len(set(epochs)) == len(epochs)

    async def test_a_writer_of_an_older_epoch_writes_nothing(self, store: StateStore) -> None:
        old = await store.claim(ALL_SLICES)
        await append(store, key(), 0, "a", epoch=old)
        new = await store.claim([slice_of(key())])

        with pytest.raises(StaleEpoch) as caught:
            await append(store, key(), 1, "b", epoch=old)

        assert (caught.value.held, caught.value.current) == (old, new)
        assert caught.value.entity_id == "e"
        assert await data_of(store, key()) == [b"a"]
        await append(store, key(), 1, "c", epoch=new)
        assert await data_of(store, key()) == [b"a", b"c"]

    async def test_an_epoch_counts_for_its_slice_alone(self, store: StateStore) -> None:
        old = await store.claim(ALL_SLICES)
        other = _in_another_slice(key())
        await store.claim([slice_of(key())])

        await append(store, other, 0, "a", epoch=old)

        assert await data_of(store, other) == [b"a"]

    async def test_a_writer_of_an_older_epoch_deletes_nothing(self, store: StateStore) -> None:
        old = await store.claim(ALL_SLICES)
        await append(store, key(), 0, "a", epoch=old)
        await store.claim(ALL_SLICES)

        with pytest.raises(StaleEpoch):
            await store.delete(key(), old)

        assert await data_of(store, key()) == [b"a"]

    async def test_a_claim_that_overtakes_a_writer_stops_it(self, store: StateStore) -> None:
        old = await store.claim(ALL_SLICES)

        claimed, *outcomes = await asyncio.gather(
            store.claim(ALL_SLICES),
            *(append(store, key(f"{n}"), 0, "x", epoch=old) for n in range(_TASKS)),
            return_exceptions=True,
        )

        assert claimed == old + 1
        for n, outcome in enumerate(outcomes):
            assert outcome is None or isinstance(outcome, StaleEpoch)
            assert await store.last_sequence(key(f"{n}")) == (outcome is None)

    async def test_slices_that_do_not_exist_are_refused(self, store: StateStore) -> None:
        with pytest.raises(ValueError, match="slice"):
            await store.claim([1024])
        with pytest.raises(ValueError, match="slice"):
            await store.claim([-1])

    async def test_of_writers_of_one_value_exactly_one_wins(self, store: StateStore) -> None:
        commits = [Commit(key(), 0, (PutValue(0, payload(f"{n}")),)) for n in range(_TASKS)]

        outcomes = await asyncio.gather(
            *(store.commit(commit) for commit in commits), return_exceptions=True
        )

        assert outcomes.count(None) == 1
        assert sum(isinstance(each, RevisionConflict) for each in outcomes) == _TASKS - 1
        stored = await store.value(key())
        assert stored.value == payload(f"{outcomes.index(None)}")


def _in_another_slice(entity: EntityKey) -> EntityKey:
    others = (key(f"{n}") for n in range(100))
    return next(other for other in others if slice_of(other) != slice_of(entity))
