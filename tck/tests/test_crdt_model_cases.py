"""The cases for CRDTs: a correct user function passes, a mistake fails its cases."""

from __future__ import annotations

from cloudstate_tck.case import Verdict
from cloudstate_tck.examination import Conditions
from cloudstate_tck.meeting import examining_function
from cloudstate_tck.registry import FUNCTION_PHASES, all_cases, select
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.crdt_session import CrdtModelSession, crdt_spec
from cloudstate_tck.scripted.function import ScriptedFunction

ALL = {"D1", *(f"C{number}" for number in range(1, 83))}


async def examine(
    make_session=CrdtModelSession, *, only=(), without=(), spec=None, patience_s=10.0
):
    cases = select(all_cases(), phases=FUNCTION_PHASES, kinds=("crdt",), only=tuple(only))
    spec = crdt_spec() if spec is None else spec
    async with (
        ScriptedFunction(lambda _first: make_session(), spec=spec) as function,
        examining_function(function.address, Conditions(patience_s=patience_s)) as examination,
    ):
        return {
            case.id: await run_case(case, examination) for case in cases if case.id not in without
        }


async def test_a_correct_user_function_passes_every_case(failed):
    results = await examine()

    assert failed(results) == {}
    assert {id_ for id_, result in results.items() if result.verdict is Verdict.PASSED} == ALL
