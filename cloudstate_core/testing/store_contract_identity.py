"""Cases of the store contract: every id is an id of its own, and entities can be listed."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest

from cloudstate_core.store import (
    MAX_ENTITY_ID_BYTES,
    Commit,
    DeleteValue,
    EntityKey,
    PutSnapshot,
    PutValue,
    Received,
    RememberReply,
    StateStore,
    Write,
)
from cloudstate_core.testing.store_contract_setting import (
    StoreContractSetting,
    append,
    data_of,
    key,
    payload,
)

__all__ = ["IdentityCases"]

# All that Unicode can say in UTF-8, cut into ids of the greatest length. The longest characters
# take 4 bytes.
_SCALARS = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
_CHARACTERS = MAX_ENTITY_ID_BYTES // 4
_EVERY_CHARACTER = [_SCALARS[n : n + _CHARACTERS] for n in range(0, len(_SCALARS), _CHARACTERS)]

#: Ids that somebody may take for one another, or for something else.
_AWKWARD = [
    " ",
    "  ",
    "a",
    "A",
    "a ",
    " a",
    "a\x00",
    "a\x00b",
    "\x00",
    "%",
    "_",
    "a%",
    "a_",
    "'",
    '"',
    "''",
    "'; DROP TABLE events; --",
    "\\",
    "/",
    "../../etc/passwd",
    "a/b",
    "a|b",
    "*",
    "?",
    "[a]",
    "\n",
    "\r\n",
    "\t",
    "0",
    "00",
    "0x0",
    "1",
    "1.0",
    "1e0",
    "-1",
    "NULL",
    "None",
    "\u00e9",
    "e\u0301",
    "\ufb01",
    "fi",
    "\u0130",
    "i",
    "\u0131",
    "\u05d0\u05d1",
    "\u202eabc",
    "\u200b",
    "\ufeff",
    "\ufffd",
    "\uffff",
    "\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0010ffff",
]

_SEPARATORS = ["|", "/", ":", "\x00", ",", "-", " ", "'"]


class IdentityCases(StoreContractSetting):
    """Every id is an id of its own, and entities can be listed."""

    @pytest.mark.timeout(300)
    async def test_every_character_can_be_in_an_id(self, store: StateStore) -> None:
        for first in range(0, len(_EVERY_CHARACTER), 500):
            ids = _EVERY_CHARACTER[first : first + 500]
            await asyncio.gather(*(append(store, key(each), 0, each.encode()) for each in ids))

        for each in _EVERY_CHARACTER[::40]:
            assert await data_of(store, key(each)) == [each.encode()]
        listed = await store.keys("things", limit=len(_EVERY_CHARACTER) + 1)
        assert [each.entity_id for each in listed] == sorted(_EVERY_CHARACTER, key=str.encode)

    async def test_ids_that_look_alike_are_different_entities(self, store: StateStore) -> None:
        for each in _AWKWARD:
            await append(store, key(each), 0, each.encode())

        for each in _AWKWARD:
            assert await data_of(store, key(each)) == [each.encode()]
        assert len(await store.keys("things", limit=1000)) == len(_AWKWARD)

    async def test_the_namespace_can_be_as_awkward(self, store: StateStore) -> None:
        for each in ["", *_AWKWARD]:
            await append(store, key("e", each), 0, each.encode())

        for each in ["", *_AWKWARD]:
            assert await data_of(store, key("e", each)) == [each.encode()]
            assert await store.keys(each, limit=10) == [key("e", each)]

    @pytest.mark.parametrize("separator", _SEPARATORS)
    async def test_no_separator_confuses_namespace_and_id(
        self, store: StateStore, separator: str
    ) -> None:
        keys = [
            EntityKey("a", f"b{separator}c"),
            EntityKey(f"a{separator}b", "c"),
            EntityKey(f"a{separator}", "bc"),
            EntityKey("a", f"{separator}bc"),
        ]
        for number, each in enumerate(keys):
            await append(store, each, 0, f"{number}")

        for number, each in enumerate(keys):
            assert await data_of(store, each) == [f"{number}".encode()]

    @pytest.mark.parametrize("character", ["a", "\u00e9", "\u20ac", "\U0001f600"])
    async def test_the_longest_id_is_accepted_and_a_longer_one_is_not(
        self, store: StateStore, character: str
    ) -> None:
        longest = character * (MAX_ENTITY_ID_BYTES // len(character.encode()))
        longest += "x" * (MAX_ENTITY_ID_BYTES - len(longest.encode()))
        await append(store, key(longest), 0, "a")
        assert await data_of(store, key(longest)) == [b"a"]

        with pytest.raises(ValueError, match="bytes"):
            await append(store, key(longest + "x"), 0, "a")

    async def test_an_empty_id_is_refused(self, store: StateStore) -> None:
        with pytest.raises(ValueError, match="bytes"):
            await append(store, key(""), 0, "a")

    @pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\udc80b"])
    async def test_text_that_is_no_unicode_is_refused(self, store: StateStore, text: str) -> None:
        with pytest.raises(ValueError, match="surrogates"):
            await append(store, key(text), 0, "a")
        with pytest.raises(ValueError, match="surrogates"):
            await append(store, key("e", text), 0, "a")

        # Nothing is wrong with the store.
        await append(store, key(), 0, "a")

    async def test_entities_with_events_a_snapshot_or_a_value_are_listed(
        self, store: StateStore
    ) -> None:
        writes: dict[str, Write] = {
            "snapshot": PutSnapshot(0, payload("s")),
            "value": PutValue(0, payload("v")),
            "reply": RememberReply("c", b"d", b"r"),
            "received": Received("m"),
            "no value any more": PutValue(0, payload("v")),
        }
        await append(store, key("events"), 0, "a")
        for name, write in writes.items():
            await store.commit(Commit(key(name), 0, (write,)))
        await store.commit(Commit(key("no value any more"), 0, (DeleteValue(1),)))

        listed = await store.keys("things", limit=10)

        assert listed == [key("events"), key("snapshot"), key("value")]

    async def test_listed_are_the_entities_of_one_namespace(self, store: StateStore) -> None:
        await append(store, key("a", "one"), 0, "x")
        await append(store, key("b", "two"), 0, "x")

        assert await store.keys("one", limit=10) == [key("a", "one")]
        assert await store.keys("three", limit=10) == []

    async def test_a_long_list_is_read_in_pages(self, store: StateStore) -> None:
        ids = ["".join(order) for order in permutations("\x00aZ\u00e9\U0001f600")]
        await asyncio.gather(*(append(store, key(each), 0, "x") for each in ids))

        listed: list[str] = []
        while page := await store.keys("things", after=listed[-1] if listed else "", limit=7):
            assert len(page) == 7 or len(listed) + len(page) == len(ids)
            listed += [each.entity_id for each in page]

        assert listed == sorted(ids, key=str.encode)

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            ("", ["%", "%a", "_", "a", "a%", "ab", "b", "\u00e9", "\u00e9\u00e9", "\uffff"]),
            ("a", ["a", "a%", "ab"]),
            ("%", ["%", "%a"]),
            ("_", ["_"]),
            ("a%", ["a%"]),
            ("\u00e9", ["\u00e9", "\u00e9\u00e9"]),
            ("\uffff", ["\uffff"]),
            ("z", []),
        ],
    )
    async def test_a_prefix_is_taken_literally(
        self, store: StateStore, prefix: str, expected: list[str]
    ) -> None:
        for each in ["b", "a", "ab", "a%", "_", "%", "%a", "\u00e9\u00e9", "\u00e9", "\uffff"]:
            await append(store, key(each), 0, "x")

        listed = await store.keys("things", prefix=prefix, limit=100)

        assert [each.entity_id for each in listed] == expected

    async def test_a_prefix_can_be_read_in_pages(self, store: StateStore) -> None:
        for each in ["a1", "a2", "a3", "b1"]:
            await append(store, key(each), 0, "x")

        first = await store.keys("things", prefix="a", limit=2)
        second = await store.keys("things", prefix="a", after="a2", limit=2)

        assert [each.entity_id for each in first + second] == ["a1", "a2", "a3"]

    async def test_a_list_of_no_length_is_refused(self, store: StateStore) -> None:
        with pytest.raises(ValueError, match="limit"):
            await store.keys("things", limit=0)
