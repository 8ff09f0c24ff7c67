"""Cases of the store contract: commits about one entity are written in the order of their begin."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from itertools import count

import pytest

from cloudstate_core.errors import (
    AlreadyReceived,
    LimitExceeded,
    RevisionConflict,
    SequenceConflict,
    StoreUnavailable,
)
from cloudstate_core.store import (
    MAX_PAYLOAD_BYTES,
    AmendValue,
    AppendEvents,
    EntityKey,
    PutValue,
    Received,
    StateStore,
    StoredValue,
    Write,
)
from cloudstate_core.testing.store_contract_setting import (
    FaultInjector,
    OpenStore,
    StoreContractSetting,
    amended,
    append,
    commit,
    data_of,
    key,
    payload,
    put_and_amend,
    wait_until_well,
)

__all__ = ["OrderCases"]

_BEGUN = 64

# Of the commits that a failure meets: the one that puts the value anew, and where they end.
_PUT_AT, _LAST = 9, 14

#: What fails a commit in the middle of others, and the error that it brings.
_FAILING: list[tuple[Write, type[Exception]]] = [
    (AppendEvents(99, [payload("x")]), SequenceConflict),
    (AppendEvents(0, [payload(bytes(MAX_PAYLOAD_BYTES + 1))]), LimitExceeded),
    (AppendEvents(0, []), ValueError),
    (Received("known"), AlreadyReceived),
]


class OrderCases(StoreContractSetting):
    """Commits about one entity are written in the order in which they were begun."""

    async def test_commits_that_build_on_each_other_need_not_wait_for_each_other(
        self, store: StateStore
    ) -> None:
        await asyncio.gather(
            commit(store, PutValue(0, payload("v"))),
            *(append(store, key(), n, f"{n}") for n in range(_BEGUN)),
            *(commit(store, AmendValue(n, payload(f"{n}"))) for n in range(1, _BEGUN)),
        )

        assert await data_of(store, key()) == [f"{n}".encode() for n in range(_BEGUN)]
        assert await store.value(key()) == amended(_BEGUN, "v", *map(str, range(1, _BEGUN)))

    async def test_commits_that_are_begun_while_others_are_written_come_after_them(
        self, store: StateStore
    ) -> None:
        begun: list[asyncio.Task[None]] = []
        for n in range(4 * _BEGUN):
            begun.append(asyncio.create_task(append(store, key(), n, f"{n}")))
            if n % 3 == 0:
                await asyncio.sleep(0)
            if n % 50 == 0:
                await begun[n // 2]

        await asyncio.gather(*begun)

        assert await data_of(store, key()) == [f"{n}".encode() for n in range(4 * _BEGUN)]

    async def test_the_first_step_of_a_coroutine_begins_a_commit_not_its_making(
        self, store: StateStore
    ) -> None:
        made_first, made_last = append(store, key(), 1, "second"), append(store, key(), 0, "first")

        await asyncio.gather(made_last, made_first)

        assert await data_of(store, key()) == [b"first", b"second"]

    async def test_large_and_small_commits_keep_their_order(self, store: StateStore) -> None:
        sizes = [10, 3_000_000, 1, 0, 9_000_000, 70_000, 8_000_000, 5]

        await asyncio.gather(
            *(append(store, key(), n, bytes(size)) for n, size in enumerate(sizes))
        )

        assert [len(each) for each in await data_of(store, key())] == sizes

    @pytest.mark.parametrize(("failing", "error"), _FAILING, ids=lambda each: type(each).__name__)
    async def test_what_builds_on_a_commit_that_failed_fails_and_nothing_else(
        self, store: StateStore, failing: Write, error: type[Exception]
    ) -> None:
        await put_and_amend(store, "v")
        await commit(store, Received("known"))

        outcomes = await asyncio.gather(
            commit(store, AmendValue(1, payload("a"))),
            commit(store, failing, AmendValue(2, payload("fails"))),
            append(store, key("other"), 0, "1"),
            commit(store, AmendValue(3, payload("builds on it"))),
            commit(store, AmendValue(4, payload("builds on that"))),
            append(store, key("other"), 1, "2"),
            commit(store, AmendValue(2, payload("b"))),
            commit(store, AmendValue(3, payload("c"))),
            return_exceptions=True,
        )

        none = type(None)
        kinds = [type(each) for each in outcomes]
        assert kinds[0] is none
        assert issubclass(kinds[1], error)
        assert kinds[2:] == [none, RevisionConflict, RevisionConflict, none, none, none]
        assert await store.value(key()) == amended(4, "v", "a", "b", "c")
        assert await data_of(store, key("other")) == [b"1", b"2"]

    async def test_callers_that_are_cancelled_keep_the_place_of_their_commits(
        self, store: StateStore
    ) -> None:
        begun = [asyncio.create_task(append(store, key(), n, f"{n}")) for n in range(_BEGUN)]
        await asyncio.sleep(0)

        for task in begun[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*begun, return_exceptions=True)

        assert outcomes[1::2] == [None] * (_BEGUN // 2)
        assert await data_of(store, key()) == [f"{n}".encode() for n in range(_BEGUN)]

    async def test_the_order_of_one_entity_does_not_depend_on_the_others(
        self, store: StateStore
    ) -> None:
        await asyncio.gather(
            *(append(store, key(f"{n % 7}"), n // 7, f"{n}") for n in range(7 * _BEGUN))
        )

        for first in range(7):
            expected = [f"{n}".encode() for n in range(first, 7 * _BEGUN, 7)]
            assert await data_of(store, key(f"{first}")) == expected

    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("lasting", [False, True])
    async def test_a_failure_at_any_call_below_leaves_the_first_of_those_that_were_begun(
        self, open_store: OpenStore, faults: FaultInjector | None, *, lasting: bool
    ) -> None:
        if faults is None:
            pytest.skip("nothing below this store can be made to fail")
        for call in count(1):
            entity = key(f"{call}")
            async with open_store() as store:
                await put_and_amend(store, "v", "1", entity=entity)
                faults.fail_at(call, lasting=lasting)
                outcomes = await _begin_in_two_turns(store, entity)
                was_reached = faults.stop()
                await wait_until_well(store)
                found = await store.value(entity)
            async with open_store() as store:
                assert await store.value(entity) == found
            assert found == _history(found.revision)
            _judge(outcomes, written=found.revision - 2)
            if not was_reached:
                assert outcomes == [None] * len(outcomes)
                break
        assert call > 1


async def _begin_in_two_turns(store: StateStore, entity: EntityKey) -> list[Exception | None]:
    """Begin commits that build on each other, and some more while those are being written."""
    begun: list[asyncio.Task[Exception | None]] = []
    for revision in range(2, _LAST):
        one = commit(store, _write_at(revision), entity=entity)
        begun.append(asyncio.create_task(_outcome_of(one)))
        if revision == _PUT_AT - 2:
            for _ in range(3):
                await asyncio.sleep(0)
    return await asyncio.gather(*begun)


def _write_at(revision: int) -> Write:
    if revision == _PUT_AT:
        return PutValue(revision, payload("w"))
    return AmendValue(revision, payload(f"{revision}"))


def _history(revision: int) -> StoredValue:
    """Return what the value is at a revision, if all was written in order."""
    if revision <= _PUT_AT:
        return amended(revision, "v", *map(str, range(1, revision)))
    return amended(revision, "w", *map(str, range(_PUT_AT + 1, revision)))


async def _outcome_of(commit: Awaitable[None]) -> Exception | None:
    try:
        await commit
    except (StoreUnavailable, LimitExceeded, RevisionConflict) as error:
        return error
    return None


def _judge(outcomes: list[Exception | None], *, written: int) -> None:
    """Fail if a caller was told something that is not so of the first commits, as are written."""
    for number, outcome in enumerate(outcomes):
        if outcome is None:
            assert number < written, "an answered commit is lost"
        elif not isinstance(outcome, StoreUnavailable):
            assert number >= written, "a commit that was refused is there"
