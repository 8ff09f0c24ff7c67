"""The cases as pytest tests, for whoever builds a user function, a kind or a proxy.

Needs pytest-asyncio (`pip install 'cloudstate-tck[pytest]'`). A test module says what is examined,
and imports the cases of that side::

    # tests/test_conformance.py
    import pytest_asyncio

    from cloudstate_tck.examination import Conditions
    from cloudstate_tck.meeting import examining_function
    from cloudstate_tck.pytest_cases import test_function_case

    @pytest_asyncio.fixture(scope="module", loop_scope="module")
    async def examination():
        async with start_my_function() as address:
            async with examining_function(address, Conditions()) as examination:
                yield examination

A proxy is examined in the same way with `examining_proxy` and `test_proxy_case`, and with
`examining_hostile_proxy` and `test_hostile_case`. A case whose services the user function does not
announce is skipped.
"""

from __future__ import annotations

import pytest

from cloudstate_tck.case import Case, Phase, Result, Verdict
from cloudstate_tck.examination import Examination
from cloudstate_tck.registry import (
    FUNCTION_PHASES,
    HOSTILE_PHASES,
    PROXY_PHASES,
    all_cases,
    select,
)
from cloudstate_tck.runner import run_case

__all__ = [
    "expect_passed",
    "test_function_case",
    "test_hostile_case",
    "test_proxy_case",
]


def _parametrised(phases: frozenset[Phase]) -> pytest.MarkDecorator:
    cases = select(all_cases(), phases=phases)
    return pytest.mark.parametrize("case", cases, ids=[case.id for case in cases])


def expect_passed(result: Result) -> None:
    """Fail the running test with the reason if a case has failed; skip it if it is pending."""
    title = f"{result.case.id} {result.case.title}: {result.reason}"
    if result.verdict is Verdict.PENDING:
        pytest.skip(title)
    if result.verdict is Verdict.FAILED:
        wire = "\n".join(result.transcript)
        report = f"{title}\nexpected {result.expected}\nfound {result.found}\n{wire}"
        pytest.fail(report, pytrace=False)


@pytest.mark.asyncio(loop_scope="module")
@_parametrised(FUNCTION_PHASES)
async def test_function_case(case: Case, examination: Examination) -> None:
    expect_passed(await run_case(case, examination))


@pytest.mark.asyncio(loop_scope="module")
@_parametrised(PROXY_PHASES)
async def test_proxy_case(case: Case, examination: Examination) -> None:
    expect_passed(await run_case(case, examination))


@pytest.mark.asyncio(loop_scope="module")
@_parametrised(HOSTILE_PHASES)
async def test_hostile_case(case: Case, examination: Examination) -> None:
    expect_passed(await run_case(case, examination))
