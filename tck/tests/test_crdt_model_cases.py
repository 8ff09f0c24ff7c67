"""The cases for CRDTs: a correct user function passes, a mistake fails its cases."""

from __future__ import annotations

from functools import partial

import broken_crdt_functions as broken
import broken_crdt_types as broken_types
import pytest

from cloudstate_tck.case import Verdict
from cloudstate_tck.crdt_messages import MODEL, TWO
from cloudstate_tck.examination import Conditions
from cloudstate_tck.meeting import examining_function
from cloudstate_tck.registry import FUNCTION_PHASES, all_cases, select
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.crdt_session import CrdtModelSession, crdt_spec
from cloudstate_tck.scripted.function import ScriptedFunction

ALL = {"D1", *(f"C{number}" for number in range(1, 83)), *(f"CX{n}" for n in range(1, 20))}


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


async def examine_type(make_session, *, without=(), **how):
    """Leave out the cases of all other types, which such a user function gets right."""
    type_ = make_session.value_type.__name__
    others = {
        case.id
        for case in all_cases()
        if case.kind == "crdt" and ": " in case.title and not case.title.startswith(f"{type_}: ")
    }
    return await examine(make_session, without={*without, *others}, **how)


async def test_a_correct_user_function_passes_every_case(failed):
    results = await examine()

    assert failed(results) == {}
    assert {id_ for id_, result in results.items() if result.verdict is Verdict.PASSED} == ALL


def of_types(*numbers: int) -> set[str]:
    """Return the cases of all types that have these numbers among the eight of a type."""
    firsts = [3, 11, 19, 27, 35, 44, 52, 60]
    # LWWRegister has one more, in front of its sixth.
    return {
        f"C{first + number - 1 + (first == 35 and number > 5)}"
        for first in firsts
        for number in numbers
    }


NEW, CHANGES, STARTED, CREATED, MIXED, BACK, DELETES, DELETED = (of_types(n) for n in range(1, 9))
STREAMED = {*(f"C{number}" for number in range(77, 82)), *(f"CX{n}" for n in range(2, 7)), "CX19"}
WITH_ANSWERS = ALL - {"D1", "C1", "C2"} - DELETED - {f"CX{number}" for number in range(7, 18)}
FAULTS = {f"CX{number}" for number in range(7, 18)}
OF_A_COMMAND = {"CX12", "CX13", "CX14", "CX15"}
UNCHANGED_STATE = (
    (NEW - {"C35"})
    | {"C20", "C28", "C61", "C37", "C54", "C62", "C46", "C38", "C55", "C63", "C47"}
    | (MIXED - {"C56"})
    | BACK
    | {"C68", "C70", "C71", "C73", "C76", *STREAMED, "CX1", "CX18"}
)
WITH_A_DELTA = (
    CHANGES
    | (STARTED - {"C37", "C46"})
    | (CREATED - {"C38", "C47", "C55"})
    | MIXED
    | BACK
    | DELETES
    | {"C35", "C40", "C68", "C69", "C70", "C72", "C74", "C76", "C77", "C78", "C79", "C80", "C81"}
    | {"C82", "CX1", "CX3", "CX4", "CX19"}
)
VOTED = {"C61", "C62", "C63", "C64", "C65", "C66"}
REPLICATED = CREATED | MIXED | (BACK - {"C49"}) | {"CX1", "CX2"}

