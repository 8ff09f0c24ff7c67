from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any
from kinds_of_values import item
from structlog.testing import capture_logs

from cloudstate_core.testing import ManualClock
from cloudstate_crdt import GCounter, Lattice, LWWRegister, ORMap, Replica, standard_types
from cloudstate_crdt.clock_watch import ClockWatch
from cloudstate_crdt.types.lwwregister import Clock

TYPES = standard_types()
OTHER = Replica("other", 1)


class Watched:
    """A watch whose reports can be counted."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._watch = ClockWatch(self.clock)

    def written(self, ahead_s: float, clock: Clock, register: LWWRegister | None = None) -> Lattice:
        """Return what a node writes whose own clock is ahead."""
        now_ms = round((self.clock.unix_time_s() + ahead_s) * 1000)
        return (register or LWWRegister()).set(OTHER, Any(), now=now_ms, clock=clock)

    def reports(self, *changes: Lattice) -> list[float]:
        """Return by how many seconds each reported write was ahead."""
        with capture_logs() as logs:
            for change in changes:
                self._watch.look_at("e", change)
        assert {each["event"] for each in logs} <= {"register_written_in_the_future"}
        return [each["ahead_s"] for each in logs]


@pytest.mark.parametrize("clock", [Clock.DEFAULT, Clock.REVERSE])
def test_a_write_more_than_a_minute_ahead_is_reported_with_either_clock(clock: Clock) -> None:
    watched = Watched()

    assert watched.reports(watched.written(-3600, clock), watched.written(59, clock)) == []
    assert watched.reports(watched.written(61, clock)) == pytest.approx([61])


async def test_a_report_is_made_once_in_a_while_for_both_clocks_together() -> None:
    watched = Watched()
    ahead = [watched.written(90, clock) for clock in (Clock.REVERSE, Clock.DEFAULT, Clock.REVERSE)]

    assert len(watched.reports(*ahead)) == 1
    await watched.clock.advance(59)
    assert watched.reports(watched.written(90, Clock.REVERSE)) == []
    await watched.clock.advance(1)
    assert len(watched.reports(watched.written(90, Clock.REVERSE))) == 1


def test_what_the_reverse_clock_dates_below_the_present_write_is_none() -> None:
    watched = Watched()
    register = LWWRegister()
    watched.written(0, Clock.REVERSE, register)

    assert watched.reports(watched.written(3600, Clock.REVERSE, register)) == []


@pytest.mark.parametrize("chosen", [0, 7, -7, 20260401, -20260401, 10**14, -(10**14), -(2**63)])
def test_a_number_that_is_no_time_is_not_reported(chosen: int) -> None:
    watched = Watched()
    register = LWWRegister().set(OTHER, Any(), now=chosen, clock=Clock.CUSTOM)

    assert watched.reports(register) == []


def test_registers_in_a_map_are_each_looked_at() -> None:
    watched = Watched()
    now_ms = round(watched.clock.unix_time_s() * 1000)

    def changed(**timestamps: int) -> Lattice:
        state = ORMap.bottom(TYPES)
        state.update(OTHER, item("n"), GCounter, lambda count, me: count.increment(me, 10**13))
        for key, timestamp in timestamps.items():
            state.update(
                OTHER,
                item(key),
                LWWRegister,
                lambda value, me, now=timestamp: value.set(me, Any(), now=now, clock=Clock.CUSTOM),
            )
        return state

    assert watched.reports(changed(a=now_ms, b=-now_ms, c=10**15)) == []
    assert watched.reports(changed(a=now_ms, b=-now_ms - 70_000, c=10**15)) == [70]
