"""The cases for proxies of value entities: a correct one passes, a mistake fails its cases."""

from __future__ import annotations

import json
from functools import partial

import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.anys import pack_message
from cloudstate_tck.case import Verdict
from cloudstate_tck.examination import Conditions, Examination
from cloudstate_tck.meeting import examining_proxy
from cloudstate_tck.protocol import ENTITY_TYPES
from cloudstate_tck.proxy_client import ProxyClient
from cloudstate_tck.registry import PROXY_PHASES, all_cases, select
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.function import ScriptedFunction
from cloudstate_tck.scripted.proxy_server import serving_proxy
from cloudstate_tck.scripted.value_proxy import ValueFront, ValueProxy
from cloudstate_tck.scripted.value_session import ValueModelSession, value_spec
from cloudstate_tck.value_entity_messages import MODEL, command

ENTITY_CASES = {"VP1", "VP2", "VP3", "VP4", "VP5", "VPX1", "VPX2"}
ALL = {"D1", "R1"} | ENTITY_CASES


async def examine(
    make_proxy=ValueProxy, make_front=ValueFront, *, only=(), without=(), spec=None, patience_s=10.0
):
    cases = select(all_cases(), phases=PROXY_PHASES, kinds=("kv",), only=tuple(only))
    spec = value_spec() if spec is None else spec

    def start_proxy(function: str):
        return serving_proxy(function, make_proxy, make_front)

    async with (
        ScriptedFunction(lambda _first: ValueModelSession(), spec=spec) as function,
        examining_proxy(
            function.address, start_proxy, Conditions(patience_s=patience_s), listen="127.0.0.1:0"
        ) as examination,
    ):
        return {
            case.id: await run_case(case, examination) for case in cases if case.id not in without
        }


async def test_a_correct_proxy_passes_every_case(failed):
    results = await examine()

    assert failed(results) == {}
    assert {id_ for id_, result in results.items() if result.verdict is Verdict.PASSED} == ALL


# --- Negative controls: each breaks one rule ----------------------------------------------


class LeavesTheStateOut(ValueProxy):
    def start(self, service, entity_id, journal):
        messages = super().start(service, entity_id, journal)
        if journal.value is None:
            messages[0].init.ClearField("state")
        return messages


class SendsAnEmptyValue(ValueProxy):
    def start(self, service, entity_id, journal):
        messages = super().start(service, entity_id, journal)
        messages[0].init.state.value.SetInParent()
        return messages


class SendsInitTwice(ValueProxy):
    def start(self, service, entity_id, journal):
        return super().start(service, entity_id, journal) * 2


class SendsMetadata(ValueProxy):
    def command(self, entity_id, activation, name, request):
        message = super().command(entity_id, activation, name, request)
        message.command.metadata.SetInParent()
        return message


class SaysStreamed(ValueProxy):
    def command(self, entity_id, activation, name, request):
        message = super().command(entity_id, activation, name, request)
        message.command.streamed = True
        return message


class NamesTheWholeMethod(ValueProxy):
    def command(self, entity_id, activation, name, request):
        message = super().command(entity_id, activation, name, request)
        message.command.name = f"service/{name}"
        return message


class NamesTypesOtherwise(ValueProxy):
    def command(self, entity_id, activation, name, request):
        message = super().command(entity_id, activation, name, request)
        packed = pack_message(request)
        message.command.payload.CopyFrom(
            Any(type_url="example.com/" + packed.type_url.partition("/")[2], value=packed.value)
        )
        return message


class CountsCommandsFromZero(ValueProxy):
    def command(self, entity_id, activation, name, request):
        activation.command_id += 1
        return command(entity_id, activation.command_id - 1, request, name)


class NeverPassivates(ValueProxy):
    async def idle(self, service, entity_id):
        return


class CancelsStreams(ValueProxy):
    async def passivate(self, service, entity_id):
        activation = self._active.pop((service, entity_id), None)
        if activation is not None:
            activation.cut()


class PassivatesAfterEveryCommand(ValueProxy):
    async def handle(self, service, name, request):
        try:
            return await super().handle(service, name, request)
        finally:
            await self.passivate(service, request.id)


class StartsAgainAfterAFailure(ValueProxy):
    def description(self, failure):
        self.failed = True
        return super().description(failure)

    async def handle(self, service, name, request):
        self.failed = False
        try:
            return await super().handle(service, name, request)
        finally:
            if self.failed:
                await self.restart(service, request.id)


class DropsEffects(ValueProxy):
    async def carry_out(self, effect):
        return


class CarriesEffectsOutTwice(ValueProxy):
    async def carry_out(self, effect):
        await super().carry_out(effect)
        await super().carry_out(effect)


class ChangesDescriptions(ValueProxy):
    def description(self, failure):
        return f"failed: {failure.description}"


