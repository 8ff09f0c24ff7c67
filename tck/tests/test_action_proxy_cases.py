"""The cases for proxies of actions: a correct one passes, each mistake is found by its cases."""

from __future__ import annotations

from functools import partial

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_tck.action_messages import MODEL
from cloudstate_tck.case import Verdict
from cloudstate_tck.examination import Conditions, Examination
from cloudstate_tck.meeting import examining_proxy
from cloudstate_tck.protocol import ACTION_STREAMED
from cloudstate_tck.proxy_client import ProxyClient
from cloudstate_tck.registry import PROXY_PHASES, all_cases, select
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.action_function import ActionFunction, serving_actions
from cloudstate_tck.scripted.action_proxy import ActionFront, ActionProxy
from cloudstate_tck.scripted.proxy_server import serving_proxy

ENTITY_CASES = {f"AP{number}" for number in range(1, 10)}
ALL = {"D1", "R1"} | ENTITY_CASES


async def examine(
    make_proxy=ActionProxy, make_front=ActionFront, *, only=(), without=(), patience_s=10.0
):
    cases = select(all_cases(), phases=PROXY_PHASES, kinds=("action",), only=tuple(only))

    def start_proxy(function: str):
        return serving_proxy(function, make_proxy, make_front)

    async with (
        serving_actions() as function,
        examining_proxy(
            function, start_proxy, Conditions(patience_s=patience_s), listen="127.0.0.1:0"
        ) as examination,
    ):
        return {
            case.id: await run_case(case, examination) for case in cases if case.id not in without
        }


class SendsMetadata(ActionProxy):
    def begin(self, service, method):
        command = super().begin(service, method)
        command.metadata.entries.add(key="x", string_value="y")
        return command


@pytest.mark.parametrize("make_proxy", [ActionProxy, SendsMetadata])
async def test_a_correct_proxy_passes_every_case(failed, make_proxy):
    results = await examine(make_proxy)

    assert failed(results) == {}
    assert {id_ for id_, result in results.items() if result.verdict is Verdict.PASSED} == ALL


# --- Negative controls: each breaks one rule ----------------------------------------------


class BeginsWithAPayload(ActionProxy):
    def begin(self, service, method):
        command = super().begin(service, method)
        command.payload.SetInParent()
        return command


class NamesEveryElement(ActionProxy):
    def element(self, payload):
        command = super().element(payload)
        command.service_name, command.name = MODEL, "ProcessStreamed"
        return command


class NamesTheWholeMethod(ActionProxy):
    def begin(self, service, method):
        return super().begin(service, f"/{service}/{method}")


class NamesTypesOtherwise(ActionProxy):
    def element(self, payload):
        return super().element(
            Any(type_url="example.com/" + payload.type_url.partition("/")[2], value=payload.value)
        )


class StreamsEverything(ActionProxy):
    """Uses the streamed method whatever the shape."""

    def rpc(self, method):
        return ACTION_STREAMED if method.startswith("ProcessStreamed") else super().rpc(method)


class ForgetsEffects(ActionProxy):
    async def carry_out(self, effect):
        """Do nothing."""


class CarriesEffectsOutTwice(ActionProxy):
    async def carry_out(self, effect):
        await super().carry_out(effect)
        await super().carry_out(effect)


class AnswersWithNothingInsteadOfForwarding(ActionProxy):
    async def follow(self, forward):
        return [b""]


class MakesAnElementOfSilence(ActionProxy):
    def element_for_silence(self):
        return [b""]


class HidesDescriptions(ActionProxy):
    def description(self, response):
        return "internal error"


class LetsTheFunctionGoOnAfterAFailure(ActionProxy):
    def end_after_failure(self, call):
        """Leave it running."""


BROKEN_PROXIES = {
    BeginsWithAPayload: {"AP2", "AP4", "AP6", "AP8"},
    NamesEveryElement: {"AP2", "AP4", "AP6", "AP8"},
    NamesTheWholeMethod: ENTITY_CASES,
    NamesTypesOtherwise: {"AP2", "AP4", "AP6", "AP8"},
    StreamsEverything: {"AP2", "AP3"},
    ForgetsEffects: {"AP5", "AP6"},
    CarriesEffectsOutTwice: {"AP5", "AP6"},
    AnswersWithNothingInsteadOfForwarding: {"AP5", "AP6"},
    MakesAnElementOfSilence: {"AP6"},
    HidesDescriptions: {"AP7", "AP8", "AP9"},
    LetsTheFunctionGoOnAfterAFailure: {"AP8"},
}


@pytest.mark.parametrize("make_proxy", BROKEN_PROXIES, ids=lambda broken: broken.__name__)
async def test_a_broken_proxy_fails_exactly_its_cases(assert_fails_exactly, make_proxy):
    await assert_fails_exactly(partial(examine, make_proxy), BROKEN_PROXIES[make_proxy])


class SaysBadRequestForFailures(ActionFront):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        return {500: 400}.get(status, status), content_type, payload


class SaysNotJson(ActionFront):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        return status, content_type.replace("json", "octet-stream"), payload


@pytest.mark.parametrize("make_front", [SaysBadRequestForFailures, SaysNotJson])
async def test_a_broken_front_end_fails_exactly_its_case(assert_fails_exactly, make_front):
    await assert_fails_exactly(partial(examine, make_front=make_front), {"AP9"})


@pytest.mark.parametrize(
    ("make_proxy", "expected"),
    [(ActionProxy, set()), (HidesDescriptions, {"AP7", "AP8", "AP9"}), (ForgetsEffects, set())],
)
async def test_without_a_recorder_the_client_side_is_examined(failed, make_proxy, expected):
    async with (
        serving_actions() as function,
        serving_proxy(function, make_proxy, ActionFront) as address,
        ProxyClient(address.grpc, address.http, patience_s=10.0) as client,
    ):
        spec = ActionFunction().spec()
        examination = Examination(Conditions(patience_s=10.0), spec, proxy=client)
        cases = select(all_cases(), phases=PROXY_PHASES, kinds=("action",))
        results = {case.id: await run_case(case, examination) for case in cases}

    assert failed(results).keys() == expected, failed(results)
