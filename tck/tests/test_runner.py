from __future__ import annotations

import pytest

from cloudstate.entity_pb2 import EntitySpec
from cloudstate_tck.case import Case, Phase, Verdict
from cloudstate_tck.examination import Conditions, Examination
from cloudstate_tck.expectations import Mismatch
from cloudstate_tck.protocol import EVENT_SOURCED
from cloudstate_tck.recorder import Recorder
from cloudstate_tck.runner import run_case


@pytest.fixture
def examination():
    recorder = Recorder(patience_s=0.05)
    return Examination(Conditions(), EntitySpec(), recorder=recorder)


def case(run, *needs: str) -> Case:
    return Case("X1", "it holds", "eventsourced", Phase.PROXY, frozenset(needs), run)


async def test_a_case_that_raises_nothing_passes(examination):
    async def run(examination):
        """Find nothing wrong."""

    result = await run_case(case(run), examination)

    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    assert result.duration_s > 0


async def test_a_mismatch_is_a_failure_with_what_went_over_the_wire(examination):
    async def run(examination):
        examination.recorder.opened(EVENT_SOURCED.path).incoming(b"\xff")
        raise Mismatch("the reply", expected="A", found="B")

    result = await run_case(case(run), examination)

    assert result.verdict is Verdict.FAILED
    assert (result.reason, result.expected, result.found) == ("the reply", "A", "B")
    assert len(result.transcript) == 1


async def test_a_case_that_breaks_is_a_failure_of_its_own(examination):
    async def run(examination):
        raise KeyError("lost")

    result = await run_case(case(run), examination)

    assert result.verdict is Verdict.FAILED
    assert result.found == "KeyError: 'lost'"


async def test_a_case_without_its_services_is_pending_and_not_run(examination):
    async def run(examination):
        raise AssertionError

    result = await run_case(case(run, "b.B", "a.A"), examination)

    assert result.verdict is Verdict.PENDING
    assert result.reason == "the user function does not announce a.A, b.B"


async def test_a_connection_that_nobody_expected_fails_the_case(examination):
    async def run(examination):
        examination.recorder.opened(EVENT_SOURCED.path)

    result = await run_case(case(run), examination)

    assert result.verdict is Verdict.FAILED
    assert result.reason == "connections after the case"


async def test_what_a_failed_case_leaves_behind_does_not_fail_the_next_one(examination):
    async def leave_something(examination):
        examination.recorder.opened(EVENT_SOURCED.path)
        raise Mismatch("this", expected="1", found="2")

    async def find_nothing(examination):
        """Find nothing wrong."""

    await run_case(case(leave_something), examination)
    result = await run_case(case(find_nothing), examination)

    assert result.verdict is Verdict.PASSED


def test_every_entity_id_is_new_and_belongs_to_the_run():
    examination = Examination(Conditions(run_id="r1"), EntitySpec())

    ids = [examination.new_entity_id(), examination.new_entity_id("other")]

    assert ids == ["entity-r1-1", "other-r1-2"]
