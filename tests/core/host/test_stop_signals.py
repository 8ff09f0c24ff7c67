from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from cloudstate_core.host.stop_signals import StopSignals, drain_unless_cut_off, stop_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_drains_and_the_second_stops(number: signal.Signals) -> None:
    with stop_signals() as signals:
        os.kill(os.getpid(), number)
        await signals.drain.wait()
        assert not signals.now.is_set()

        os.kill(os.getpid(), number)
        await signals.now.wait()


async def test_afterwards_signals_mean_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with stop_signals():
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    async def look() -> None:
        with stop_signals() as signals:
            seen.append((signal.getsignal(signal.SIGTERM), signals.drain.is_set()))

    thread = threading.Thread(target=lambda: asyncio.run(look()))
    thread.start()
    thread.join()

    assert seen == [(before, False)]


async def test_a_drain_that_finishes_is_not_cut_off() -> None:
    graces = []

    async def drain(grace_s: float) -> None:
        graces.append(grace_s)

    await drain_unless_cut_off(drain, 5, StopSignals())

    assert graces == [5]


async def test_the_second_signal_cuts_a_drain_off() -> None:
    graces, cut_off, signals = [], asyncio.Event(), StopSignals()

    async def drain(grace_s: float) -> None:
        graces.append(grace_s)
        if grace_s == 0:
            cut_off.set()
        signals.receive()
        signals.receive()
        await cut_off.wait()

    await drain_unless_cut_off(drain, 5, signals)

    assert graces == [5, 0]
