"""Cases of the store contract: remembered replies, and for how long they are."""

from __future__ import annotations

import pytest

from cloudstate_core.errors import SequenceConflict
from cloudstate_core.store import (
    AppendEvents,
    Commit,
    RememberedReply,
    RememberReply,
    StateStore,
)
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.store_contract_setting import (
    OpenStore,
    StoreContractSetting,
    append,
    data_of,
    key,
    payload,
)

__all__ = ["ReplyCases"]


async def _remember(
    store: StateStore,
    *names: str,
    entity_id: str = "e",
    keep_s: float = 1000,
    keep_count: int = 1000,
) -> None:
    """Remember replies, each in a commit of its own."""
    for name in names:
        reply = RememberReply(name, b"d", name.encode(), keep_s=keep_s, keep_count=keep_count)
        await store.commit(Commit(key(entity_id), 0, (reply,)))


async def _remembered(store: StateStore, *names: str, entity_id: str = "e") -> list[str]:
    """Return those of these that are remembered."""
    found = [(name, await store.remembered_reply(key(entity_id), name)) for name in names]
    assert all(reply in (None, RememberedReply(b"d", name.encode())) for name, reply in found)
    return [name for name, reply in found if reply is not None]


class ReplyCases(StoreContractSetting):
    """Remembered replies."""

    async def test_a_reply_is_remembered_for_its_entity_and_command(
        self, store: StateStore
    ) -> None:
        reply = RememberedReply(b"\x00digest", b"\xffreply")
        await store.commit(Commit(key(), 0, (RememberReply("c'1", b"\x00digest", b"\xffreply"),)))

        assert await store.remembered_reply(key(), "c'1") == reply
        assert await store.remembered_reply(key(), "c'2") is None
        assert await store.remembered_reply(key("other"), "c'1") is None

    async def test_a_reply_that_is_remembered_again_replaces(self, store: StateStore) -> None:
        for reply in (b"first", b"second"):
            await store.commit(Commit(key(), 0, (RememberReply("c", reply, reply),)))

        assert await store.remembered_reply(key(), "c") == RememberedReply(b"second", b"second")

    async def test_an_empty_reply_is_remembered(self, store: StateStore) -> None:
        await store.commit(Commit(key(), 0, (RememberReply("", b"", b""),)))

        assert await store.remembered_reply(key(), "") == RememberedReply(b"", b"")

    async def test_a_reply_is_forgotten_when_its_time_is_over(
        self, store: StateStore, clock: ManualClock
    ) -> None:
        await _remember(store, "short", keep_s=10)
        await _remember(store, "long", keep_s=20)

        await clock.advance(9.9)
        assert await _remembered(store, "short", "long") == ["short", "long"]
        await clock.advance(0.2)
        assert await _remembered(store, "short", "long") == ["long"]
        await clock.advance(10)
        assert await _remembered(store, "short", "long") == []

    async def test_a_reply_that_is_remembered_again_has_its_whole_time(
        self, store: StateStore, clock: ManualClock
    ) -> None:
        await _remember(store, "a", keep_s=10)
        await clock.advance(8)
        await _remember(store, "a", keep_s=10)
        await clock.advance(8)

        await _remember(store, "b", "c", keep_s=10)

        assert await _remembered(store, "a", "b", "c") == ["a", "b", "c"]

    async def test_a_command_key_whose_time_is_over_can_be_used_again(
        self, store: StateStore, clock: ManualClock
    ) -> None:
        await _remember(store, "a", keep_s=10)
        await clock.advance(11)

        await store.commit(Commit(key(), 0, (RememberReply("a", b"other", b"new"),)))

        assert await store.remembered_reply(key(), "a") == RememberedReply(b"other", b"new")

    async def test_the_newest_replies_of_an_entity_are_kept(self, store: StateStore) -> None:
        names = [f"{n}" for n in range(25)]
        await _remember(store, *names, keep_count=10)
        await _remember(store, "0", entity_id="other", keep_count=10)

        assert await _remembered(store, *names) == names[-10:]
        assert await _remembered(store, *names, entity_id="other") == ["0"]

        await _remember(store, "last", keep_count=1)
        assert await _remembered(store, *names, "last") == ["last"]

    async def test_replies_of_one_commit_are_counted_like_others(self, store: StateStore) -> None:
        writes = tuple(RememberReply(f"{n}", b"d", f"{n}".encode()) for n in range(5))
        few = tuple(RememberReply(f"{n}", b"d", f"{n}".encode(), 10, 3) for n in range(5, 9))

        await store.commit(Commit(key(), 0, writes))
        await store.commit(Commit(key(), 0, few))

        names = [f"{n}" for n in range(9)]
        assert await _remembered(store, *names) == ["6", "7", "8"]

    async def test_forgetting_replies_takes_nothing_else(
        self, store: StateStore, clock: ManualClock
    ) -> None:
        await append(store, key(), 0, "kept")
        for _ in range(3):
            await _remember(store, "a", "b", "c", keep_s=1, keep_count=2)
            await clock.advance(2)

        assert await data_of(store, key()) == [b"kept"]
        await append(store, key(), 1, "goes on")

    async def test_a_refused_commit_forgets_nothing(self, store: StateStore) -> None:
        await _remember(store, "a")

        writes = (RememberReply("b", b"d", b"b", keep_count=1), AppendEvents(7, [payload()]))
        with pytest.raises(SequenceConflict):
            await store.commit(Commit(key(), 0, writes))

        assert await _remembered(store, "a", "b") == ["a"]

    async def test_what_is_remembered_is_counted_over_restarts(
        self, open_store: OpenStore, clock: ManualClock, needs_durability: None
    ) -> None:
        for n in range(6):
            async with open_store() as store:
                await _remember(store, f"{n}", keep_s=100, keep_count=3)
        async with open_store() as store:
            assert await _remembered(store, *map(str, range(6))) == ["3", "4", "5"]
            await clock.advance(101)
            assert await _remembered(store, *map(str, range(6))) == []

    async def test_an_erased_entity_is_counted_anew(self, store: StateStore) -> None:
        await _remember(store, "a", "b", keep_count=3)
        await store.delete(key(), 0)

        await _remember(store, "c", "d", "e", keep_count=3)

        assert await _remembered(store, "a", "b", "c", "d", "e") == ["c", "d", "e"]

    @pytest.mark.parametrize(
        ("keep_s", "keep_count"),
        [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1, 0), (1, -1), (1, 2**63)],
    )
    async def test_a_reply_to_be_kept_for_no_time_is_refused(
        self, store: StateStore, keep_s: float, keep_count: int
    ) -> None:
        with pytest.raises(ValueError, match="keep"):
            await _remember(store, "a", keep_s=keep_s, keep_count=keep_count)

        assert await store.remembered_reply(key(), "a") is None
