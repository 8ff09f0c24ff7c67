"""Wherever the store fails: what was answered is stored, and nothing is counted twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any as AnyType

import pytest
from puppets import cancelled, reply, update
from serving_puppets import Served, serve, until

from cloudstate_core.errors import CloudstateError, StoreUnavailable
from cloudstate_crdt.copies import Copies

pytestmark = pytest.mark.usefixtures("logged")


async def do_all(served: Served) -> int:
    """Add powers of two in all the ways there are; return the sum of those that were answered."""
    answered = 0
    for power in (1, 2, 4):
        try:
            await served.add("e", power)
            answered += power
        except CloudstateError:
            pass
    first = reply("first", update(8), streamed=True)
    outcomes = served.watch("e", first, when_cancelled=[cancelled(update(16))])
    try:
        await anext(outcomes)
        answered += 8
    except CloudstateError:
        pass
    await outcomes.aclose()
    await until(lambda: "command" in served.puppet.heard("e")[-1] or "cancel" in last(served))
    try:
        await served.add("e", 32)
        answered += 32
    except CloudstateError:
        pass
    return answered


def last(served: Served) -> str:
    return served.puppet.heard("e")[-1]


async def failing_at(number: int, *, after_effect: bool) -> bool:
    """Let one call of the store fail while all is done; return whether it came to that."""
    async with serve("local") as served:
        served.store.fail_later(number, after_effect=after_effect)
        answered = await do_all(served)
        has_failed = served.store.has_failed
        await served.clock.advance(31)  # nothing is left in memory
        served.puppet.got["e"].clear()
        await served.say("e")

        total = await served.total("e")
        assert total & answered == answered, "an answer is not stored"
        assert total < 64, "something is counted twice"
        assert has_failed or total == 63
        assert served.puppet.heard("e")[0] == f"init increment: {total}"
        return has_failed


async def run_through(*, after_effect: bool) -> int:
    for number in itertools.count(1):
        if not await failing_at(number, after_effect=after_effect):
            return number - 1
    raise AssertionError


@pytest.mark.parametrize("after_effect", [False, True])
async def test_what_was_answered_is_stored_once(*, after_effect: bool) -> None:
    failures = await run_through(after_effect=after_effect)

    assert failures >= 6
    when = "after" if after_effect else "before"
    print(f"PROMISE P2c store calls failed {when} their effect={failures} lost=0 doubled=0 ok")


# --- The checks find what they are for -----------------------------------------------


def planted(monkeypatch: pytest.MonkeyPatch, change: Callable[..., AnyType]) -> None:
    real = Copies.change

    async def planted_change(self: Copies, *args: AnyType) -> AnyType:
        return await change(real, self, *args)

    monkeypatch.setattr(Copies, "change", planted_change)


async def test_an_answer_before_its_change_is_stored_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def careless(
        real: AnyType, self: Copies, entity_id: str, change: AnyType, *rest: AnyType
    ) -> AnyType:
        try:
            return await real(self, entity_id, change, *rest)
        except StoreUnavailable:
            return rest[1], None

    planted(monkeypatch, careless)
    with pytest.raises(AssertionError, match="an answer is not stored"):
        await run_through(after_effect=False)


async def test_a_change_that_is_made_again_without_looking_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stubborn(
        real: AnyType, self: Copies, entity_id: str, change: AnyType, *rest: AnyType
    ) -> AnyType:
        try:
            return await real(self, entity_id, change, *rest)
        except StoreUnavailable:
            return await real(self, entity_id, change, *rest)

    planted(monkeypatch, stubborn)
    with pytest.raises(AssertionError):
        await run_through(after_effect=True)
