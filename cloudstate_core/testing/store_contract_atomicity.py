"""Cases of the store contract: a commit is written as a whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cloudstate_core.errors import (
    AlreadyReceived,
    LimitExceeded,
    RevisionConflict,
    SequenceConflict,
    StaleEpoch,
)
from cloudstate_core.store import (
    MAX_PAYLOAD_BYTES,
    AppendEvents,
    Commit,
    DeleteValue,
    EnqueueMessage,
    PutSnapshot,
    PutValue,
    Received,
    RememberReply,
    StateStore,
    Write,
    slice_of,
)
from cloudstate_core.testing.store_contract_setting import (
    ALL_SLICES,
    StoreContractSetting,
    append,
    data_of,
    everything,
    key,
    payload,
    traces_of,
)

__all__ = ["AtomicityCases"]

#: A write that a commit cannot contain, for an entity that wrote `everything("first", ...)`, and
#: the error that it brings.
_REFUSED: list[tuple[Write, type[Exception]]] = [
    (AppendEvents(2, [payload("again")]), SequenceConflict),
    (AppendEvents(9, [payload("too far")]), SequenceConflict),
    (AppendEvents(4, [payload(bytes(MAX_PAYLOAD_BYTES + 1))]), LimitExceeded),
    (AppendEvents(4, []), ValueError),
    (AppendEvents(-1, [payload("x")]), ValueError),
    (AppendEvents(4, [payload("x")], {"\ud800": "x"}), ValueError),
    (PutSnapshot(4, payload("a second one")), ValueError),
    (PutValue(1, payload("a second one")), ValueError),
    (DeleteValue(1), ValueError),
    (EnqueueMessage("first out", "somewhere", payload("x")), ValueError),
    (EnqueueMessage("second out", "somewhere", payload("x")), ValueError),
    (EnqueueMessage("third out", "s", payload(bytes(MAX_PAYLOAD_BYTES + 1))), LimitExceeded),
    (EnqueueMessage("\udfff", "somewhere", payload("x")), ValueError),
    (EnqueueMessage("third out", "\udfff", payload("x")), ValueError),
    (RememberReply("second command", b"", b""), ValueError),
    (RememberReply("\ud8ff", b"", b""), ValueError),
    (RememberReply("third command", b"", bytes(MAX_PAYLOAD_BYTES + 1)), LimitExceeded),
    (Received("first in"), AlreadyReceived),
    (Received("second in"), ValueError),
    (Received("\ud800"), ValueError),
]

_Arrange = Callable[[tuple[Write, ...], Write], tuple[Write, ...]]


def _first(writes: tuple[Write, ...], refused: Write) -> tuple[Write, ...]:
    return (refused, *writes)


def _last(writes: tuple[Write, ...], refused: Write) -> tuple[Write, ...]:
    return (*writes, refused)


class AtomicityCases(StoreContractSetting):
    """A commit is written as a whole or not at all."""

    async def test_one_commit_can_hold_writes_of_every_type(self, store: StateStore) -> None:
        await store.commit(Commit(key(), 0, everything("first", sequence=0, revision=0)))

        assert all(await traces_of(store, key(), "first"))
        with pytest.raises(AlreadyReceived):
            await store.commit(Commit(key(), 0, (Received("first in"),)))

    @pytest.mark.parametrize("arrange", [_first, _last])
    @pytest.mark.parametrize(("refused", "error"), _REFUSED, ids=lambda each: type(each).__name__)
    async def test_one_write_that_is_refused_leaves_nothing_of_the_commit(
        self, store: StateStore, refused: Write, error: type[Exception], arrange: _Arrange
    ) -> None:
        await store.commit(Commit(key(), 0, everything("first", sequence=0, revision=0)))
        writes = arrange(everything("second", sequence=2, revision=1), refused)

        with pytest.raises(error):
            await store.commit(Commit(key(), 0, writes))

        assert not any(await traces_of(store, key(), "second"))
        assert all(await traces_of(store, key(), "first"))
        # What was refused is not in the way of what comes later.
        await store.commit(Commit(key(), 0, everything("second", sequence=2, revision=1)))
        assert await data_of(store, key()) == [b"first 1", b"first 2", b"second 1", b"second 2"]

    @pytest.mark.parametrize("stale", ["epoch", "sequence", "revision"])
    async def test_a_stale_writer_leaves_nothing_of_any_type(
        self, store: StateStore, stale: str
    ) -> None:
        epoch = await store.claim(ALL_SLICES)
        writes = everything(
            "it", sequence=int(stale == "sequence"), revision=int(stale == "revision")
        )
        if stale == "epoch":
            await store.claim([slice_of(key())])

        with pytest.raises((StaleEpoch, SequenceConflict, RevisionConflict)):
            await store.commit(Commit(key(), epoch, writes))

        assert not any(await traces_of(store, key(), "it"))
        assert await store.keys("things", limit=10) == []

    async def test_a_commit_of_nothing_is_refused(self, store: StateStore) -> None:
        with pytest.raises(ValueError, match="writes"):
            await store.commit(Commit(key(), 0, ()))

    async def test_a_caller_that_is_cancelled_does_not_undo_its_commit(
        self, store: StateStore
    ) -> None:
        commit = store.commit(Commit(key(), 0, everything("it", sequence=0, revision=0)))
        caller = asyncio.create_task(commit)
        await asyncio.sleep(0)

        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        # Whatever comes later comes after it.
        await append(store, key("other"), 0, "x")

        assert all(await traces_of(store, key(), "it"))

    async def test_callers_that_are_cancelled_do_not_hurt_the_others(
        self, store: StateStore
    ) -> None:
        callers = [asyncio.create_task(append(store, key(f"{n}"), 0, "x")) for n in range(64)]
        await asyncio.sleep(0)

        for caller in callers[::2]:
            caller.cancel()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)

        assert outcomes[1::2] == [None] * 32
        for n in range(1, 64, 2):
            assert await data_of(store, key(f"{n}")) == [b"x"]

    async def test_a_reader_never_sees_a_part_of_a_commit(self, store: StateStore) -> None:
        commits = [
            Commit(key(), 0, (AppendEvents(n, [payload(f"{n + i}") for i in range(3)]),))
            for n in range(0, 90, 3)
        ]
        seen: set[int] = set()

        async def write() -> None:
            for commit in commits:
                await store.commit(commit)

        writer = asyncio.create_task(write())
        while not writer.done():
            seen.add(len(await store.events(key(), after=0, limit=1000)) % 3)
        await writer

        assert seen == {0}

    async def test_a_commit_can_be_read_as_soon_as_it_is_answered(self, store: StateStore) -> None:
        for sequence in range(50):
            await append(store, key(), sequence, "x")
            assert await store.last_sequence(key()) == sequence + 1
            assert len(await store.events(key(), after=sequence, limit=10)) == 1
