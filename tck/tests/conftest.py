"""Runs the cases against sides that are made for the test."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cloudstate_tck.case import Result, Verdict
from cloudstate_tck.examination import Conditions, Examination
from cloudstate_tck.meeting import examining_function, examining_hostile_proxy, examining_proxy
from cloudstate_tck.registry import FUNCTION_PHASES, HOSTILE_PHASES, PROXY_PHASES, all_cases, select
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.function import ScriptedFunction
from cloudstate_tck.scripted.proxy import ScriptedProxy
from cloudstate_tck.scripted.proxy_server import Front, serving_proxy
from cloudstate_tck.scripted.session import ModelSession

sys.path.append(str(Path(__file__).parent))

#: For what must come: the machine may be busy.
PATIENT_S = 10.0

#: For what never comes.
IMPATIENT_S = 0.3

#: What the scripted sides of these tests know.
KINDS = ("eventsourced",)

Results = dict[str, Result]


def conditions(patience_s: float) -> Conditions:
    return Conditions(patience_s=patience_s, startup_timeout_s=PATIENT_S, relay_timeout_s=0.5)


async def _run(examination: Examination, phases, only, without) -> Results:
    cases = [
        case
        for case in select(all_cases(), phases=phases, kinds=KINDS, only=tuple(only))
        if case.id not in without
    ]
    return {case.id: await run_case(case, examination) for case in cases}


def _always(make_session):
    def open_session(first):
        return make_session()

    return open_session


@pytest.fixture
def examine_function() -> Callable[..., Awaitable[Results]]:
    async def examine(
        make_session=ModelSession, *, only=(), without=(), spec=None, patience_s=PATIENT_S
    ) -> Results:
        async with (
            ScriptedFunction(_always(make_session), spec=spec) as function,
            examining_function(function.address, conditions(patience_s)) as examination,
        ):
            return await _run(examination, FUNCTION_PHASES, only, without)

    return examine


@pytest.fixture
def examine_proxy() -> Callable[..., Awaitable[Results]]:
    async def examine(
        make_proxy=ScriptedProxy,
        make_front=Front,
        *,
        make_session=ModelSession,
        only=(),
        without=(),
        spec=None,
        patience_s=PATIENT_S,
    ) -> Results:
        def start_proxy(function: str):
            return serving_proxy(function, make_proxy, make_front)

        async with (
            ScriptedFunction(_always(make_session), spec=spec) as function,
            examining_proxy(
                function.address, start_proxy, conditions(patience_s), listen="127.0.0.1:0"
            ) as examination,
        ):
            return await _run(examination, PROXY_PHASES, only, without)

    return examine


@pytest.fixture
def examine_with_hostile_function() -> Callable[..., Awaitable[Results]]:
    async def examine(
        make_proxy=ScriptedProxy, *, only=(), without=(), patience_s=PATIENT_S
    ) -> Results:
        def start_proxy(function: str):
            return serving_proxy(function, make_proxy, Front)

        async with examining_hostile_proxy(
            start_proxy, conditions(patience_s), listen="127.0.0.1:0"
        ) as examination:
            return await _run(examination, HOSTILE_PHASES, only, without)

    return examine


def failures(results: Results) -> dict[str, str]:
    return {
        id_: f"{result.reason}: expected {result.expected}, found {result.found}"
        for id_, result in results.items()
        if result.verdict is Verdict.FAILED
    }


@pytest.fixture
def failed() -> Callable[[Results], dict[str, str]]:
    """Return what failed, with the reasons."""
    return failures


@pytest.fixture
def assert_fails_exactly() -> Callable[..., Awaitable[None]]:
    """Run all cases twice: patiently those that must pass, impatiently those that must fail."""

    async def check(examine, expected: set[str]) -> None:
        assert failures(await examine(without=expected)) == {}
        wrong = await examine(only=expected, patience_s=IMPATIENT_S)
        assert wrong.keys() == expected
        assert failures(wrong).keys() == expected

    return check
