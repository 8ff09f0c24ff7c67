"""The cases for actions: a correct user function passes, and each mistake is found by its cases."""

from __future__ import annotations

from functools import partial

import pytest

from cloudstate_core.anys import pack_message
from cloudstate_tck.action_messages import MODEL, TWO
from cloudstate_tck.case import Verdict
from cloudstate_tck.examination import Conditions
from cloudstate_tck.meeting import examining_function
from cloudstate_tck.model.action_pb2 import Request
from cloudstate_tck.registry import FUNCTION_PHASES, all_cases, select
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.action_function import ActionFunction, serving_actions

ALL = {"D1", *(f"A{number}" for number in range(1, 35)), "AX1", "AX2"}


async def examine(make_function=ActionFunction, *, only=(), without=(), patience_s=10.0):
    cases = select(all_cases(), phases=FUNCTION_PHASES, kinds=("action",), only=tuple(only))
    async with (
        serving_actions(make_function) as function,
        examining_function(function, Conditions(patience_s=patience_s)) as examination,
    ):
        return {
            case.id: await run_case(case, examination) for case in cases if case.id not in without
        }


async def test_a_correct_user_function_passes_every_case(failed):
    results = await examine()

    assert failed(results) == {}
    assert {id_ for id_, result in results.items() if result.verdict is Verdict.PASSED} == ALL


# --- Negative controls: each breaks one rule ----------------------------------------------


def cases(*numbers: int) -> set[str]:
    return {f"A{number}" for number in numbers}


STREAMS = range(27, 35)
UNARY_WITH_EFFECTS = {n for n in range(2, 18) if (n - 2) % 4}
IN_WITH_EFFECTS = {19, 22, 24, 26}
WITH_EFFECTS = cases(*UNARY_WITH_EFFECTS, *IN_WITH_EFFECTS, *STREAMS)


class Announces(ActionFunction):
    def __init__(self, change) -> None:
        self.change = change

    def spec(self):
        spec = super().spec()
        self.change(spec)
        return spec


def another_entity_type(spec):
    spec.entities[0].entity_type = "cloudstate.function.StatelessFunction"


class DropsEffects(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        del response.side_effects[:]
        return response


class DropsEffectsOfFailures(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        if response.HasField("failure"):
            del response.side_effects[:]
        return response


class DropsEffectsOfSilence(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        if response.WhichOneof("response") is None:
            del response.side_effects[:]
        return response


class ReversesEffects(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        effects = list(reversed(response.side_effects))
        del response.side_effects[:]
        response.side_effects.extend(effects)
        return response


class EffectsAlwaysAsynchronous(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        for effect in response.side_effects:
            effect.synchronous = False
        return response


class KeepsTheLastGroupOnly(ActionFunction):
    """Forgets what the groups before have said and asked for."""

    def response(self, groups):
        return super().response(list(groups)[-1:])


class RepliesWithEmptyMetadata(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        if response.HasField("reply"):
            response.reply.metadata.SetInParent()
        return response


class ForwardsWithEmptyMetadata(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        if response.HasField("forward"):
            response.forward.metadata.SetInParent()
        return response


class EffectsWithEmptyMetadata(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        for effect in response.side_effects:
            effect.metadata.SetInParent()
        return response


class RepliesInsteadOfSilence(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        if response.WhichOneof("response") is None:
            response.reply.SetInParent()
        return response


class NumbersFailures(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        if response.HasField("failure"):
            response.failure.command_id = 1
        return response


class WrapsFailures(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        if response.HasField("failure"):
            response.failure.description = f"failed: {response.failure.description}"
        return response


class ForwardsToTheWrongService(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        if response.HasField("forward"):
            response.forward.service_name = MODEL
        return response


class ForwardsTheWrongMessage(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        if response.HasField("forward"):
            response.forward.payload.CopyFrom(pack_message(Request()))
        return response


class PacksWithoutATypeUrl(ActionFunction):
    def response(self, groups):
        response = super().response(groups)
        if response.HasField("reply"):
            response.reply.payload.type_url = ""
        return response


class LeavesSilenceOutOfStreams(ActionFunction):
    def responses(self, request):
        found = super().responses(request)
        return [each for each in found if each.WhichOneof("response") is not None]


class EndsStreamsWithFailures(ActionFunction):
    def is_over(self, response):
        return response.HasField("failure")


class OneResponseForARequest(ActionFunction):
    def responses(self, request):
        return [self.response(request.groups)]


class RepliesToUnknownServices(ActionFunction):
    def violation(self, reason):
        return self.response(()) if "unknown" in reason else super().violation(reason)


class SaysNothingToEmptyStreams(ActionFunction):
    def violation(self, reason):
        return self.response(()) if "first" in reason else super().violation(reason)


BROKEN = {
    partial(Announces, another_entity_type): {"A1"},
    DropsEffects: WITH_EFFECTS,
    DropsEffectsOfFailures: cases(15, 16, 17, 26, 30, 34),
    DropsEffectsOfSilence: cases(7, 8, 9, 22, 28, 32),
    ReversesEffects: cases(5, 9, 13, 17, *IN_WITH_EFFECTS, *STREAMS),
    EffectsAlwaysAsynchronous: cases(4, 8, 12, 16, *IN_WITH_EFFECTS, *STREAMS),
    KeepsTheLastGroupOnly: cases(*IN_WITH_EFFECTS),
    RepliesWithEmptyMetadata: cases(2, 3, 4, 5, 18, 19, 27, 31),
    ForwardsWithEmptyMetadata: cases(10, 11, 12, 13, 23, 24, 29, 33),
    EffectsWithEmptyMetadata: WITH_EFFECTS,
    RepliesInsteadOfSilence: cases(6, 7, 8, 9, 20, 21, 22, 28, 32),
    NumbersFailures: cases(14, 15, 16, 17, 25, 26, 30, 34),
    WrapsFailures: cases(14, 15, 16, 17, 25, 26, 30, 34),
    ForwardsToTheWrongService: cases(10, 11, 12, 13, 23, 24, 29, 33),
    ForwardsTheWrongMessage: cases(10, 11, 12, 13, 23, 24, 29, 33),
    PacksWithoutATypeUrl: cases(2, 3, 4, 5, 18, 19, 27, 31),
    LeavesSilenceOutOfStreams: cases(28, 32),
    EndsStreamsWithFailures: cases(30, 34),
    OneResponseForARequest: cases(27, 28, 29, 30, 31, 32, 33, 34),
    RepliesToUnknownServices: {"AX1"},
    SaysNothingToEmptyStreams: {"AX2"},
}


@pytest.mark.parametrize(
    "make_function", BROKEN, ids=lambda broken: getattr(broken, "__name__", "AnnouncesAnother")
)
async def test_a_broken_user_function_fails_exactly_its_cases(assert_fails_exactly, make_function):
    await assert_fails_exactly(partial(examine, make_function), BROKEN[make_function])


async def test_without_the_second_service_only_its_case_is_pending(failed):
    def leave_out(spec):
        del spec.entities[1]

    results = await examine(partial(Announces, leave_out))

    assert failed(results) == {}
    pending = {id_ for id_, result in results.items() if result.verdict is Verdict.PENDING}
    assert pending == {"A1"}
    assert TWO in results["A1"].reason