#: What each mistake must fail, no more and no less.
BROKEN = {
    broken.StateIgnoredAtStart: STARTED | BACK,
    broken.DeltasIgnored: REPLICATED,
    broken.DeltasSentBack: REPLICATED,
    broken.NeverSendsADelta: WITH_A_DELTA | {"CX18"},
    broken.SendsAnEmptyStateAction: UNCHANGED_STATE | {"C75"},
    broken.SendsTheStateUnchanged: UNCHANGED_STATE,
    broken.NeverDeletes: DELETES,
    broken.DeletesBeforeItReplies: DELETES,
    broken.AnswersADeletion: DELETED | {"CX6"},
    broken.FailsOnADeletion: DELETED | {"CX6"},
    broken.WrongCommandId: WITH_ANSWERS,
    broken.MetadataWithTheReply: WITH_ANSWERS - {"C69", "C72", "C75"},
    broken.EndsWithAnError: WITH_ANSWERS | DELETED,
    broken.SaysGoodbye: WITH_ANSWERS | DELETED,
    broken_types.SendsElementsThatWereThere: {"C20", "C21", "C23"},
    broken_types.SendsElementsThatWereThereToo: {"C28", "C31"},
    broken_types.SendsRemovalsOfNothing: {"C28", "C31"},
    broken_types.RemovesAndAddsInVain: {"C28"},
    broken_types.ClearsNothingThatIsEmpty: {"C28"},
    broken_types.ClearsOneByOne: {"C28", "C31"},
    broken_types.RemembersAdditionsBeforeAClear: {"C28"},
    broken_types.ClearsAfterItAdds: {"C31", "C32"},
    broken_types.KeepsTheFirstValueToItself: {"C35", "C72"},
    broken_types.SendsTheFirstValueLater: {"C37", "C38", "C41"},
    broken_types.ForgetsClocks: {"C40"},
    broken_types.ForgetsClockValues: {"C40"},
    broken_types.SendsNothingForTheSameValue: {"C40"},
    broken_types.TurnsOff: {"C48"},
    broken_types.TurnsOnTwice: {"C48"},
    broken_types.SendsEveryVote: {"C61"},
    broken_types.CountsForOthers: VOTED,
    broken_types.DoesNotCountItself: VOTED,
    broken_types.BeginsWithoutAVoter: {"C60", "C61", "C65", "C66"},
    broken_types.MergesWhatIsAdded: {"C56"},
    broken_types.AddsWhatIsUpdated: {"C53", "C54", "C56", "C57"},
    broken_types.SendsNothingForNewZeros: {"C53", "C56", "C74"},
    broken_types.SendsRemovalsOfWhatWasAdded: {"C53", "C56"},
    broken_types.KeepsWhatIsRemovedElsewhere: {"C56"},
    broken.EffectsAlwaysAsynchronous: {"C71"},
    broken.EffectsReversed: {"C73", "C74"},
    broken.EffectsLostWithAForward: {"C72"},
    broken.ChangeLostWithAForward: {"C69", "C72"},
    broken.AsksForARestart: {"C75", "C76"},
    broken.TopLevelFailure: {"C75", "C76"},
    broken.AlwaysLocal: {"C82"},
    broken.AlwaysMajority: WITH_A_DELTA,
    broken.DoesNotSayStreamed: STREAMED,
    broken.AlwaysSaysStreamed: WITH_ANSWERS - {"CX4", "CX5", "CX6"},
    broken.PushesBeforeItReplies: {"C77", "C78", "C79", "C81", "CX3", "CX4", "CX19"},
    broken.PushesItsOwnChange: {"CX4"},
    broken.PushesNothing: {"C77", "C78", "C79", "C81", "CX2", "CX3", "CX4", "CX19"},
    broken.PushesNothingFromElsewhere: {"CX2"},
    broken.PushesToOneAlone: {"CX3"},
    broken.PushesAfterNoChange: {"CX3"},
    broken.EndsStreamsInSilence: {"C78", "CX2", "CX19"},
    broken.NeverEndsStreams: {"C78", "CX2", "CX19"},
    broken.EffectsWithTheFirstReply: {"C81"},
    broken.PushesWithoutEffects: {"C81"},
    broken.RepliesWhereNothingIsWanted: {"C80", "CX3", "CX4"},
    broken.DoesNotAnswerCancellations: {"C79", "C80", "CX3", "CX4", "CX5"},
    broken.AnswersCancellationsWithAChangeAlone: {"CX3", "CX5"},
    broken.ForgetsWhatALeaverChanges: {"C79", "C80", "CX4"},
    broken.KeepsLeavers: {"C79", "CX3"},
    broken.TellsNobodyOfALeaver: {"CX4"},
    broken.FailsLateCancellations: {"CX19"},
    broken.ChangesTheStateOnLateCancellations: {"CX19"},
    broken.AnswersCancellationsTwice: {"C79", "C80", "CX3", "CX4", "CX5"},
    broken.BreaksTheStreamOnAFault: FAULTS,
    broken.FailsWithoutEnding: OF_A_COMMAND,
    broken.FailsEveryFaultForNoCommand: OF_A_COMMAND,
    broken.AnswersCommandsForOthers: {"CX12"},
    broken.IgnoresDeltasOfOtherTypes: {"CX16", "CX17"},
    broken.OneStateForAll: {"CX1"},
}


@pytest.mark.parametrize("make_session", BROKEN, ids=lambda mistake: mistake.__name__)
async def test_a_mistake_fails_exactly_the_cases_that_look_at_it(
    assert_fails_exactly, make_session
):
    is_one_type = issubclass(make_session, broken_types.WithType)
    how = partial(examine_type if is_one_type else examine, make_session)

    await assert_fails_exactly(how, BROKEN[make_session])


async def test_a_case_without_its_services_is_pending(failed):
    results = await examine(spec=crdt_spec(TWO))

    assert failed(results) == {}
    pending = {id_ for id_, result in results.items() if result.verdict is Verdict.PENDING}
    assert pending == ALL - {"D1"}
    assert results["C3"].reason == f"the user function does not announce {MODEL}"


@pytest.mark.parametrize(
    ("change", "case"),
    [
        (lambda spec: setattr(spec.entities[0], "entity_type", "cloudstate.valueentity.X"), "C1"),
        (lambda spec: setattr(spec.entities[1], "entity_type", "cloudstate.valueentity.X"), "C1"),
        (lambda spec: setattr(spec.entities[2], "entity_type", "cloudstate.valueentity.X"), "C2"),
        (lambda spec: spec.entities[2].ClearField("passivation_strategy"), "C2"),
    ],
)
async def test_a_wrong_announcement_fails_its_case(failed, change, case):
    spec = crdt_spec()
    change(spec)

    results = await examine(spec=spec, only=("C1", "C2"))

    assert failed(results).keys() == {case}
