"""A region keeps nothing of the entities that left."""

from __future__ import annotations

import gc
import tracemalloc

from runtime_doubles.engines import ORDERS, order

from cloudstate_core.instrument import Instrument
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.activation.activation import Activation
from cloudstate_runtime.activation.grace import Grace
from cloudstate_runtime.activation.region import Region, open_region

CYCLES = 50_000
WARM_UP = 2_000

#: 5 MB for 100,000 cycles is the promise; nothing that grows is the aim.
MAX_GROWTH_BYTES = 256 * 1024


class ForgetfulEngine:
    """Answers, and is noted nowhere."""

    async def open(self) -> None: ...

    async def handle(self, request):
        return ANSWER

    def fault(self) -> None: ...

    async def aclose(self) -> None: ...


ANSWER = type("Answer", (), {"restart": False})()


def live(kind: type) -> int:
    gc.collect()
    return sum(isinstance(each, kind) for each in gc.get_objects())


async def test_fifty_thousand_activations_and_passivations_leave_nothing_behind() -> None:
    clock, kept = ManualClock(), (live(Activation), live(ForgetfulEngine))
    region = Region(
        ORDERS,
        lambda _: ForgetfulEngine(),
        print,
        MemoryStore(clock),
        clock,
        Instrument(),
        passes_metadata=False,
        passivation_timeout_s=30.0,
        max_waiting_commands=10,
        max_active_entities=50,
    )
    async with open_region(region, Grace(clock, 1.0)):

        async def cycle(first: int, last: int) -> None:
            # More ids than there is room for: each command brings one in and sends one away.
            for number in range(first, last):
                await region.handle(order(f"entity-{number}"))

        await cycle(0, WARM_UP)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await cycle(WARM_UP, WARM_UP + CYCLES)
        await clock.advance(30.0)
        gc.collect()
        growth = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()

        assert (len(region._live), len(region._idle), len(region._retiring)) == (0, 0, 0)
        assert (live(Activation), live(ForgetfulEngine)) == kept
        assert growth < MAX_GROWTH_BYTES, f"{growth} bytes"
        print(f"PROMISE P11 activation_growth_bytes={growth} target={MAX_GROWTH_BYTES} ok")


async def test_the_count_finds_what_is_kept() -> None:
    before = live(Activation), live(ForgetfulEngine)
    kept = [Activation("a", object()), ForgetfulEngine()]

    assert (live(Activation), live(ForgetfulEngine)) == (before[0] + 1, before[1] + 1)
    assert len(kept) == 2
