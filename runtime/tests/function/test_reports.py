from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from runtime_doubles.engines import settled

from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.function.reports import MAX_BURST, MAX_REPORT_CHARACTERS, Reports


class Link:
    """Takes reports, as fast and as well as the test says."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.before: Callable[[], Awaitable[None]] | None = None

    async def report_error(self, message: str) -> None:
        if self.before is not None:
            await self.before()
        self.delivered.append(message)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def reports(link: Link, clock: ManualClock) -> Reports:
    return Reports("here", link, clock)


def events(logged: list[dict[str, object]], event: str) -> list[dict[str, object]]:
    return [entry for entry in logged if entry["event"] == event]


async def test_a_report_is_logged_and_delivered_without_waiting(
    reports: Reports, link: Link, logged: list[dict[str, object]]
) -> None:
    reports.send("you are wrong")
    assert link.delivered == []
    (entry,) = events(logged, "user_function_at_fault")
    assert (entry["function"], entry["message"]) == ("here", "you are wrong")

    await reports.aclose()
    assert link.delivered == ["you are wrong"]


async def test_a_flood_is_cut_in_the_log_and_on_the_wire_and_counted(
    reports: Reports, link: Link, clock: ManualClock, logged: list[dict[str, object]]
) -> None:
    for _ in range(10_000):
        reports.send("wrong")
    await settled()
    assert len(link.delivered) == len(events(logged, "user_function_at_fault")) == MAX_BURST

    await clock.advance(1.0)
    for _ in range(10_000):
        reports.send("wrong")
    await settled()

    assert len(link.delivered) == MAX_BURST + 10
    (entry,) = events(logged, "reports_left_out")
    assert entry["count"] == 10_000 - MAX_BURST


async def test_after_a_quiet_time_a_burst_passes_again(
    reports: Reports, link: Link, clock: ManualClock
) -> None:
    for _ in range(3):
        for _ in range(2 * MAX_BURST):
            reports.send("wrong")
        await settled()
        await clock.advance(1_000)

    assert len(link.delivered) == 3 * MAX_BURST


async def test_one_who_takes_no_reports_holds_no_more_than_a_burst(
    reports: Reports, link: Link, clock: ManualClock
) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    link.before = never
    for _ in range(5):
        for _ in range(MAX_BURST):
            reports.send("wrong")
        await clock.advance(100)

    assert len(reports._pending) == MAX_BURST
    closing = asyncio.create_task(reports.aclose())
    await clock.advance(1.0)
    await closing
    assert (link.delivered, len(reports._pending)) == ([], 0)


async def test_a_long_report_is_cut(reports: Reports, link: Link) -> None:
    reports.send("x" * 1_000_000)
    await reports.aclose()

    (delivered,) = link.delivered
    assert len(delivered) == MAX_REPORT_CHARACTERS
    assert delivered.endswith("x…")


async def test_half_a_character_does_not_hinder_a_report(reports: Reports, link: Link) -> None:
    reports.send("wrong: \ud800")
    await reports.aclose()

    assert link.delivered == ["wrong: ?"]


async def test_a_link_that_raises_is_logged(
    reports: Reports, link: Link, logged: list[dict[str, object]]
) -> None:
    async def fail() -> None:
        raise RuntimeError("a bad link")

    link.before = fail
    reports.send("wrong")
    await reports.aclose()

    assert len(events(logged, "report_not_delivered")) == 1


async def test_closing_without_reports_waits_for_nothing(
    reports: Reports, clock: ManualClock
) -> None:
    await reports.aclose()

    assert clock._set_so_far == 0
