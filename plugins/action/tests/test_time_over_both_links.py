"""How long calls take, and who holds whom up, the same over both links."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest
from serving_stations import Serve, Served, packed, until, word
from station.station_pb2 import Word
from stations import station

from cloudstate_action.context import ActionContext
from cloudstate_core.errors import DeadlineExceeded, Stopping

# --- Time and leaving ----------------------------------------------------------------


class Stuck:
    """Handlers that wait for ever, and what became of them."""

    def __init__(self) -> None:
        self.running = 0
        self.ended: list[str] = []

    async def wait(self, name: str) -> None:
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1
            self.ended.append(name)

    def action(self):
        async def say(asked: Word) -> Word:
            await self.wait("Say")
            return asked

        async def join(asked: AsyncIterator[Word]) -> Word:
            await self.wait("Join")
            return word("")

        async def spell(asked: Word) -> AsyncIterator[Word]:
            yield asked
            await self.wait("Spell")

        async def echo(asked: AsyncIterator[Word]) -> AsyncIterator[Word]:
            async for each in asked:
                yield each
            await self.wait("Echo")

        return station(Say=say, Join=join, Spell=spell, Echo=echo)


def calls_of(served) -> dict[str, asyncio.Task[object]]:
    return {
        "Say": asyncio.ensure_future(served.call("Say", "a")),
        "Join": asyncio.ensure_future(served.texts("Join", "a")),
        "Spell": asyncio.ensure_future(served.texts("Spell", "a")),
        "Echo": asyncio.ensure_future(served.texts("Echo", "a")),
    }


async def test_a_caller_that_leaves_ends_the_handler(serving: Serve) -> None:
    stuck = Stuck()
    async with serving(stuck.action()) as served:
        calls = calls_of(served)
        await until(lambda: stuck.running == 4)

        for call in calls.values():
            call.cancel()
        await asyncio.wait(calls.values())

        await until(lambda: sorted(stuck.ended) == ["Echo", "Join", "Say", "Spell"])
        assert all(call.cancelled() for call in calls.values())


async def test_a_caller_that_takes_no_more_closes_the_handler(serving: Serve) -> None:
    closed = asyncio.Event()

    async def spell(asked: Word) -> AsyncIterator[Word]:
        try:
            while True:
                yield asked
        finally:
            closed.set()

    async with serving(station(Spell=spell)) as served:
        async with aclosing(served.stream("Spell", "a")) as outcomes:
            await anext(outcomes)
            assert not closed.is_set()

        async with asyncio.timeout(10):
            await closed.wait()


async def test_the_callers_deadline_ends_the_call_and_nothing_else_does(serving: Serve) -> None:
    stuck = Stuck()
    async with serving(stuck.action(), relay_timeout_s=0.5) as served:
        patient = asyncio.ensure_future(served.call("Say", "a"))
        deadline_s = served.clock.monotonic_s() + 5.0
        call = asyncio.ensure_future(served.call("Say", "a", deadline_s=deadline_s))
        stream = asyncio.ensure_future(served.texts("Spell", "a", deadline_s=deadline_s))
        await until(lambda: stuck.running == 3)

        await served.clock.advance(5.0)

        for each in (call, stream):
            with pytest.raises(DeadlineExceeded):
                await each
        assert served.got == ["a"]
        await until(lambda: sorted(stuck.ended) == ["Say", "Spell"])
        assert not patient.done()
        # That a caller is impatient is no fault of the user function.
        assert served.link.reports == []
        patient.cancel()
        await asyncio.wait((patient,))


async def test_a_call_whose_deadline_has_passed_is_not_begun(serving: Serve) -> None:
    async with serving(station()) as served:
        deadline_s = served.clock.monotonic_s()
        with pytest.raises(DeadlineExceeded):
            await served.call("Say", "a", deadline_s=deadline_s)
        with pytest.raises(DeadlineExceeded):
            await served.texts("Echo", "a", deadline_s=deadline_s)

        assert served.link.sent == []


# --- Back-pressure -------------------------------------------------------------------


KILOBYTE = "x" * 1000


async def test_a_caller_that_does_not_read_holds_the_handler_back(serving: Serve) -> None:
    made = 0

    async def spell(asked: Word) -> AsyncIterator[Word]:
        nonlocal made
        while True:
            made += 1
            yield word(KILOBYTE)

    async with (
        serving(station(Spell=spell)) as served,
        aclosing(served.stream("Spell", "a")) as outcomes,
    ):
        await anext(outcomes)

        assert await standstill(lambda: made) < 500
        for _ in range(1_000):
            await anext(outcomes)
        assert made > 1_000


async def test_a_handler_that_does_not_read_holds_the_caller_back(serving: Serve) -> None:
    asked = 0
    go_on = asyncio.Event()

    async def flood():
        nonlocal asked
        while True:
            asked += 1
            yield packed(KILOBYTE)

    async def join(words: AsyncIterator[Word]) -> Word:
        await anext(words)
        await go_on.wait()
        for _ in range(1_000):
            await anext(words)
        return word("enough")

    async with serving(station(Join=join)) as served, aclosing(flood()) as messages:
        call = asyncio.ensure_future(served.texts("Join", messages=messages))

        assert await standstill(lambda: asked) < 500
        go_on.set()
        assert await call == ["enough"]


async def standstill(count) -> int:
    seen, since = -1, 0
    while since < 30 or seen == 0:
        await asyncio.sleep(0.005)
        since = since + 1 if count() == seen else 0
        seen = count()
    return seen


# --- Threads -------------------------------------------------------------------------


async def test_blocking_handlers_run_in_threads(serving: Serve) -> None:
    together = threading.Barrier(3, timeout=10)
    threads: set[str] = set()

    def say(asked: Word, ctx: ActionContext) -> Word:
        together.wait()
        threads.add(threading.current_thread().name)
        return asked

    def spell(asked: Word) -> Iterator[Word]:
        try:
            for letter in asked.text:
                threads.add(threading.current_thread().name)
                yield word(letter)
        finally:
            threads.add("closed")

    action = station()
    for name in ("Say", "Spell"):
        action._methods._methods.pop(name)
    action.unary_handler("Say", blocking=True)(say)
    action.stream_out_handler("Spell", blocking=True)(spell)
    async with serving(action) as served:
        found = await asyncio.gather(*(served.say("Say", str(n)) for n in range(3)))
        assert found == ["0", "1", "2"]
        assert await served.texts("Spell", "abc") == ["a", "b", "c"]
        async with aclosing(served.stream("Spell", "abc")) as outcomes:
            await anext(outcomes)
        await until(lambda: "closed" in threads)
    assert threading.main_thread().name not in threads


# --- Stopping ------------------------------------------------------------------------


async def test_a_stop_waits_for_calls_and_then_cuts_them_off(serving: Serve) -> None:
    stuck, there, stop = Stuck(), asyncio.Event(), asyncio.Event()
    found: list[Served] = []

    async def run() -> None:
        async with serving(stuck.action(), drain_grace_s=3.0) as served:
            found.append(served)
            there.set()
            await stop.wait()

    running = asyncio.create_task(run())
    await there.wait()
    (served,) = found
    calls = calls_of(served)
    await until(lambda: stuck.running == 4)
    stop.set()
    await served.clock.advance(2.9)
    assert not running.done()
    assert not any(call.done() for call in calls.values())

    while not running.done():
        await served.clock.advance(0.1)
        await asyncio.sleep(0.001)

    await until(lambda: all(call.done() for call in calls.values()))
    assert {type(call.exception()) for call in calls.values()} == {Stopping}
    await until(lambda: stuck.running == 0)
