from __future__ import annotations

import pytest

from cloudstate_tck.case import Case, Phase, Result, Verdict
from cloudstate_tck.pytest_cases import expect_passed


async def run(examination):
    """Examine nothing."""


CASE = Case("E1", "it holds", "eventsourced", Phase.MODEL, frozenset(), run)


def test_a_passed_case_passes():
    expect_passed(Result(CASE, Verdict.PASSED))


def test_a_pending_case_is_skipped_with_its_reason():
    with pytest.raises(pytest.skip.Exception, match="E1 it holds: no such service"):
        expect_passed(Result(CASE, Verdict.PENDING, reason="no such service"))


def test_a_failed_case_fails_with_what_differs_and_what_went_over_the_wire():
    result = Result(
        CASE,
        Verdict.FAILED,
        reason="the reply",
        expected="A",
        found="B",
        transcript=("proxy → x",),
    )

    with pytest.raises(pytest.fail.Exception) as caught:
        expect_passed(result)

    assert str(caught.value) == "E1 it holds: the reply\nexpected A\nfound B\nproxy → x"
