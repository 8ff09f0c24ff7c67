"""The cases for proxies of CRDTs: a correct one passes, a mistake fails its cases."""

from __future__ import annotations

import json
from functools import partial

import pytest

from cloudstate_tck.case import Verdict
from cloudstate_tck.crdt_messages import MODEL, cancel, deleted, replicated
from cloudstate_tck.examination import Conditions, Examination
from cloudstate_tck.meeting import examining_proxy
from cloudstate_tck.protocol import ENTITY_TYPES
from cloudstate_tck.proxy_client import ProxyClient
from cloudstate_tck.registry import PROXY_PHASES, all_cases, select
from cloudstate_tck.runner import run_case
from cloudstate_tck.scripted.crdt_proxy import CrdtFront, CrdtProxy
from cloudstate_tck.scripted.crdt_session import CrdtModelSession, crdt_spec
from cloudstate_tck.scripted.function import ScriptedFunction
from cloudstate_tck.scripted.proxy_server import serving_proxy

ENTITY_CASES = {*(f"CP{number}" for number in range(1, 7)), "CPX1", "CPX2", "CPX3"}
ALL = {"D1", "R1"} | ENTITY_CASES


async def examine(
    make_proxy=CrdtProxy, make_front=CrdtFront, *, only=(), without=(), spec=None, patience_s=10.0
):
    cases = select(all_cases(), phases=PROXY_PHASES, kinds=("crdt",), only=tuple(only))
    spec = crdt_spec() if spec is None else spec

    def start_proxy(function: str):
        return serving_proxy(function, make_proxy, make_front)

    async with (
        ScriptedFunction(lambda _first: CrdtModelSession(), spec=spec) as function,
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


class SendsAnEmptyState(CrdtProxy):
    def start(self, key):
        messages = super().start(key)
        messages[0].init.delta.SetInParent()
        return messages


class SendsInitTwice(CrdtProxy):
    def start(self, key):
        return super().start(key) * 2


class TellsEntitiesOfTheirOwnChanges(CrdtProxy):
    async def updated(self, key, delta):
        await super().updated(key, delta)
        await self._active[key].send(replicated(delta))


class ChangedCommand(CrdtProxy):
    def command(self, key, activation, name, payload):
        message = super().command(key, activation, name, payload)
        self.change(message.command)
        return message


class SendsMetadata(ChangedCommand):
    def change(self, sent):
        sent.metadata.SetInParent()


class NeverSaysStreamed(ChangedCommand):
    def change(self, sent):
        sent.streamed = False


class AlwaysSaysStreamed(ChangedCommand):
    def change(self, sent):
        sent.streamed = True


class NamesTheWholeMethod(ChangedCommand):
    def change(self, sent):
        sent.name = f"service/{sent.name}"


class CountsCommandsFromTwo(CrdtProxy):
    def command(self, key, activation, name, payload):
        activation.command_id = max(activation.command_id, 1)
        return super().command(key, activation, name, payload)


class NeverPassivates(CrdtProxy):
    async def idle(self, key):
        return


class KeepsStreamsOfTheDeleted(CrdtProxy):
    async def deleted(self, key):
        return


class CutsStreamsOfTheDeleted(CrdtProxy):
    async def deleted(self, key):
        await self._active.pop(key).cut()


class TellsEntitiesThatTheyAreDeleted(CrdtProxy):
    async def deleted(self, key):
        await self._active[key].send(deleted())
        await super().deleted(key)


class StartsTheDeletedAgain(CrdtProxy):
    def is_over(self, key):
        return False


class DropsEffects(CrdtProxy):
    async def carry_out(self, effect):
        return


class CarriesEffectsOutTwice(CrdtProxy):
    async def carry_out(self, effect):
        await super().carry_out(effect)
        await super().carry_out(effect)


class ChangesDescriptions(CrdtProxy):
    def description(self, failure):
        return f"failed: {failure.description}"


class SaysNothingOfLeavers(CrdtProxy):
    async def left(self, key, activation, command_id):
        return


class SaysTwiceThatAClientLeft(CrdtProxy):
    async def left(self, key, activation, command_id):
        await super().left(key, activation, command_id)
        await activation.send(cancel(key[1], command_id))


class ForgetsWhatALeaverChanges(CrdtProxy):
    """Tells the user function of a state that is not there any more."""

    async def left(self, key, activation, command_id):
        await activation.send(cancel(key[1], command_id))
        action = await activation.settled(command_id)
        if action.HasField("update"):
            await activation.send(replicated(self._values[key].whole()))


class NeverEndsStreams(CrdtProxy):
    def is_last(self, message):
        return False


class EndsStreamsAfterAnElement(CrdtProxy):
    def is_last(self, message):
        return True


class TakesOneCommandAtATime(CrdtProxy):
    """Waits for the end of a stream before the next command."""

    async def stream(self, request):
        async with self._starting["turn", request.id, MODEL]:
            async for response in super().stream(request):
                yield response

    async def handle(self, service, name, request):
        async with self._starting["turn", request.id, service]:
            return await super().handle(service, name, request)


class OpensAStreamForEveryCommand(CrdtProxy):
    async def handle(self, service, name, request):
        try:
            return await super().handle(service, name, request)
        finally:
            await self.passivate((service, request.id))


class DoesNotSupportCrdts(CrdtProxy):
    def info(self):
        info = super().info()
        info.supported_entity_types.remove(ENTITY_TYPES["crdt"])
        return info


STREAMED = {"CP4", "CPX2"}
WITH_FAILURE = {"CP3", "CP5"}
WITH_DELETION = {"CP1", "CP2", "CP3", "CP4", "CP5", "CPX3"}

#: What each mistake must fail, no more and no less.
BROKEN_PROXIES = {
    SendsAnEmptyState: ENTITY_CASES,
    SendsInitTwice: ENTITY_CASES,
    TellsEntitiesOfTheirOwnChanges: ENTITY_CASES - {"CP6"},
    SendsMetadata: ENTITY_CASES,
    NeverSaysStreamed: STREAMED,
    AlwaysSaysStreamed: ENTITY_CASES,
    NamesTheWholeMethod: ENTITY_CASES,
    CountsCommandsFromTwo: ENTITY_CASES,
    NeverPassivates: {"CP6"},
    KeepsStreamsOfTheDeleted: WITH_DELETION,
    CutsStreamsOfTheDeleted: WITH_DELETION,
    TellsEntitiesThatTheyAreDeleted: WITH_DELETION,
    StartsTheDeletedAgain: {"CPX3"},
    DropsEffects: {"CP2"},
    CarriesEffectsOutTwice: {"CP2"},
    ChangesDescriptions: WITH_FAILURE,
    SaysNothingOfLeavers: {"CP4"},
    SaysTwiceThatAClientLeft: {"CP4"},
    ForgetsWhatALeaverChanges: {"CP4"},
    NeverEndsStreams: {"CPX2"},
    EndsStreamsAfterAnElement: {"CP4"},
    OpensAStreamForEveryCommand: ENTITY_CASES - STREAMED - {"CP6"},
    TakesOneCommandAtATime: STREAMED,
    DoesNotSupportCrdts: {"D1"},
}


@pytest.mark.parametrize("make_proxy", BROKEN_PROXIES, ids=lambda broken: broken.__name__)
async def test_a_mistake_fails_exactly_the_cases_that_look_at_it(assert_fails_exactly, make_proxy):
    await assert_fails_exactly(partial(examine, make_proxy), BROKEN_PROXIES[make_proxy])


class LeavesStatesOut(CrdtFront):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        return status, content_type, b"{}" if status == 200 else payload


class SaysBadRequestForFailures(CrdtFront):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        return {500: 400}.get(status, status), content_type, payload


class HasNoGeneratedRoutes(CrdtFront):
    async def post(self, path, body):
        if not path.startswith("/tck/"):
            return 404, "text/plain", b""
        return await super().post(path, body)


class WritesLongNumbersAsNumbers(CrdtFront):
    async def post(self, path, body):
        status, content_type, payload = await super().post(path, body)
        fields = json.loads(payload) if status == 200 else {}
        if "state" in fields:
            counter = fields["state"]["pncounter"]
            counter["value"] = int(counter["value"])
            payload = json.dumps(fields).encode()
        return status, content_type, payload


@pytest.mark.parametrize(
    "make_front",
    [LeavesStatesOut, SaysBadRequestForFailures, HasNoGeneratedRoutes, WritesLongNumbersAsNumbers],
    ids=lambda broken: broken.__name__,
)
async def test_a_broken_front_end_fails_exactly_its_case(assert_fails_exactly, make_front):
    await assert_fails_exactly(partial(examine, make_front=make_front), {"CP5"})


async def test_cases_without_their_services_are_pending(failed):
    results = await examine(spec=crdt_spec(MODEL))

    assert failed(results) == {}
    pending = {id_ for id_, result in results.items() if result.verdict is Verdict.PENDING}
    assert pending == {"CP2", "CP5", "CP6"}


#: What is found of a mistake by whoever sees the client's side alone.
WITHOUT_A_RECORDER = [
    (CrdtProxy, set()),
    (SendsMetadata, set()),
    (ChangesDescriptions, WITH_FAILURE),
    (StartsTheDeletedAgain, {"CPX3"}),
    (EndsStreamsAfterAnElement, {"CP4"}),
]


@pytest.mark.parametrize(("make_proxy", "expected"), WITHOUT_A_RECORDER)
async def test_without_a_recorder_the_client_side_is_examined(failed, make_proxy, expected):
    async with (
        ScriptedFunction(lambda _first: CrdtModelSession(), spec=crdt_spec()) as function,
        serving_proxy(function.address, make_proxy, CrdtFront) as address,
        ProxyClient(address.grpc, address.http, patience_s=10.0) as client,
    ):
        examination = Examination(Conditions(patience_s=10.0), function.spec, proxy=client)
        cases = select(all_cases(), phases=PROXY_PHASES, kinds=("crdt",))
        results = {case.id: await run_case(case, examination) for case in cases}

    assert failed(results).keys() == expected, failed(results)