class OpensASpareStream(ValueProxy):
    async def activate(self, service, entity_id):
        activation = await super().activate(service, entity_id)
        spare = await super().activate(service, f"{entity_id}-spare")
        self._active.pop((service, f"{entity_id}-spare"))
        await spare.complete()
        return activation


class LosesStateActions(ValueProxy):
    """Starts the entity anew for each command, with nothing stored."""

    def store(self, journal, reply):
        return

    async def handle(self, service, name, request):
        try:
            return await super().handle(service, name, request)
        finally:
            await self.passivate(service, request.id)


class DoesNotSupportValueEntities(ValueProxy):
    def info(self):
        info = super().info()
        info.supported_entity_types.remove(ENTITY_TYPES["kv"])
        return info


WITH_FAILURE = {"VP3", "VP4", "VPX1"}

#: What each mistake must fail, no more and no less.
BROKEN_PROXIES = {
    LeavesTheStateOut: ENTITY_CASES,
    SendsAnEmptyValue: ENTITY_CASES,
    SendsInitTwice: ENTITY_CASES,
    SendsMetadata: ENTITY_CASES,
    SaysStreamed: ENTITY_CASES,
    NamesTheWholeMethod: ENTITY_CASES,
    NamesTypesOtherwise: ENTITY_CASES,
    CountsCommandsFromZero: ENTITY_CASES,
    NeverPassivates: {"VP5"},
    CancelsStreams: {"VP5"},
    PassivatesAfterEveryCommand: ENTITY_CASES - {"VP5"},
    StartsAgainAfterAFailure: WITH_FAILURE,
    DropsEffects: {"VP2"},
    CarriesEffectsOutTwice: {"VP2"},
    ChangesDescriptions: WITH_FAILURE,
    OpensASpareStream: ENTITY_CASES,
    LosesStateActions: ENTITY_CASES - {"VP5"},
    DoesNotSupportValueEntities: {"D1"},
}


@pytest.mark.parametrize("make_proxy", BROKEN_PROXIES, ids=lambda broken: broken.__name__)
async def test_a_mistake_fails_exactly_the_cases_that_look_at_it(assert_fails_exactly, make_proxy):
    await assert_fails_exactly(partial(examine, make_proxy), BROKEN_PROXIES[make_proxy])


class LeavesDefaultsOut(ValueFront):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        if status == 200:
            fields = json.loads(payload)
            payload = json.dumps({k: v for k, v in fields.items() if v}).encode()
        return status, content_type, payload


class SaysBadRequestForFailures(ValueFront):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        return {500: 400}.get(status, status), content_type, payload


class HidesHttpDescriptions(ValueFront):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        return status, content_type, payload if status == 200 else b"internal error"


class HasNoGeneratedRoutes(ValueFront):
    async def post(self, path, body):
        if not path.startswith("/tck/"):
            return 404, "text/plain", b""
        return await super().post(path, body)


@pytest.mark.parametrize(
    "make_front",
    [LeavesDefaultsOut, SaysBadRequestForFailures, HidesHttpDescriptions, HasNoGeneratedRoutes],
    ids=lambda broken: broken.__name__,
)
async def test_a_broken_front_end_fails_exactly_its_case(assert_fails_exactly, make_front):
    await assert_fails_exactly(partial(examine, make_front=make_front), {"VP4"})


async def test_cases_without_their_services_are_pending(failed):
    results = await examine(spec=value_spec(MODEL))

    assert failed(results) == {}
    pending = {id_ for id_, result in results.items() if result.verdict is Verdict.PENDING}
    assert pending == {"VP2", "VP4", "VP5"}


#: What is found of a mistake by whoever sees the client's side alone.
WITHOUT_A_RECORDER = [
    (ValueProxy, set()),
    (SendsMetadata, set()),
    (ChangesDescriptions, WITH_FAILURE),
    (LosesStateActions, {"VP1", "VP2", "VP3", "VP4", "VPX1", "VPX2"}),
]


@pytest.mark.parametrize(("make_proxy", "expected"), WITHOUT_A_RECORDER)
async def test_without_a_recorder_the_client_side_is_examined(failed, make_proxy, expected):
    async with (
        ScriptedFunction(lambda _first: ValueModelSession(), spec=value_spec()) as function,
        serving_proxy(function.address, make_proxy, ValueFront) as address,
        ProxyClient(address.grpc, address.http, patience_s=10.0) as client,
    ):
        examination = Examination(Conditions(patience_s=10.0), function.spec, proxy=client)
        cases = select(all_cases(), phases=PROXY_PHASES, kinds=("kv",))
        results = {case.id: await run_case(case, examination) for case in cases}

    assert failed(results).keys() == expected, failed(results)
