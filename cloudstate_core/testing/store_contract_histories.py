"""Cases of the store contract: after any history a store holds what the reference holds."""

from __future__ import annotations

from random import Random

import pytest

from cloudstate_core.store import StateStore
from cloudstate_core.stores import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.store_contract_setting import OpenStore, StoreContractSetting
from cloudstate_core.testing.store_script import Author, Script, contents, play

__all__ = ["HistoryCases"]

_BATCHES = 40


class HistoryCases(StoreContractSetting):
    """After any history a store holds what the reference holds."""

    @pytest.mark.parametrize("seed", range(5))
    async def test_a_store_holds_what_the_reference_holds(
        self, store: StateStore, clock: ManualClock, seed: int
    ) -> None:
        reference = MemoryStore(clock)
        author = Author(Random(seed))  # noqa: S311  # no secret
        for batch in author.script(_BATCHES).batches:
            for each in (reference, store):
                await play(Script([batch]), each)
            assert await contents(store) == await contents(reference)

    @pytest.mark.usefixtures("needs_durability")
    async def test_a_store_that_is_closed_in_between_holds_what_the_reference_holds(
        self, open_store: OpenStore, clock: ManualClock
    ) -> None:
        reference = MemoryStore(clock)
        author = Author(Random(11))  # noqa: S311  # no secret
        for _ in range(10):
            script = author.script(_BATCHES // 10)
            await play(script, reference)
            async with open_store() as store:
                await play(script, store)
                assert await contents(store) == await contents(reference)
