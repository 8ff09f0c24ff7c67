"""Runs the cases against sides that are made for the test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from cloudstate_tck.case import Phase, Result, Verdict
from cloudstate_tck.examination import Conditions, Examination
from cloudstate_tck.meeting import examining_function, examining_hostile_proxy, examining_proxy
from cloudstate_tck.registry import FUNCTION_PHASES, HOSTILE_PHASES, PROXY_PHASES, all_cases, select
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.function import ScriptedFunction
from cloudstate_tck.scripted.proxy import ScriptedProxy
from cloudstate_tck.scripted.proxy_server import Front, serving_proxy
from cloudstate_tck.scripted.session import ModelSession

#: Both sides are in this process: what has not come by then does not come.
CONDITIONS = Conditions(patience_s=0.25, startup_timeout_s=5.0, relay_timeout_s=0.5)

Results = dict[str, Result]


async def _run(examination: Examination, phases: frozenset[Phase], only: tuple[str, ...]):
    cases = select(all_cases(), phases=phases, only=only)
    return {case.id: await run_case(case, examination) for case in cases}


def _always(make_session):
    def open_session(first):
        return make_session()

    return open_session


@pytest.fixture
def examine_function() -> Callable[..., Awaitable[Results]]:
    async def examine(make_session=ModelSession, *, only=(), spec=None) -> Results:
        async with (
            ScriptedFunction(_always(make_session), spec=spec) as function,
            examining_function(function.address, CONDITIONS) as examination,
        ):
            return await _run(examination, FUNCTION_PHASES, only)

    return examine


@pytest.fixture
def examine_proxy() -> Callable[..., Awaitable[Results]]:
    async def examine(
        make_proxy=ScriptedProxy, make_front=Front, *, make_session=ModelSession, only=(), spec=None
    ) -> Results:
        def start_proxy(function: str):
            return serving_proxy(function, make_proxy, make_front)

        async with (
            ScriptedFunction(_always(make_session), spec=spec) as function,
            examining_proxy(
                function.address, start_proxy, CONDITIONS, listen="127.0.0.1:0"
            ) as examination,
        ):
            return await _run(examination, PROXY_PHASES, only)

    return examine


@pytest.fixture
def examine_with_hostile_function() -> Callable[..., Awaitable[Results]]:
    async def examine(make_proxy=ScriptedProxy, *, only=()) -> Results:
        def start_proxy(function: str):
            return serving_proxy(function, make_proxy)

        async with examining_hostile_proxy(
            start_proxy, CONDITIONS, listen="127.0.0.1:0"
        ) as examination:
            return await _run(examination, HOSTILE_PHASES, only)

    return examine


@pytest.fixture
def failed() -> Callable[[Results], dict[str, str]]:
    """Return what failed, with the reasons."""

    def failures(results: Results) -> dict[str, str]:
        return {
            id_: f"{result.reason}: expected {result.expected}, found {result.found}"
            for id_, result in results.items()
            if result.verdict is Verdict.FAILED
        }

    return failures
